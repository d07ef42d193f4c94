"""What comes of attempts: retries and patience, what is given up, and channels that fail and recover."""

from datetime import timedelta

import pytest

from agents.models import Event
from controlplane.common.changes import subject_of
from notifications.models import Attempt, Channel, Delivery, DeliveryTotals
from notifications.providers.base import Verdict
from notifications.services.claims import claim
from notifications.services.outcomes import JITTER, RETRY_AFTER_MAX_S, record, retry_delay_s
from tests.factories import ChannelFactory
from tests.integration.notifications.outbox import (
    AT,
    BAD,
    GOOD,
    REFUSED,
    SILENT,
    far,
    go,
    lane_of,
    later,
    statuses,
    told,
)

pytestmark = pytest.mark.django_db
__all__ = ["far"]


def tried(channel, verdict, *, now=AT):
    """One attempt at a delivery, old or new."""
    claimed = claim(lane_of(channel), now=now)
    record(claimed, verdict, now=now)
    return Delivery.objects.get(pk=claimed.delivery.pk)


def events():
    return list(Event.objects.filter(kind__startswith="channel.").order_by("id").values_list("kind", flat=True))


def test_a_success_ends_a_delivery_and_says_what_was_answered():
    channel = ChannelFactory()
    told(channel)

    row = tried(channel, GOOD)

    assert (row.status, row.finished_at, row.claimed_until, row.next_attempt_at) == ("delivered", AT, None, None)
    assert (row.status_code, row.provider_code, row.response, row.error) == (200, "0", '{"code": 0}', "")
    attempt = Attempt.objects.get()
    assert (attempt.succeeded, attempt.finished_at, attempt.status_code, attempt.response) == (
        True,
        AT,
        200,
        '{"code": 0}',
    )
    channel.refresh_from_db()
    assert (channel.last_success_at, channel.failing_since, channel.last_failure_at) == (AT, None, None)
    assert events() == []


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 2), (2, 4), (3, 8), (4, 16), (7, 128), (8, 256), (9, 300), (50, 300), (10**6, 300)]
)
def test_patience_grows_as_the_contract_says(attempts, seconds):
    assert retry_delay_s(attempts) == seconds


def test_a_failure_is_tried_again_five_times_in_all(settings):
    channel = ChannelFactory()
    told(channel)
    at, pauses = AT, []

    for _ in range(4):
        row = tried(channel, BAD, now=at)
        assert (row.status, row.error, row.claimed_until) == ("pending", "HTTP 500", None)
        assert claim(lane_of(channel), now=row.next_attempt_at - timedelta(milliseconds=1)) is None
        pauses.append((row.next_attempt_at - at).total_seconds())
        at = row.next_attempt_at
    row = tried(channel, BAD, now=at)

    assert all(own <= pause <= own * (1 + JITTER) for own, pause in zip((2, 4, 8, 16), pauses, strict=True))
    assert (row.status, row.attempt_count, row.finished_at, row.next_attempt_at) == ("failed", 5, at, None)
    assert Attempt.objects.filter(succeeded=False).count() == 5


def test_pauses_differ():
    pauses = set()
    for channel in ChannelFactory.create_batch(5):
        told(channel)
        pauses.add(tried(channel, BAD).next_attempt_at)

    assert len(pauses) > 1


def test_what_would_be_refused_again_is_given_up_at_once():
    channel = ChannelFactory()
    told(channel, 2)

    row = tried(channel, REFUSED)

    assert (row.status, row.attempt_count, row.provider_code, row.error) == ("failed", 1, "19021", "sign match fail")
    # The next message may be another matter.
    assert claim(lane_of(channel), now=AT) is not None


@pytest.mark.parametrize(
    ("asked_s", "waits_s"), [(60, 60), (0.5, 2), (-1, 2), (0, 2), (10**9, RETRY_AFTER_MAX_S), (float("inf"), 3600)]
)
def test_what_a_provider_asks_for_is_honoured(asked_s, waits_s):
    channel = ChannelFactory()
    told(channel, 2)

    row = tried(channel, Verdict(ok=False, status_code=429, error="HTTP 429", retry_after_s=asked_s))

    pause = (row.next_attempt_at - AT).total_seconds()
    assert waits_s <= pause <= waits_s * (1 + JITTER)
    # Neither is the other one sent before.
    assert Channel.objects.get().held_until == row.next_attempt_at
    assert claim(lane_of(channel), now=row.next_attempt_at - timedelta(milliseconds=1)) is None
    assert claim(lane_of(channel), now=row.next_attempt_at).delivery.pk == row.pk


@pytest.mark.parametrize(
    ("verdict", "holds"),
    [
        (SILENT, True),
        (BAD, False),
        (Verdict(ok=False, status_code=503, error="HTTP 503"), True),
        (Verdict(ok=False, status_code=429, error="HTTP 429"), True),
        (Verdict(ok=False, status_code=200, provider_code="11232", retry_after_s=1), True),
        (REFUSED, False),
    ],
    ids=["no answer", "an error", "not there", "too many", "too many in its body", "never"],
)
def test_who_does_not_answer_is_not_asked_about_others_meanwhile(verdict, holds):
    channel = ChannelFactory()
    told(channel, 2)

    tried(channel, verdict)

    assert (claim(lane_of(channel), now=later(1)) is None) is holds


