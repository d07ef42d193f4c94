"""Claims and answers of many sessions at once: their bounds, their cost, and what holds when processes race or die."""

import random
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Command, Event, Session
from agents.services.deadlines import expire_due_commands
from agents.services.delivery import (
    Ack,
    Answer,
    Result,
    claim_for_new_sessions,
    claim_waiting,
    record_answers,
)
from agents.services.delivery_rows import CLAIM_BATCH
from agents.services.errors import CommandUnknown, DuplicateResult, SessionEnded
from tests.factories import CommandFactory, SessionFactory

pytestmark = pytest.mark.django_db
CLAIMS = pytest.mark.parametrize("claim", [claim_waiting, claim_for_new_sessions])
PROCESS = {"runtime_hostname": "h", "runtime_pid": 1, "runtime_started_at": timezone.now().replace(microsecond=0)}


def ended_session(**changes):
    return SessionFactory(status=Session.Status.DISCONNECTED, disconnected_at=timezone.now(), **changes)


def sent(session, *, status="dispatched", **changes):
    """A command that was sent on this session."""
    return CommandFactory(
        instance=session.instance, session=session, status=status, dispatched_at=timezone.now(), **changes
    )


def acked(session, command, *, accepted=True, **changes):
    at = timezone.now()
    return Answer(session.pk, command.pk, at, Ack(accepted=accepted, received_at=at, **changes))


def finished(session, command, status="succeeded", **changes):
    at = timezone.now()
    return Answer(session.pk, command.pk, at, Result(status=status, finished_at=at, **changes))


def ids(claimed):
    return [command.command_id for command in claimed]


# --- claims of many sessions


@CLAIMS
def test_each_session_gets_its_own_commands_oldest_first(claim):
    one, other, idle = SessionFactory.create_batch(3)
    now = timezone.now()
    second = CommandFactory(instance=one.instance, created_at=now)
    first = CommandFactory(instance=one.instance, created_at=now - timedelta(seconds=1))
    third = CommandFactory(instance=other.instance, created_at=now)

    claims = claim([one.pk, other.pk, idle.pk])

    assert {session: ids(commands) for session, commands in claims.commands.items()} == {
        one.pk: [first.pk, second.pk],
        other.pk: [third.pk],
    }
    assert (claims.ended, claims.more) == ({}, frozenset())
    assert set(Command.objects.values_list("pk", "session", "status")) == {
        (first.pk, one.pk, "dispatched"),
        (second.pk, one.pk, "dispatched"),
        (third.pk, other.pk, "dispatched"),
    }
    assert list(Event.objects.values_list("kind", flat=True)) == ["command.dispatched"] * 3


@CLAIMS
def test_sessions_that_ended_are_told_apart_and_get_nothing(claim):
    lost, superseded = ended_session(), SessionFactory(status="superseded", disconnected_at=timezone.now())
    unknown = SessionFactory.build()
    active = SessionFactory()
    for session in (lost, superseded, active):
        CommandFactory(instance=session.instance)

    claims = claim([lost.pk, superseded.pk, unknown.pk, active.pk])

    assert claims.ended == {lost.pk: "lost", superseded.pk: "superseded", unknown.pk: "lost"}
    assert list(claims.commands) == [active.pk]
    assert Command.objects.filter(status="pending").count() == 2


@CLAIMS
def test_nothing_is_claimed_for_nobody(claim):
    CommandFactory()

    assert not claim([]).commands


@CLAIMS
def test_a_claim_is_bounded_per_session_and_names_those_with_more(claim):
    busy, calm = SessionFactory.create_batch(2)
    CommandFactory.create_batch(CLAIM_BATCH + 1, instance=busy.instance)
    CommandFactory(instance=calm.instance)

    first = claim([busy.pk, calm.pk])
    second = claim(first.more)

    assert [len(first.commands[session.pk]) for session in (busy, calm)] == [CLAIM_BATCH, 1]
    assert first.more == {busy.pk}
    assert len(second.commands[busy.pk]) == 1
    assert second.more == frozenset()


