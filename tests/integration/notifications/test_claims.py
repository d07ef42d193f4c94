"""What is taken out of the outbox: in order, one at a time, within the budget, and again after a worker that died."""

from datetime import timedelta

import pytest
from django.db import connection

from notifications.models import Attempt, Channel, Delivery
from notifications.selectors.deliveries import Lane, due_lanes, due_q
from notifications.selectors.targets import frozen_route
from notifications.services.claims import LOST, claim, claim_seconds
from notifications.services.outcomes import record
from tests.factories import AttemptFactory, ChannelFactory, DeliveryFactory
from tests.integration.notifications.outbox import (
    AT,
    BAD,
    GOOD,
    SILENT,
    far,
    go,
    lane_of,
    later,
    started,
    statuses,
    told,
)

pytestmark = pytest.mark.django_db
__all__ = ["far"]


def attempted(channel, *ago_s):
    """Attempts so many seconds before AT."""
    for seconds in ago_s:
        AttemptFactory(
            delivery=DeliveryFactory(channel=channel, status="delivered", finished_at=AT), started_at=later(-seconds)
        )


def test_the_attempt_is_counted_before_it_is_made():
    channel = ChannelFactory()
    told(channel)

    claimed = claim(lane_of(channel), now=AT)

    row = Delivery.objects.get()
    assert (row.status, row.attempt_count, row.claimed_until) == ("sending", 1, AT + timedelta(seconds=claim_seconds()))
    attempt = Attempt.objects.get()
    assert (attempt.pk, attempt.channel, attempt.started_at, attempt.finished_at, attempt.succeeded) == (
        claimed.attempt_id,
        channel,
        AT,
        None,
        None,
    )


def test_the_oldest_goes_first(far):
    channel = ChannelFactory()
    told(channel, 3, prefix="b", now=later(1))
    told(channel, 2, prefix="a")

    go(lane_of(channel), now=later(2))

    assert [title.split()[-1] for title in far.titles] == ["t0", "t1", "t0", "t1", "t2"]


def test_one_at_a_time():
    channel = ChannelFactory()
    told(channel, 2)
    first = claim(lane_of(channel), now=AT)

    meanwhile = claim(lane_of(channel), now=later(5))
    record(first, GOOD, now=later(6))
    then = claim(lane_of(channel), now=later(6))

    assert (meanwhile, then.delivery.pk != first.delivery.pk) == (None, True)


def test_channels_do_not_wait_for_each_other():
    one, other = ChannelFactory(), ChannelFactory()
    told(one, 2)
    told(other, 2)

    assert claim(lane_of(one), now=AT) is not None
    assert claim(lane_of(other), now=AT) is not None


def test_what_is_tried_later_is_not_tried_now():
    channel = ChannelFactory()
    told(channel)
    Delivery.objects.update(next_attempt_at=later(10))

    assert claim(lane_of(channel), now=later(9)) is None
    assert claim(lane_of(channel), now=later(10)) is not None


@pytest.mark.parametrize(
    ("changes", "goes"), [({"enabled": False}, False), ({"held_until": later(1)}, False), ({}, True)]
)
def test_a_channel_that_is_off_or_held_back_sends_nothing(changes, goes):
    channel = ChannelFactory(**changes)
    told(ChannelFactory())
    DeliveryFactory(channel=channel, created_at=AT)

    assert (lane_of(channel) in due_lanes(AT)) is goes
    assert (claim(lane_of(channel), now=AT) is not None) is goes


def test_a_channel_that_is_gone_sends_nothing():
    assert claim(Lane(10**9), now=AT) is None


# --- budgets


@pytest.mark.parametrize(
    ("provider", "own", "second", "minute"),
    [
        ("feishu", {}, 5, 100),
        ("wechat_work", {}, 20, 20),
        ("custom", {"per_second": 3, "per_minute": 7}, 3, 7),
        ("feishu", {"per_second": 1, "per_minute": 2}, 1, 2),
    ],
)
def test_no_second_and_no_minute_has_more_than_its_budget(far, provider, own, second, minute):
    channel = ChannelFactory(provider=provider, **own)
    for tick in range(90):
        at = later(tick * 1.5)
        told(channel, 6, prefix=f"{tick}-", now=at)
        go(lane_of(channel), now=at)

    begun = started(channel)
    in_second = max(sum(at - 1000 < other <= at for other in begun) for at in begun)
    in_minute = max(sum(at - 60_000 < other <= at for other in begun) for at in begun)
    assert in_second <= second
    assert in_minute == minute
    # And it is used up, not only kept.
    assert len(begun) >= 2 * minute


@pytest.mark.parametrize(
    ("ago_s", "goes"),
    [
        ([0.2] * 4, True),
        ([0.2] * 5, False),
        ([1.0] * 5, True),
        ([30.0] * 99, True),
        ([30.0] * 100, False),
        ([60.0] * 100, True),
    ],
    ids=[
        "a place in this second",
        "no place in it",
        "a second later",
        "a place in this minute",
        "none",
        "a minute later",
    ],
)
def test_attempts_count_for_a_second_and_for_a_minute(ago_s, goes):
    channel = ChannelFactory(provider="feishu")
    told(channel)
    attempted(channel, *ago_s)

    assert (claim(lane_of(channel), now=AT) is not None) is goes


def test_failed_attempts_count_too(far):
    channel = ChannelFactory(provider="wechat_work", per_minute=4)
    far.verdict = BAD
    told(channel, 4)

    assert go(lane_of(channel)) == 4
    assert go(lane_of(channel), now=later(59)) == 0
    assert go(lane_of(channel), now=later(61)) == 4


# --- workers that die


