"""Threads that send: channels that hang hold up nobody else, and nothing secret comes back."""

import threading
import time
from contextlib import contextmanager

import pytest
from django.db import connection

from agents.models import BackgroundJob
from notifications import tasks
from notifications.models import Attempt, Channel, Delivery
from notifications.providers.base import Target, Verdict
from notifications.services import sending
from notifications.services.bell import bell
from notifications.services.sending import Sender, send, without_secrets
from tests.factories import ChannelFactory, DeliveryFactory
from tests.integration.notifications.outbox import AT, BAD, GOOD, far, statuses, told

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["far"]
WITHIN_S = 30


@pytest.fixture
def sender():
    one = Sender()
    yield one
    assert one.end(WITHIN_S)


def eventually(holds, within_s=WITHIN_S):
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)


class Gate:
    """Holds those that pass it until it is opened, and says how many came."""

    def __init__(self, only=None):
        self._only = only
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.inside = self.most = 0
        self.came = []

    def __call__(self, target, card):
        with self._lock:
            self.came.append((target.address, card.title))
            self.inside += 1
            self.most = max(self.most, self.inside)
        if self._only is None or target.address in self._only:
            assert self._open.wait(WITHIN_S)
        with self._lock:
            self.inside -= 1
        return GOOD

    def open(self):
        self._open.set()


def test_all_that_is_due_is_sent(far, sender):
    channels = ChannelFactory.create_batch(3, per_second=100, per_minute=1000)
    for channel in channels:
        told(channel, 5)

    begun = sender.look()

    assert begun == 3
    assert sender.wait(WITHIN_S)
    assert statuses() == {"delivered": 15}
    assert Attempt.objects.filter(succeeded=True).count() == 15
    assert {each.delivery_id for each in far.sent} == {str(pk) for pk in Delivery.objects.values_list("pk", flat=True)}


def test_one_that_hangs_holds_up_nobody_else(far, sender):
    slow, *others = ChannelFactory.create_batch(6, per_second=100, per_minute=1000)
    far.verdict = gate = Gate(only={"https://hang.example.com"})
    told(ChannelFactory(url="https://hang.example.com", name="hangs"), 3)
    for channel in others:
        told(channel, 4)

    sender.look()
    eventually(lambda: statuses(status="delivered") == {"delivered": 20})

    assert statuses(channel_name="hangs") == {"sending": 1, "pending": 2}
    # What comes meanwhile is not held up either.
    told(slow, 2, prefix="x")
    sender.look()
    eventually(lambda: statuses(status="delivered") == {"delivered": 22})
    gate.open()
    assert sender.wait(WITHIN_S)
    assert statuses() == {"delivered": 25}


def test_one_channel_sends_one_after_the_other_and_in_order(far, sender):
    channel = ChannelFactory(per_second=1000, per_minute=1000)
    far.verdict = gate = Gate()
    told(channel, 12)
    senders = [sender, Sender(), Sender()]

    for each in senders:
        each.look()
    eventually(lambda: gate.inside)
    gate.open()
    for _ in range(100):
        for each in senders:
            each.look()
        if statuses() == {"delivered": 12}:
            break
        assert all(each.wait(WITHIN_S) for each in senders)

    assert gate.most == 1
    assert [title.split()[-1] for _address, title in gate.came] == [f"t{number}" for number in range(12)]


def test_only_so_many_threads_send_at_once(far, sender, settings):
    settings.NOTIFY_CONCURRENCY = 4
    far.verdict = gate = Gate()
    for channel in ChannelFactory.create_batch(7):
        told(channel)

    begun = sender.look()
    eventually(lambda: gate.inside == 4)

    assert (begun, sender.look(), statuses()) == (4, 0, {"sending": 4, "pending": 3})
    gate.open()
    assert sender.wait(WITHIN_S)
    assert bell.is_set()
    sender.look()
    assert sender.wait(WITHIN_S)
    assert (gate.most, statuses()) == (4, {"delivered": 7})


def test_what_comes_while_a_lane_ends_is_not_overlooked(far, sender, monkeypatch):
    """The lane has looked for the last time when something comes up, and is still among those that are being sent."""
    channel = ChannelFactory()
    told(channel)
    real, looked = sending.claim, []

    def claim(lane):
        claimed = real(lane)
        if claimed is None and not looked:
            looked.append(told(channel, prefix="x"))
            sender.look()
        return claimed

    monkeypatch.setattr(sending, "claim", claim)
    sender.look()

    assert sender.wait(WITHIN_S)
    assert statuses() == {"delivered": 2}


def test_what_breaks_costs_its_own_delivery_only(far, sender):
    broken = DeliveryFactory(channel=ChannelFactory(), card={"tone": 7}, created_at=AT)
    told(ChannelFactory())

    sender.look()

    assert sender.wait(WITHIN_S)
    broken.refresh_from_db()
    assert (broken.status, broken.error) == ("pending", sending.BROKEN)
    assert statuses() == {"pending": 1, "delivered": 1}


def test_a_provider_that_raises_is_a_failure(far, sender):
    told(ChannelFactory())

    def raises(_target, _card):
        raise ZeroDivisionError("https://secret.example.com")

    far.verdict = raises
    sender.look()

    assert sender.wait(WITHIN_S)
    row = Delivery.objects.get()
    assert (row.status, row.attempt_count, row.error) == ("pending", 1, sending.BROKEN)


