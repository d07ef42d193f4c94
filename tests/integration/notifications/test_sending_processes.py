"""Several processes that send at once, and processes that are killed with -9 while they do."""

import json
import signal
from collections import Counter
from datetime import timedelta

import pytest
from django.db.models import Sum
from django.utils import timezone

from notifications.models import Attempt, Delivery
from tests.e2e.harness.waiting import eventually
from tests.factories import ChannelFactory
from tests.integration.notifications.outbox import statuses, told
from tests.integration.notifications.senders import STAGES, start
from tests.integration.notifications.sink import sink

pytestmark = pytest.mark.django_db(transaction=True)
PROCESSES = 4
KILLS = 1000
DELIVERIES = 480


@pytest.fixture
def hook():
    with sink() as far:
        yield far


def arrived(hook):
    return Counter(body["id"] for body in hook.bodies)


def all_look(until):
    """Processes that send until something holds; they begin together."""
    processes = [start("look", "on") for _ in range(PROCESSES)]
    try:
        for process in processes:
            assert process.stdout.readline() == "there\n"
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        eventually(until, "they are done", timeout_s=120)
        for process in processes:
            assert process.communicate(timeout=90)[0] == "True\n"
            assert process.returncode == 0
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def most_within(channel, seconds):
    """How many attempts were begun within any such time, at most."""
    begun = list(Attempt.objects.filter(channel=channel).values_list("started_at", flat=True))
    span = timedelta(seconds=seconds)
    return max(sum(at - span < other <= at for other in begun) for at in begun)


def test_processes_keep_one_budget_and_send_nothing_twice(hook):
    wecom = ChannelFactory(provider="wechat_work", url=hook.url)
    feishu = ChannelFactory(provider="feishu", url=hook.url)
    free = [ChannelFactory(url=hook.url, per_second=1000, per_minute=1000) for _ in range(4)]
    for channel in (wecom, feishu, *free):
        told(channel, 50, prefix=str(channel.pk), now=timezone.now())

    def all_is_done():
        waiting = Delivery.objects.filter(status__in=Delivery.OPEN).exclude(channel=feishu)
        return not waiting.exists() and statuses(channel=feishu, status="delivered").get("delivered", 0) >= 20

    all_look(all_is_done)

    assert set(arrived(hook).values()) == {1}
    assert set(arrived(hook)) == {
        str(pk) for pk in Delivery.objects.filter(status="delivered").values_list("pk", flat=True)
    }
    assert [statuses(channel=channel) for channel in free] == [{"delivered": 50}] * 4
    assert most_within(feishu, 1) <= 5
    # The whole of a minute's budget is used at once, the last of it by the digest.
    assert most_within(wecom, 60) == 20
    told_alone = statuses(channel=wecom, kind="alert")["delivered"]
    assert told_alone + Delivery.objects.filter(kind="digest").aggregate(all=Sum("event_count"))["all"] == 50


@pytest.mark.parametrize(("stage", "copies"), [("claimed", 1), ("sent", 2), ("marking", 2)])
def test_what_a_killed_process_held_is_sent_by_another(hook, stage, copies):
    (delivery,) = told(ChannelFactory(url=hook.url), now=timezone.now())
    victim = start("die", stage)
    assert (victim.communicate(timeout=60)[0], victim.returncode) == ("", -signal.SIGKILL)
    delivery.refresh_from_db()
    # Counted, although nobody wrote down what came of it.
    assert (delivery.status, delivery.attempt_count, Attempt.objects.count()) == ("sending", 1, 1)
    Delivery.objects.update(claimed_until=timezone.now())

    all_look(lambda: statuses() == {"delivered": 1})

    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempt_count) == ("delivered", 2)
    # The same id: who got it twice can tell.
    assert arrived(hook) == {str(delivery.pk): copies}


@pytest.mark.timeout(600)
def test_a_thousand_kills_lose_nothing(hook):
    """Every delivery arrives; twice or more do only those whose sender was killed between sending and marking."""
    for number in range(8):
        channel = ChannelFactory(url=hook.url, per_second=10**6, per_minute=10**6)
        told(channel, 60, prefix=str(number), now=timezone.now())
    process = start("storm", KILLS, NOTIFY_MAX_ATTEMPTS="100")
    try:
        died = json.loads(process.communicate(timeout=580)[0])
    finally:
        process.kill()
        process.communicate()

    assert statuses() == {"delivered": DELIVERIES}
    assert sum(died.values()) == KILLS
    assert min(died.values()) > KILLS / len(STAGES) / 2
    assert set(arrived(hook)) == {str(pk) for pk in Delivery.objects.values_list("pk", flat=True)}
    assert arrived(hook).total() == DELIVERIES + died["sent"] + died["marking"]
    assert Attempt.objects.count() == DELIVERIES + KILLS
    assert Attempt.objects.filter(succeeded=True).count() == DELIVERIES
    assert Attempt.objects.filter(finished_at=None).count() == 0
