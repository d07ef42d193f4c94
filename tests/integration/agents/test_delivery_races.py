"""What holds when several processes deliver at once, and when one of them is killed between two steps."""

import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from agents.models import Command, Event, Session
from agents.services.commands import Ordered, queue_orders
from agents.services.deadlines import expire_due_commands
from agents.services.delivery import (
    Ack,
    Answer,
    Result,
    claim_for_new_sessions,
    claim_waiting,
    record_answers,
)
from agents.services.errors import DuplicateResult, SessionEnded
from agents.services.orders import Order
from agents.services.reports import Hello, RuntimeFacts, ServiceIdentity
from agents.services.sessions import (
    Opening,
    end_sessions,
    open_session,
    open_sessions,
    reconcile_dead_replicas,
    touch_sessions,
)
from agents.services.tokens import Credential
from controlplane.common.actors import Actor
from tests.factories import CommandFactory, ReplicaFactory, SessionFactory

STARTED_AT = timezone.now().replace(microsecond=0)
PROCESS = {"runtime_hostname": "h", "runtime_pid": 1, "runtime_started_at": STARTED_AT}
DEADLINE_S = 60


def acked(session, command):
    at = timezone.now()
    return Answer(session.pk, command.pk, at, Ack(accepted=True, received_at=at))


def finished(session, command):
    at = timezone.now()
    return Answer(session.pk, command.pk, at, Result(status="succeeded", finished_at=at))


def kinds(command):
    return list(Event.objects.filter(command_id=command.pk).order_by("id").values_list("kind", flat=True))


def hello_of(session):
    """What the process that holds this session says next, of itself."""
    instance = session.instance
    return Hello(
        dialect="onestep",
        protocol_version="1",
        capabilities=(),
        accepted_capabilities=("command.ping",),
        service=ServiceIdentity(
            name=instance.service.name,
            environment=instance.service.environment,
            node_name="n",
            instance_id=instance.pk,
            deployment_version="1",
        ),
        runtime=RuntimeFacts(agent_version="1", python_version="3", hostname="h", pid=1, started_at=STARTED_AT),
    )


def reconnect(session):
    """The same process of the agent opens its next session at another process of the portal."""
    return open_session(
        hello_of(session), replica_id=ReplicaFactory().pk, credential=Credential(token_id=None), peer_address=""
    ).session_id


# --- one process is killed


def held_by_dead_process(**changes):
    """A session whose holder was killed, with one command that was sent on it."""
    session = SessionFactory(replica=ReplicaFactory(last_seen_at=timezone.now() - timedelta(hours=1)), **PROCESS)
    command = CommandFactory(instance=session.instance, timeout_s=60, **changes)
    return session, command


@pytest.mark.django_db
def test_what_was_claimed_and_never_sent_comes_again():
    old, command = held_by_dead_process()
    claim_waiting([old.pk])
    reconcile_dead_replicas()

    new = reconnect(old)
    claims = claim_for_new_sessions([new])

    assert [claimed.command_id for claimed in claims.commands[new]] == [command.pk]
    command.refresh_from_db()
    assert (command.status, command.session_id) == ("dispatched", new)


@pytest.mark.django_db
@pytest.mark.parametrize("stored", [0, 1], ids=["nothing stored", "only the ack stored"])
def test_answers_that_died_unstored_are_asked_for_again_and_count_once(stored):
    old, command = held_by_dead_process()
    claim_waiting([old.pk])
    record_answers([acked(old, command), finished(old, command)][:stored])
    reconcile_dead_replicas()

    new = Session(pk=reconnect(old))
    claims = claim_for_new_sessions([new.pk])
    # The agent knows the id: it repeats what it said, and does not run the command again.
    replay = [answer(new, claimed) for claimed in commands_of(claims) for answer in (acked, finished)]
    outcomes = record_answers(replay)
    repeated = record_answers(replay)

    assert outcomes == [None, None]
    assert [type(outcome) for outcome in repeated] == [type(None), DuplicateResult]
    command.refresh_from_db()
    assert command.status == "succeeded"
    assert [kind for kind in kinds(command) if kind != "command.dispatched"] == [
        "command.accepted",
        "command.succeeded",
    ]
    assert claim_for_new_sessions([new.pk]).commands == {}


def commands_of(claims):
    return Command.objects.filter(pk__in=[each.command_id for sent in claims.commands.values() for each in sent])


@pytest.mark.django_db
def test_a_result_that_was_stored_but_not_confirmed_to_the_writer_is_a_duplicate_at_worst():
    """The database committed and then went away: the writer stores the same batch again."""
    session, command = held_by_dead_process()
    claim_waiting([session.pk])
    batch = [acked(session, command), finished(session, command)]

    record_answers(batch)
    record_answers(batch)

    assert kinds(command) == ["command.dispatched", "command.accepted", "command.succeeded"]


# --- several at once