def test_what_a_dead_worker_held_is_tried_again_once_its_claim_has_run_out():
    channel = ChannelFactory()
    told(channel, 2)
    lost = claim(lane_of(channel), now=AT)
    until = claim_seconds()

    early = claim(lane_of(channel), now=later(until - 0.01))
    again = claim(lane_of(channel), now=later(until))

    assert early is None
    assert (again.delivery.pk, again.delivery.attempt_count) == (lost.delivery.pk, 2)
    first, second = Attempt.objects.order_by("id")
    assert (first.finished_at, first.succeeded, first.error) == (later(until), None, LOST)
    assert (second.finished_at, second.succeeded) == (None, None)


def test_a_delivery_that_outlives_too_many_workers_is_given_up(settings):
    settings.NOTIFY_MAX_ATTEMPTS = 3
    channel = ChannelFactory()
    told(channel)
    at = AT

    while (claimed := claim(lane_of(channel), now=at)) is not None:
        at = claimed.until

    row = Delivery.objects.get()
    assert (row.status, row.attempt_count, row.error, row.finished_at) == ("failed", 3, LOST, at)
    assert Attempt.objects.count() == 3


def test_a_test_that_nobody_waits_for_any_more_is_not_sent_by_others():
    channel = ChannelFactory()
    DeliveryFactory(channel=channel, kind="test", status="sending", claimed_until=later(5), attempt_count=1)
    told(channel)

    assert claim(lane_of(channel), now=AT).delivery.kind == "alert"
    assert claim(lane_of(channel), now=later(claim_seconds())).delivery.kind == "alert"
    assert Delivery.objects.get(kind="test").status == "failed"


def test_a_late_success_of_a_worker_that_was_given_up_counts():
    channel = ChannelFactory()
    told(channel)
    slow = claim(lane_of(channel), now=AT)
    other = claim(lane_of(channel), now=slow.until)

    record(slow, GOOD, now=slow.until + timedelta(seconds=1))
    record(other, BAD, now=slow.until + timedelta(seconds=2))

    row = Delivery.objects.get()
    assert (row.status, row.status_code) == ("delivered", 200)
    assert list(Attempt.objects.order_by("id").values_list("succeeded", flat=True)) == [True, False]


def test_a_late_failure_of_a_worker_that_was_given_up_changes_nothing():
    channel = ChannelFactory()
    told(channel)
    slow = claim(lane_of(channel), now=AT)
    other = claim(lane_of(channel), now=slow.until)

    record(slow, SILENT, now=slow.until + timedelta(seconds=1))

    row = Delivery.objects.get()
    assert (row.status, row.claimed_until) == ("sending", other.until)
    assert Channel.objects.get().held_until is None
    record(other, GOOD, now=slow.until + timedelta(seconds=2))
    assert statuses() == {"delivered": 1}


# --- what deleted channels left behind


def orphaned(name="gone", **changes):
    channel = ChannelFactory(name=name, **changes)
    rows = told(channel, 3, prefix=name)
    Delivery.objects.filter(channel=channel).update(target=frozen_route(channel))
    channel.delete()
    return rows


def test_what_a_deleted_channel_left_goes_out_by_its_frozen_target(far):
    orphaned(url="https://hooks.example.com/old", provider="feishu", language="zh-hans")

    assert due_lanes(AT) == [Lane(None, "gone")]
    assert go(Lane(None, "gone")) == 3

    assert {(each.target.address, each.target.language) for each in far.sent} == {
        ("https://hooks.example.com/old", "zh-hans")
    }
    assert statuses() == {"delivered": 3}


def test_it_keeps_its_budget(far):
    orphaned(per_second=1, per_minute=2)

    assert [go(Lane(None, "gone"), now=later(seconds)) for seconds in (0, 0.5, 1, 2, 60)] == [1, 0, 1, 0, 0]


def test_two_deleted_channels_are_apart(far):
    orphaned("a")
    orphaned("b")
    claim(Lane(None, "a"), now=AT)

    assert claim(Lane(None, "a"), now=AT) is None
    assert claim(Lane(None, "b"), now=AT) is not None


def test_it_is_patient_with_who_does_not_answer(far):
    orphaned()
    far.verdict = SILENT

    assert go(Lane(None, "gone")) == 1
    assert due_lanes(later(1)) == []
    assert due_lanes(later(3)) == [Lane(None, "gone")]


def test_without_a_target_it_is_given_up(far):
    DeliveryFactory(channel=None, channel_name="gone", created_at=AT)

    assert go(Lane(None, "gone")) == 1

    row = Delivery.objects.get()
    assert (row.status, far.sent) == ("failed", [])
    assert row.error == "Its channel was deleted, and nobody knows where it goes."


# --- its cost


@pytest.mark.parametrize("count", [1, 30])
def test_many_that_wait_cost_as_much_as_one(django_assert_num_queries, count):
    channel = ChannelFactory(per_second=100, per_minute=100)
    told(channel, count)

    # One more for the savepoint and one for its release.
    with django_assert_num_queries(9):
        claim(lane_of(channel), now=AT)


@pytest.mark.parametrize("count", [1, 30])
def test_a_look_is_two_queries(django_assert_num_queries, count):
    for channel in ChannelFactory.create_batch(count):
        told(channel, 2, prefix=str(channel.pk))

    with django_assert_num_queries(2):
        assert len(due_lanes(AT)) == count


@pytest.mark.needs_postgres
def test_the_look_reads_the_index_of_the_outbox_and_not_the_ledger():
    channel = ChannelFactory()
    DeliveryFactory.create_batch(300, channel=channel, status="delivered", finished_at=AT)
    told(channel)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE notifications_delivery")
        cursor.execute("SET LOCAL enable_seqscan = off")
        due = Delivery.objects.filter(channel=channel)
        plan = due.filter(due_q(AT)).explain()

    assert "delivery_open" in plan
