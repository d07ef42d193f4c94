"""Why a command is not finished: one cause for each state of the rows, and the words for it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import Command, Session
from agents.selectors import waiting
from agents.selectors.waiting import waits, why_waiting
from agents.words import WAIT_WORDS, wait_words
from tests.factories import CommandFactory, InstanceFactory, ReplicaFactory, SessionFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now().replace(microsecond=0)
ENDED = NOW - timedelta(seconds=20)


def ago(seconds):
    return NOW - timedelta(seconds=seconds)


def order(instance, **fields):
    return CommandFactory(instance=instance, timeout_s=600, **{"created_at": ago(1), **fields})


def connected(**replica):
    """An instance whose session a process holds that was heard of just now."""
    fields = {"last_seen_at": NOW, "process_started_at": ago(900), **replica}
    return SessionFactory(replica=ReplicaFactory(**fields), connected_at=ago(500))


def ended_session(**fields):
    return SessionFactory(
        status=Session.Status.DISCONNECTED,
        connected_at=ago(500),
        disconnected_at=ENDED,
        end_reason="closed_1006",
        instance=InstanceFactory(offline=True),
        **fields,
    )


def overdue():
    return order(connected().instance, deadline_at=ago(3)), ago(3)


def leaving():
    instance = InstanceFactory(online=True, forget_requested_at=ago(7))
    SessionFactory(instance=instance)
    return order(instance), ago(7)


def no_session():
    return order(ended_session().instance, created_at=ago(60)), ENDED


def holder_stopped():
    return order(connected(stopped_at=ago(5)).instance, created_at=ago(9)), ago(5)


def holder_silent():
    return order(connected(last_seen_at=ago(100)).instance), ago(100)


def behind_others():
    instance = connected().instance
    order(instance, created_at=ago(4))
    order(instance, created_at=ago(3))
    return order(instance), ago(1)


def not_taken():
    return order(connected().instance, created_at=ago(120)), ago(120)


def not_claimed():
    return order(connected().instance), ago(1)


def no_answer():
    session = connected()
    return order(session.instance, session=session, status="dispatched", dispatched_at=ago(8)), ago(8)


def sent_and_gone():
    session = ended_session()
    sent = {"session": session, "status": "dispatched", "dispatched_at": ago(30), "created_at": ago(31)}
    return order(session.instance, **sent), ENDED


def stop_and_gone():
    session = ended_session()
    sent = {"session": session, "status": "dispatched", "dispatched_at": ago(30), "created_at": ago(31)}
    return order(session.instance, kind="drain", **sent), ENDED


def running():
    session = connected()
    return order(session.instance, session=session, status="accepted", acked_at=ago(6)), ago(6)


def running_unseen():
    session = ended_session()
    taken = {"session": session, "status": "accepted", "acked_at": ago(40), "created_at": ago(41)}
    return order(session.instance, **taken), ENDED


CAUSES = [
    overdue,
    leaving,
    no_session,
    holder_stopped,
    holder_silent,
    behind_others,
    not_taken,
    not_claimed,
    no_answer,
    sent_and_gone,
    stop_and_gone,
    running,
    running_unseen,
]


@pytest.mark.parametrize("make", CAUSES, ids=lambda make: make.__name__)
def test_each_cause_is_told_since_when(make):
    command, since = make()

    wait = why_waiting(command, now=NOW)

    assert (wait.cause, wait.since, wait.until) == (make.__name__, since, command.deadline_at)


def test_every_cause_has_its_test_and_its_words():
    assert {make.__name__ for make in CAUSES} == set(WAIT_WORDS)


def test_words_name_the_process_how_many_go_first_and_how_the_session_ended():
    silent = why_waiting(holder_silent()[0], now=NOW)
    behind = why_waiting(behind_others()[0], now=NOW)
    gone = why_waiting(no_session()[0], now=NOW)

    assert str(silent.replica) in wait_words(silent)
    assert wait_words(behind) == "Commands that were ordered before it go first: 2."
    assert "The connection was lost." in wait_words(gone)


@pytest.mark.parametrize("status", [each for each in Command.Status.values if each not in Command.OPEN])
def test_finished_command_waits_for_nothing(status, django_assert_num_queries):
    command = CommandFactory(status=status)

    with django_assert_num_queries(0):
        assert why_waiting(command, now=NOW) is None
    assert wait_words(None) == ""


@pytest.mark.parametrize("count", [1, 3])
def test_many_cost_what_one_costs(count, django_assert_num_queries):
    commands = [make()[0] for make in (no_session, not_claimed, no_answer) for _ in range(count)]

    with django_assert_num_queries(3):
        found = waits(commands, now=NOW)

    assert len(found) == len(commands)


def test_not_more_than_so_many_are_counted(monkeypatch):
    monkeypatch.setattr(waiting, "AHEAD_MAX", 2)
    instance = connected().instance
    for seconds in (9, 8, 7):
        order(instance, created_at=ago(seconds))

    assert why_waiting(order(instance), now=NOW).ahead == 2