@CLAIMS
def test_a_claim_is_bounded_in_all_and_leaves_the_youngest(claim, monkeypatch):
    monkeypatch.setattr("agents.services.delivery_rows.CLAIM_TOTAL", 3)
    sessions = SessionFactory.create_batch(2)
    now = timezone.now()
    commands = [
        CommandFactory(instance=sessions[number % 2].instance, created_at=now + timedelta(seconds=number))
        for number in range(5)
    ]
    asked = {session.pk for session in sessions}

    first = claim(asked)
    second = claim(first.more)

    assert first.more == asked
    assert {pk for claimed in first.commands.values() for pk in ids(claimed)} == {made.pk for made in commands[:3]}
    assert {pk for claimed in second.commands.values() for pk in ids(claimed)} == {made.pk for made in commands[3:]}
    assert second.more == frozenset()


@CLAIMS
def test_a_claim_is_bounded_by_the_bytes_of_its_arguments(claim, monkeypatch):
    monkeypatch.setattr("agents.services.delivery_rows.CLAIM_BYTES", 50_000)
    sessions = SessionFactory.create_batch(2)
    now = timezone.now()
    # Two values that PostgreSQL cannot compress, and one that it keeps with its row.
    values = [{"text": random.Random(seed).randbytes(15_000).hex()} for seed in (1, 2)] + [{}]
    commands = [
        CommandFactory(instance=sessions[number % 2].instance, created_at=now + timedelta(seconds=number), args=args)
        for number, args in enumerate([*values, *values])
    ]
    asked = {session.pk for session in sessions}

    claimed, more = [], asked
    while more:
        claims = claim(more)
        assert claims.more in (asked, frozenset())
        claimed.append(
            sorted(
                number
                for number, made in enumerate(commands)
                for given in claims.commands.values()
                if made.pk in ids(given)
            )
        )
        more = claims.more

    assert claimed == [[0, 1], [2, 3, 4], [5]]


@CLAIMS
def test_what_the_database_compresses_counts_for_more_than_it_takes_there(claim, monkeypatch):
    monkeypatch.setattr("agents.services.delivery_rows.CLAIM_BYTES", 20_000)
    session = SessionFactory()
    CommandFactory.create_batch(10, instance=session.instance, args={"text": "a" * 30_000})

    claims = claim([session.pk])

    assert 0 < len(claims.commands[session.pk]) < 10
    assert claims.more == {session.pk}


@CLAIMS
def test_a_command_larger_than_a_whole_claim_is_claimed_alone(claim, monkeypatch):
    monkeypatch.setattr("agents.services.delivery_rows.CLAIM_BYTES", 50)
    session = SessionFactory()
    now = timezone.now()
    commands = [
        CommandFactory(instance=session.instance, created_at=now + timedelta(seconds=number), args={"text": "a" * 99})
        for number in range(2)
    ]

    claims = [claim([session.pk]) for _ in range(3)]

    assert [ids(claim.commands.get(session.pk, [])) for claim in claims] == [[commands[0].pk], [commands[1].pk], []]
    assert [claim.more for claim in claims] == [{session.pk}, {session.pk}, frozenset()]


def waiting_sessions(count):
    """Sessions with two commands to be claimed each."""
    sessions = SessionFactory.create_batch(count)
    for session in sessions:
        CommandFactory.create_batch(2, instance=session.instance)
    return sessions


def returned_sessions(count):
    """New sessions of the same processes, each with something of every sort: three to be claimed, one rejected."""
    sessions = []
    now = timezone.now()
    for _ in range(count):
        old = ended_session(**PROCESS)
        sent(old)
        sent(old, kind="run_task_once")
        sent(old, status="accepted")
        sent(old, status="timeout", error_code="command_timeout_elapsed", finished_at=now)
        sessions.append(SessionFactory(instance=old.instance, accepted_capabilities=["command.ping"], **PROCESS))
    return sessions


@pytest.mark.parametrize(
    ("claim", "prepared", "each"),
    [(claim_waiting, waiting_sessions, 2), (claim_for_new_sessions, returned_sessions, 3)],
)
def test_a_claim_takes_as_many_statements_for_many_sessions_as_for_one(claim, prepared, each):
    costs = []
    for count in (1, 20):
        asked = [session.pk for session in prepared(count)]
        with CaptureQueriesContext(connection) as queries:
            claims = claim(asked)
        assert [len(claims.commands[session_id]) for session_id in asked] == [each] * count
        costs.append(len(queries))

    assert costs[0] == costs[1]


# --- answers of many sessions


