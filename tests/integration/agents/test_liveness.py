"""Verdicts: who is called offline, when, and when the portal holds its tongue."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import Event
from agents.services.liveness import sweep_offline
from tests.factories import InstanceFactory, ReplicaFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()
LONG_AGO = NOW - timedelta(hours=1)


def seen(seconds_ago, **changes):
    return InstanceFactory(**{"online": True, "last_seen_at": NOW - timedelta(seconds=seconds_ago)} | changes)


def portal(**changes):
    """A process that takes frames and has seen without a gap for an hour."""
    return ReplicaFactory(**{"kind": "web", "last_seen_at": NOW, "sight_since": LONG_AGO} | changes)


@pytest.mark.parametrize(("seconds_ago", "verdict"), [(89, "online"), (91, "offline")])
def test_silence_beyond_the_threshold_is_offline_with_an_event(seconds_ago, verdict):
    portal()
    instance = seen(seconds_ago)

    turned = sweep_offline(NOW)

    instance.refresh_from_db()
    assert (instance.connectivity, turned) == (verdict, verdict == "offline")
    events = list(Event.objects.values_list("kind", "instance_id", "level"))
    assert events == ([("instance.offline", instance.pk, "warn")] if verdict == "offline" else [])


def test_a_verdict_is_given_once():
    portal()
    seen(600)

    assert [sweep_offline(NOW), sweep_offline(NOW)] == [1, 0]


def test_what_never_reported_stays_so():
    portal()
    instance = InstanceFactory()

    assert sweep_offline(NOW) == 0
    instance.refresh_from_db()
    assert instance.connectivity == "never_reported"


@pytest.mark.parametrize(
    "blind",
    [
        {"sight_since": NOW - timedelta(seconds=60)},
        {"last_seen_at": LONG_AGO},
        {"stopped_at": NOW},
        {"kind": "worker"},
    ],
    ids=["just-started", "silent", "stopped", "takes-no-frames"],
)
def test_no_verdict_while_the_portal_is_blind(blind):
    portal(**blind)
    seen(600)

    assert sweep_offline(NOW) == 0


def test_one_process_that_sees_is_enough():
    portal()
    portal(sight_since=NOW)
    seen(600)

    assert sweep_offline(NOW) == 1


def test_a_sweep_costs_the_same_for_one_and_for_many(django_assert_num_queries):
    portal()
    for count in (1, 7):
        for _ in range(count):
            seen(600)
        with django_assert_num_queries(6):
            assert sweep_offline(NOW) == count


@pytest.mark.parametrize("mark", ["archived_at", "forget_requested_at"])
def test_who_is_archived_or_being_forgotten_is_not_judged(mark):
    portal()
    seen(600, **{mark: NOW})

    assert sweep_offline(NOW) == 0
    assert not Event.objects.exists()