def test_secrets_that_cannot_be_read_are_a_failure_that_is_tried_again(far, sender):
    channel = ChannelFactory()
    told(channel)
    Channel.objects.update(address="of another key")

    sender.look()

    assert sender.wait(WITHIN_S)
    row = Delivery.objects.get()
    assert (row.status, row.error, far.sent) == ("pending", sending.BROKEN, [])


def test_what_breaks_a_lane_is_told_by_the_background_job(far, sender, monkeypatch):
    told(ChannelFactory())

    def claim(_lane):
        raise ZeroDivisionError

    monkeypatch.setattr(sending, "claim", claim)
    sender.look()
    assert sender.wait(WITHIN_S)

    with pytest.raises(ZeroDivisionError):
        sender.look()
    assert sender.wait(WITHIN_S)
    monkeypatch.undo()


def test_no_connection_is_held_while_a_message_is_under_way(far, sender):
    far.verdict = gate = Gate()
    for channel in ChannelFactory.create_batch(20):
        told(channel)

    sender.look()
    eventually(lambda: gate.inside == 20)

    held = connections_of_others() if connection.vendor == "postgresql" else 0
    gate.open()
    assert sender.wait(WITHIN_S)
    # The pool keeps some open that nobody uses.
    assert held <= sending.DESKS + 1


def connections_of_others():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]


@contextmanager
def as_in_a_worker():
    with sending.sending():
        yield


def test_the_bell_sends_at_once(far):
    channel = ChannelFactory()

    with as_in_a_worker():
        told(channel)
        eventually(lambda: statuses() == {"delivered": 1})


def test_the_job_sends_what_no_bell_told_of(far):
    told(ChannelFactory())
    bell.clear()

    with as_in_a_worker():
        tasks.send_deliveries()
        eventually(lambda: statuses() == {"delivered": 1})

    assert BackgroundJob.objects.get(name="send-deliveries").last_error == ""


def test_a_worker_that_ends_waits_for_what_is_under_way_and_begins_nothing(far):
    channel = ChannelFactory()
    far.verdict = gate = Gate()
    with as_in_a_worker():
        told(channel, 2)
        eventually(lambda: gate.inside)
        threading.Timer(0.2, gate.open).start()

    assert statuses() == {"delivered": 1, "pending": 1}


def test_a_worker_that_ends_does_not_wait_for_ever(far, monkeypatch):
    monkeypatch.setattr(sending, "DRAIN_S", 0.1)
    far.verdict = gate = Gate()
    with as_in_a_worker():
        told(ChannelFactory())
        eventually(lambda: gate.inside)
        left = sending.sender

    assert statuses() == {"sending": 1}
    gate.open()
    assert left.wait(WITHIN_S)
    assert statuses() == {"delivered": 1}


# --- what comes back


HOOK = "https://ann:hunter2hunter@hooks.example.com/services/T0123/s3cr3tpart?key=k3y-0123456789&v=2#frag-ment"


@pytest.mark.parametrize(
    "text",
    [
        HOOK,
        "POST /services/T0123/s3cr3tpart failed",
        "bad key k3y-0123456789",
        '{"url":"https:\\/\\/hooks.example.com\\/s3cr3tpart"}',
        "user ann, password hunter2hunter",
        "signed with s1gn",
        "Authorization: Bearer abc",
    ],
)
def test_what_only_the_channel_may_know_is_withheld(text):
    headers = [{"key": "Authorization", "value": "Bearer abc"}]
    target = Target(provider="custom", address=HOOK, secret="s1gn", options={"headers": headers})

    told_back = without_secrets(Verdict(ok=False, response=text, error=text), target)

    for secret in ("s3cr3tpart", "k3y-0123456789", "hunter2hunter", "s1gn", "Bearer abc"):
        assert secret not in told_back.response
        assert secret not in told_back.error
    assert "…" in told_back.response


def test_what_is_no_secret_stays():
    target = Target(provider="custom", address=HOOK, secret="s1gn")
    verdict = Verdict(ok=False, response='{"code": 19021, "msg": "sign match fail"}', error="HTTP 404", status_code=404)

    assert without_secrets(verdict, target) == verdict
    mails = Target(provider="email", address="on-call@example.com")
    assert without_secrets(Verdict(ok=False, error="on-call@example.com: no such user"), mails).error.startswith("on-")


def test_the_ledger_holds_none(far, sender):
    far.verdict = lambda target, card: Verdict(ok=False, status_code=400, response=target.address, error=target.address)
    told(ChannelFactory(url=HOOK))

    sender.look()

    assert sender.wait(WITHIN_S)
    for row in (Delivery.objects.get(), Attempt.objects.get()):
        assert ("s3cr3tpart" in row.response + row.error, bool(row.response)) == (False, True)
    assert "s3cr3tpart" not in Channel.objects.get().last_error


def test_a_failure_is_the_verdict_of_its_provider(far):
    far.verdict = BAD
    delivery = told(ChannelFactory())[0]

    assert send(delivery) == BAD