@pytest.mark.django_db(transaction=True)
def test_claims_at_once_give_each_command_to_one_of_them():
    session = SessionFactory()
    commands = CommandFactory.create_batch(40, instance=session.instance)
    claimed, barrier = [], threading.Barrier(4)

    def claim():
        barrier.wait(DEADLINE_S)
        for _ in range(3):
            claims = claim_waiting([session.pk])
            claimed.extend(each.command_id for each in claims.commands.get(session.pk, []))

    together([claim] * 4)

    assert sorted(claimed) == sorted(command.pk for command in commands)
    assert Event.objects.filter(kind="command.dispatched").count() == 40


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("work", ["claim", "claim anew", "answer"])
def test_no_session_ends_while_it_claims_or_answers(work):
    session = SessionFactory(**PROCESS)
    command = CommandFactory(instance=session.instance, session=session, status="dispatched")
    ended = threading.Thread(target=closing_connections(lambda: reconnect(session)))

    with transaction.atomic():
        if work == "claim":
            claim_waiting([session.pk])
        elif work == "claim anew":
            claim_for_new_sessions([session.pk])
        else:
            record_answers([acked(session, command)])
        ended.start()
        wait_until(somebody_waits_for_this)
        session.refresh_from_db()
        assert session.status == "active"
    ended.join(DEADLINE_S)

    session.refresh_from_db()
    assert session.status == "superseded"
    assert claim_waiting([session.pk]).ended == {session.pk: "superseded"}
    [outcome] = record_answers([finished(session, command)])
    assert isinstance(outcome, SessionEnded)


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_claims_and_answers_do_not_wait_for_telemetry_of_the_same_session():
    session = SessionFactory(last_message_at=timezone.now() - timedelta(minutes=1))
    command = CommandFactory(instance=session.instance)

    with elsewhere(lambda: touch_sessions([(session.pk, timezone.now())])), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '2s'")
        claims = claim_waiting([session.pk])
        outcomes = record_answers([finished(session, command)])

    assert [claimed.command_id for claimed in claims.commands[session.pk]] == [command.pk]
    assert outcomes == [None]


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_nobody_locks_anybody_out():
    """Deliveries of the same sessions in crossing orders, beside telemetry, the sweep and reconnects."""
    sessions = SessionFactory.create_batch(12, **PROCESS)
    for session in sessions:
        CommandFactory.create_batch(4, instance=session.instance)
        CommandFactory(instance=session.instance, deadline_at=timezone.now() - timedelta(hours=1))
    commands = list(Command.objects.select_related("instance"))
    by_instance = {session.instance_id: session for session in sessions}
    ids = [session.pk for session in sessions]

    def answer(order):
        record_answers([acked(by_instance[command.instance_id], command) for command in commands[::order]])

    def reopen():
        end_sessions(Session.objects.filter(pk__in=ids[:6]), reason="test")
        for session in sessions[6:]:
            reconnect(session)

    together(
        [
            lambda: claim_waiting(ids),
            lambda: claim_for_new_sessions(ids[::-1]),
            lambda: answer(1),
            lambda: answer(-1),
            lambda: touch_sessions([(pk, timezone.now()) for pk in ids[::-1]]),
            expire_due_commands,
            reopen,
        ],
        rounds=10,
    )

    # One that was acknowledged just before the sweep came is timed out rather than expired.
    expire_due_commands()
    overdue = Command.objects.filter(deadline_at__lt=timezone.now() - timedelta(minutes=30))
    assert {command.status for command in overdue} <= {"expired", "timeout"}
    assert overdue.count() == 12


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_hellos_and_orders_for_many_do_not_lock_each_other_out():
    """Orders reference the instances that hellos lock, in orders of their own."""
    sessions = SessionFactory.create_batch(60, **PROCESS)
    ids = [session.instance_id for session in sessions]
    openings = [Opening(hello_of(session), Credential(token_id=None), "") for session in sessions]
    replica_id = ReplicaFactory().pk
    rounds = 8

    def order(order_of_ids):
        queue_orders([Ordered(order_of_ids, Order(kind="ping"), Actor("tester"))])

    together(
        [
            lambda: open_sessions(openings, replica_id=replica_id),
            lambda: order(ids),
            lambda: order(ids[::-1]),
        ],
        rounds=rounds,
    )

    assert Session.objects.filter(instance__in=ids).count() == 60 * (1 + rounds)
    assert Session.objects.filter(instance__in=ids, status="active").count() == 60
    assert Command.objects.filter(instance__in=ids).count() == 60 * 2 * rounds


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_a_hello_locks_its_instance_in_no_way_that_a_reference_to_it_waits_for():
    session = SessionFactory(**PROCESS)

    with elsewhere(lambda: reconnect(session)), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        cursor.execute("SELECT 1 FROM agents_instance WHERE id = %s FOR KEY SHARE", [session.instance_id])

        assert cursor.fetchone() == (1,)


def together(works, *, rounds=1):
    """Run each in a thread, every round of all at once; raises what the first of them raised."""
    failures = []
    barrier = threading.Barrier(len(works))

    def guarded(work):
        def run():
            try:
                for _ in range(rounds):
                    barrier.wait(DEADLINE_S)
                    work()
            except Exception as error:
                failures.append(error)
                barrier.abort()
            finally:
                connections.close_all()

        return run

    threads = [threading.Thread(target=guarded(work)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def closing_connections(work):
    def run():
        try:
            work()
        finally:
            connections.close_all()

    return run


@contextmanager
def elsewhere(work):
    """What `work` does in a transaction of another thread that is not over before this ends."""
    done, release = threading.Event(), threading.Event()

    def run():
        with transaction.atomic():
            work()
            done.set()
            release.wait(DEADLINE_S)

    thread = threading.Thread(target=closing_connections(run))
    thread.start()
    try:
        assert done.wait(DEADLINE_S)
        yield
    finally:
        release.set()
        thread.join()


def somebody_waits_for_this():
    """Whether another connection waits for a lock that this one holds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return cursor.fetchone()[0] > 0


def wait_until(is_true):
    for _ in range(DEADLINE_S * 20):
        if is_true():
            return
        time.sleep(0.05)
    raise AssertionError("It never came true.")