def test_answers_are_taken_in_their_order():
    session = SessionFactory()
    command = sent(session)

    outcomes = record_answers(
        [acked(session, command), finished(session, command, result={"ok": True}), acked(session, command)]
    )

    command.refresh_from_db()
    assert outcomes == [None, None, None]
    assert (command.status, command.ack_status, command.result) == ("succeeded", "accepted", {"ok": True})
    assert list(Event.objects.order_by("id").values_list("kind", flat=True)) == [
        "command.accepted",
        "command.succeeded",
    ]


def test_the_first_of_two_results_in_one_batch_wins():
    session = SessionFactory()
    command = sent(session)

    first, second = record_answers([finished(session, command), finished(session, command, "failed")])

    command.refresh_from_db()
    assert (first, type(second), command.status) == (None, DuplicateResult, "succeeded")


def test_one_batch_judges_each_answer_by_itself():
    session, stranger = SessionFactory.create_batch(2)
    superseded = SessionFactory(status="superseded", disconnected_at=timezone.now() - timedelta(seconds=1))
    rejected, foreign, late, done = sent(session), sent(stranger), sent(superseded), sent(session, status="succeeded")
    unknown = CommandFactory.build()

    outcomes = record_answers(
        [
            acked(session, rejected, accepted=False, error_code="unsupported_command"),
            finished(session, foreign),
            finished(session, unknown),
            finished(superseded, late),
            finished(session, done),
            acked(session, done),
        ]
    )

    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        CommandUnknown,
        CommandUnknown,
        SessionEnded,
        DuplicateResult,
        type(None),
    ]
    assert outcomes[3].reason == "superseded"
    for command, status in ((rejected, "rejected"), (foreign, "dispatched"), (late, "dispatched"), (done, "succeeded")):
        command.refresh_from_db()
        assert command.status == status
    assert Event.objects.count() == 1


def test_an_answer_that_came_before_the_session_ended_counts():
    """A shutdown's result and the closing socket come in one breath; the answer may be stored after the end."""
    session = SessionFactory()
    command = sent(session, kind="shutdown")
    answer = finished(session, command)
    Session.objects.update(status="disconnected", disconnected_at=timezone.now())

    assert record_answers([answer]) == [None]

    command.refresh_from_db()
    assert command.status == "succeeded"


def test_answers_that_were_stored_before_change_nothing():
    session = SessionFactory()
    command = sent(session)
    batch = [acked(session, command), finished(session, command)]
    record_answers(batch)

    assert [type(outcome) for outcome in record_answers(batch)] == [type(None), DuplicateResult]

    assert Event.objects.count() == 2


def test_no_answers_are_no_work(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert record_answers([]) == []


def test_answers_take_as_many_statements_for_many_as_for_one():
    costs = []
    for count in (1, 20):
        commands = [sent(session) for session in SessionFactory.create_batch(count)]
        batch = [answer(command.session, command) for command in commands for answer in (acked, finished)]
        with CaptureQueriesContext(connection) as queries:
            record_answers(batch)
        costs.append(len(queries))

    assert costs[0] == costs[1]
    assert not Command.objects.exclude(status="succeeded").exists()


# --- what a large table costs


@pytest.mark.needs_postgres
@pytest.mark.parametrize("work", ["sweep", "claim", "claim anew"])
def test_no_command_is_read_but_by_an_index(work):
    session = SessionFactory()
    CommandFactory.create_batch(2, instance=session.instance)
    works = {
        "sweep": expire_due_commands,
        "claim": lambda: claim_waiting([session.pk]),
        "claim anew": lambda: claim_for_new_sessions([session.pk]),
    }

    with CaptureQueriesContext(connection) as queries:
        works[work]()
    reads = [query["sql"] for query in queries if "agents_command" in query["sql"] and " LIMIT " in query["sql"]]

    assert reads
    with connection.cursor() as cursor:
        # Of so few rows any plan reads all; whether an index would do is what is asked.
        cursor.execute("SET LOCAL enable_seqscan = off")
        for read in reads:
            cursor.execute(f"EXPLAIN {read}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Seq Scan on agents_command" not in plan
            assert "Index Cond" in plan


def test_a_sweep_takes_as_many_statements_for_many_as_for_one():
    costs = []
    for count in (1, 20):
        CommandFactory.create_batch(count, deadline_at=timezone.now() - timedelta(minutes=1))
        with CaptureQueriesContext(connection) as queries:
            assert expire_due_commands() == count
        costs.append(len(queries))

    assert costs[0] == costs[1]