def test_a_success_ends_all_patience(far):
    channel = ChannelFactory(held_until=AT)
    told(channel, 3)
    far.verdict = GOOD

    assert go(lane_of(channel)) == 3
    assert Channel.objects.get().held_until is None


def test_answers_are_kept_up_to_a_length():
    channel = ChannelFactory()
    told(channel)

    row = tried(channel, Verdict(ok=False, response="x" * 9999 + "\x00", error="y\x00" * 9999, provider_code="z" * 99))

    assert (len(row.response), len(row.error), len(row.provider_code)) == (4000, 2000, 64)
    assert Attempt.objects.get().response == row.response


# --- channels that fail


def give_up(channel, at=AT):
    """Tried until it is given up; when that was."""
    while True:
        row = tried(channel, BAD, now=at)
        if row.status == "failed":
            return at
        at = row.next_attempt_at


def test_a_channel_fails_from_the_first_attempt_at_what_it_gave_up():
    channel = ChannelFactory(name="on call")
    told(channel)
    assert tried(channel, BAD).status == "pending"
    channel.refresh_from_db()
    # It may be only this message, or a moment.
    assert (channel.failing_since, channel.last_failure_at, channel.last_error) == (None, AT, "HTTP 500")
    assert events() == []

    ended = give_up(channel, Delivery.objects.get().next_attempt_at)

    channel.refresh_from_db()
    assert (channel.failing_since, channel.last_failure_at) == (AT, ended)
    event = Event.objects.get(kind="channel.failing")
    assert (event.subject, event.message, event.level, event.occurred_at) == (
        subject_of(channel),
        "on call",
        "error",
        ended,
    )
    assert event.meta == {"provider": "custom", "error": "HTTP 500"}


def test_it_is_said_once():
    channel = ChannelFactory()
    told(channel, 3)

    for _ in range(3):
        tried(channel, REFUSED)

    assert events() == ["channel.failing"]
    assert Channel.objects.get().failing_since == AT


def test_the_first_success_is_its_recovery():
    channel = ChannelFactory()
    told(channel, 3)
    tried(channel, REFUSED)

    tried(channel, GOOD, now=later(1))
    tried(channel, GOOD, now=later(2))

    assert events() == ["channel.failing", "channel.recovered"]
    channel.refresh_from_db()
    assert (channel.failing_since, channel.last_success_at, channel.last_failure_at) == (None, later(2), AT)
    recovered = Event.objects.get(kind="channel.recovered")
    assert (recovered.subject, recovered.level) == (subject_of(channel), "info")
    assert recovered.meta["failing_since"] == AT.isoformat()


@pytest.mark.parametrize("verdict", [REFUSED, GOOD], ids=["failing", "recovered"])
def test_its_event_is_written_with_what_it_tells_of_or_not_at_all(monkeypatch, verdict):
    channel = ChannelFactory(failing_since=AT if verdict.ok else None)
    told(channel)
    claimed = claim(lane_of(channel), now=AT)

    def broken(_events):
        raise ZeroDivisionError

    monkeypatch.setattr("notifications.services.outcomes.record_events", broken)
    with pytest.raises(ZeroDivisionError):
        record(claimed, verdict, now=AT)

    assert statuses() == {"sending": 1}
    assert Channel.objects.get().failing_since == channel.failing_since
    assert not DeliveryTotals.objects.exists()
    assert Attempt.objects.get().finished_at is None


def test_a_channel_that_was_deleted_meanwhile_fails_no_more():
    channel = ChannelFactory()
    told(channel)
    claimed = claim(lane_of(channel), now=AT)
    channel.delete()

    record(claimed, REFUSED, now=AT)

    assert (statuses(), events()) == ({"failed": 1}, [])


def test_what_people_changed_of_a_channel_stays_as_they_left_it():
    """An attempt is under way while a form is saved."""
    channel = ChannelFactory()
    told(channel)
    claimed = claim(lane_of(channel), now=AT)
    Channel.objects.update(name="renamed")
    before = Channel.objects.get().updated_at

    record(claimed, GOOD, now=AT)

    assert (Channel.objects.get().name, Channel.objects.get().updated_at) == ("renamed", before)


def test_ends_are_counted_by_provider(far):
    feishu, custom = ChannelFactory(provider="feishu"), ChannelFactory()
    told(feishu, 2)
    told(custom, 2)
    go(lane_of(feishu))
    go(lane_of(custom), times=1)
    tried(custom, BAD)
    told(feishu, prefix="x")
    tried(feishu, REFUSED)

    totals = DeliveryTotals.objects.order_by("provider", "status").values_list("provider", "status", "count")
    assert list(totals) == [("custom", "delivered", 1), ("feishu", "delivered", 2), ("feishu", "failed", 1)]
