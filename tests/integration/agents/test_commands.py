"""Commands: the decision table of contract 3.2, the state machine of 3.5, and who may say what of them."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Command, Event, Instance, Session
from agents.models.command import HOLDABLE_KINDS, REASON_KINDS, CommandKind
from agents.services.commands import cancel_command, parse_public_id, push_sync
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
from agents.services.errors import (
    CommandNotPending,
    CommandRefused,
    CommandUnknown,
    DuplicateResult,
    InstanceUnknown,
    SessionEnded,
)
from agents.services.orders import Order, validate_order
from controlplane.common.actors import SYSTEM, Actor
from controlplane.common.errors import Invalid
from tasks_app.services.commands import fan_out, order_command
from tests.factories import (
    CommandFactory,
    InstanceFactory,
    ReplicaFactory,
    ServiceFactory,
    SessionFactory,
    TaskControlsFactory,
    task_control,
)

pytestmark = pytest.mark.django_db
ACTOR = Actor("operator")
PAUSE = {"kind": "pause_task", "args": {"task_name": "tick"}, "reason": "maintenance"}


def claim_pending(session_id):
    return _only(session_id, claim_waiting([session_id]))


def claim_for_new_session(session_id):
    return _only(session_id, claim_for_new_sessions([session_id]))


def _only(session_id, claims):
    """What was claimed for this session; raises SessionEnded where it is no longer active."""
    if session_id in claims.ended:
        raise SessionEnded(claims.ended[session_id])
    return claims.commands.get(session_id, [])


def record_ack(session_id, command_id, **said):
    record_one(Answer(session_id, command_id, timezone.now(), Ack(**said)))


def record_result(session_id, command_id, **said):
    record_one(Answer(session_id, command_id, timezone.now(), Result(**said)))


def record_one(answer):
    """Record one answer; raises what became of it, unless it was taken."""
    [outcome] = record_answers([answer])
    if outcome is not None:
        raise outcome


def order(kind="ping", **changes):
    return Order(kind=kind, **changes)


def ended_session(**changes):
    return SessionFactory(status=Session.Status.DISCONNECTED, disconnected_at=timezone.now(), **changes)


def refusal(instance, asked):
    with pytest.raises(CommandRefused) as refused:
        order_command(instance.pk, asked, actor=ACTOR)
    assert Command.objects.count() == 0
    return refused.value


def dispatched(session, **changes):
    """A command that was sent on this session."""
    return CommandFactory(
        instance=session.instance, session=session, status="dispatched", dispatched_at=timezone.now(), **changes
    )


def kinds(command):
    return list(Event.objects.filter(command_id=command.pk).order_by("id").values_list("kind", flat=True))


# --- orders that can never be right: contract 3.1


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (order("fly"), "kind"),
        (order(timeout_s=0), "timeout_s"),
        (order(timeout_s=10**9), "timeout_s"),
        (order(reason="r" * 2001), "reason"),
        (order("shutdown"), "reason"),
        (order("drain", reason="  "), "reason"),
        (order("pause_task", args={"task_name": "t"}), "reason"),
        (order("pause_task", reason="r"), "args.task_name"),
        (order("pause_task", reason="r", args={"task_name": " "}), "args.task_name"),
        (order("pause_task", reason="r", args={"task_name": 7}), "args.task_name"),
        (order("pause_task", reason="r", args={"task_name": "t" * 256}), "args.task_name"),
        (order("replay_dead_letters", reason="r", args={"task_name": "t", "limit": 0}), "args.limit"),
        (order("discard_dead_letters", reason="r", args={"task_name": "t", "limit": "3"}), "args.limit"),
        (order("discard_dead_letters", reason="r", args={"task_name": "t", "limit": True}), "args.limit"),
        (order("run_task_once", reason="r", args={"task_name": "t", "payload": [1]}), "args.payload"),
        (order(args={"x": float("nan")}), "args"),
        (order(args={"x": "a\x00"}), "args"),
        (order(args={"x": "\ud800"}), "args"),
        (order(args={"x": "y" * 900_000}), "args"),
        *((order(kind, hold=True, reason="r", args={"task_name": "t"}), "hold") for kind in (
            "shutdown", "restart", "drain", "pause_task", "resume_task", "restart_task", "run_task_once",
            "discard_dead_letters", "replay_dead_letters",
        )),
    ],
)  # fmt: skip
def test_an_impossible_order_names_its_field(asked, field):
    with pytest.raises(Invalid) as invalid:
        validate_order(asked)

    assert invalid.value.field == field
    assert str(invalid.value)


@pytest.mark.parametrize("kind", ["ping", "sync_now", "flush_metrics", "flush_events"])
def test_harmless_kinds_may_be_held_and_need_no_reason(kind):
    assert validate_order(order(kind, hold=True, reason=" why ")).reason == "why"


def test_args_just_below_the_limit_are_taken():
    assert validate_order(order(args={"x": "y" * 899_000}))


# --- one instance: contract 3.2


def test_an_unknown_instance_is_not_found():
    with pytest.raises(InstanceUnknown):
        order_command(InstanceFactory.build().pk, order(), actor=ACTOR)


def test_an_active_session_gets_the_command():
    session = SessionFactory()

    command = order_command(session.instance_id, order(args={"x": 1}, reason="check", timeout_s=7), actor=ACTOR)

    assert (command.status, command.created_by_name, command.reason) == ("pending", "operator", "check")
    assert command.deadline_at - command.created_at == timedelta(seconds=7)
    assert kinds(command) == ["command.queued"]


def test_a_missing_capability_is_named():
    session = SessionFactory(accepted_capabilities=["command.drain"])

    error = refusal(session.instance, order())

    assert error.code == "missing_capability"
    assert "command.ping" in str(error)


def test_a_task_whose_state_is_unknown_is_refused():
    error = refusal(SessionFactory().instance, order(**PAUSE))

    assert (error.code, "tick" in str(error)) == ("task_state_unknown", True)


def test_a_task_that_does_not_support_the_kind_is_refused():
    session = SessionFactory()
    TaskControlsFactory(instance=session.instance, controls=[task_control("tick", supported_commands=["resume_task"])])

    assert refusal(session.instance, order(**PAUSE)).code == "task_command_unsupported"


def test_a_task_that_supports_the_kind_gets_it():
    session = SessionFactory()
    TaskControlsFactory(instance=session.instance, controls=[task_control("tick", supported_commands=["pause_task"])])

    command = order_command(session.instance_id, order(**PAUSE), actor=ACTOR)

    assert (command.status, command.task_name) == ("pending", "tick")


@pytest.mark.parametrize("held", [False, True])
def test_a_session_whose_holder_is_dead_is_no_live_connection(held):
    session = SessionFactory(replica=ReplicaFactory(stopped_at=timezone.now()))

    if held:
        assert order_command(session.instance_id, order(hold=True), actor=ACTOR).status == "pending"
    else:
        error = refusal(session.instance, order())
        assert (error.code, "no live control connection" in str(error)) == ("no_live_connection", True)


def test_without_a_session_a_command_for_now_is_refused():
    error = refusal(ended_session().instance, order())

    assert (error.code, "no active control session" in str(error)) == ("no_active_session", True)


def test_holding_for_an_instance_that_never_had_a_session_is_refused():
    assert refusal(InstanceFactory(), order(hold=True)).code == "no_known_session"


@pytest.mark.parametrize("hold", [False, True])
def test_what_is_being_forgotten_takes_no_command(hold):
    instance = SessionFactory().instance
    Instance.objects.update(forget_requested_at=timezone.now())

    assert refusal(instance, order(hold=hold)).code == "instance_being_forgotten"


def test_holding_needs_the_capability_of_the_last_session():
    instance = ended_session(connected_at=timezone.now() - timedelta(hours=1)).instance
    ended_session(instance=instance, accepted_capabilities=[])

    assert refusal(instance, order(hold=True)).code == "missing_capability"


def test_holding_for_an_instance_whose_last_session_was_able_waits():
    instance = ended_session(accepted_capabilities=[], connected_at=timezone.now() - timedelta(hours=1)).instance
    ended_session(instance=instance)

    command = order_command(instance.pk, order(hold=True), actor=ACTOR)

    assert (command.status, command.delivery_mode) == ("pending", "queue_until_reconnect")


# --- many instances: contract 3.3


def test_fan_out_reports_every_target_in_the_given_order():
    service = ServiceFactory()
    able, unable, gone, never = (InstanceFactory(service=service, online=True) for _ in range(4))
    SessionFactory(instance=able)
    SessionFactory(instance=unable, accepted_capabilities=[])
    ended_session(instance=gone)

    found = fan_out(
        service, order(reason="r"), actor=ACTOR, instance_ids=[never.pk, gone.pk, unable.pk, able.pk]
    ).targets

    assert [(target.instance, target.outcome, target.reason_code) for target in found] == [
        (never, "skipped", "no_active_session"),
        (gone, "skipped", "no_active_session"),
        (unable, "rejected", "missing_capability"),
        (able, "dispatched", None),
    ]
    assert [command.instance for command in Command.objects.all()] == [able]


def test_a_fan_out_is_bounded_by_what_its_arguments_take_in_all(settings):
    settings.FAN_OUT_MAX_BYTES = 2 * 1024 * 1024
    service = ServiceFactory()
    for instance in InstanceFactory.create_batch(3, service=service, online=True):
        SessionFactory(instance=instance)
    asked = order(args={"x": "y" * 800_000})

    with pytest.raises(Invalid, match="may go to 2 instances, not to 3") as refused:
        fan_out(service, asked, actor=ACTOR)

    assert refused.value.field == "args"
    assert Command.objects.count() == 0
    ids = service.instances.values_list("pk", flat=True)[:2]
    assert len(fan_out(service, asked, actor=ACTOR, instance_ids=list(ids)).targets) == 2


def test_fan_out_holds_for_those_that_are_away_if_asked():
    service = ServiceFactory()
    gone, never = InstanceFactory(service=service), InstanceFactory(service=service)
    ended_session(instance=gone)

    found = fan_out(service, order(hold=True), actor=ACTOR, instance_ids=[gone.pk, never.pk]).targets

    assert [(target.outcome, target.reason_code) for target in found] == [
        ("queued", "no_active_session"),
        ("rejected", "no_known_session"),
    ]


def test_fan_out_to_all_online_leaves_the_others_alone():
    service = ServiceFactory()
    online = InstanceFactory(service=service, online=True)
    SessionFactory(instance=online)
    SessionFactory(instance=InstanceFactory(service=service, offline=True))
    SessionFactory(instance=InstanceFactory(online=True))

    assert [target.instance for target in fan_out(service, order(), actor=ACTOR).targets] == [online]


def test_fan_out_with_nobody_online_makes_nothing():
    assert fan_out(ServiceFactory(), order(), actor=ACTOR).targets == []


def test_fan_out_to_an_instance_of_another_service_makes_nothing():
    service, stranger = ServiceFactory(), SessionFactory().instance
    own = SessionFactory(instance=InstanceFactory(service=service)).instance

    with pytest.raises(InstanceUnknown):
        fan_out(service, order(), actor=ACTOR, instance_ids=[own.pk, stranger.pk])

    assert Command.objects.count() == 0


def test_fan_out_takes_as_many_statements_for_many_as_for_few():
    service = ServiceFactory()
    statements = []
    for count in (2, 30):
        for _ in range(count):
            SessionFactory(instance=InstanceFactory(service=service, online=True))
        with CaptureQueriesContext(connection) as queries:
            fan_out(service, order(), actor=ACTOR)
        statements.append(len(queries))

    assert statements[0] == statements[1]


def test_topologies_are_asked_for_in_as_many_statements_for_many_as_for_one():
    statements = []
    for count in (1, 30):
        sessions = SessionFactory.create_batch(count)
        with CaptureQueriesContext(connection) as queries:
            push_sync([session.instance_id for session in sessions], actor=SYSTEM)
        statements.append(len(queries))

    assert statements[0] == statements[1]
    assert Command.objects.filter(kind="sync_now", status="pending").count() == 31


# --- cancelling


def test_a_pending_command_can_be_cancelled_once():
    command = CommandFactory(status="pending")

    assert cancel_command(command.pk, actor=ACTOR).status == "cancelled"
    assert kinds(command) == ["command.cancelled"]
    with pytest.raises(CommandNotPending):
        cancel_command(command.pk, actor=ACTOR)


@pytest.mark.parametrize("status", ["dispatched", "accepted", "succeeded", "expired"])
def test_what_was_sent_cannot_be_cancelled(status):
    command = CommandFactory(status=status)

    with pytest.raises(CommandNotPending):
        cancel_command(command.pk, actor=ACTOR)

    command.refresh_from_db()
    assert command.status == status


@pytest.mark.parametrize("public_id", ["", "cmd_", "cmd_12", "sess_" + "0" * 32, "cmd_" + "g" * 32, "0" * 32])
def test_what_is_no_command_id_is_unknown(public_id):
    with pytest.raises(CommandUnknown):
        parse_public_id(public_id)


# --- claiming: the holder reads what to send


def test_claiming_marks_and_returns_oldest_first():
    session = SessionFactory()
    now = timezone.now()
    second = CommandFactory(instance=session.instance, created_at=now)
    first = CommandFactory(instance=session.instance, created_at=now - timedelta(seconds=1))
    CommandFactory()

    claimed = claim_pending(session.pk)

    assert [command.command_id for command in claimed] == [first.pk, second.pk]
    first.refresh_from_db()
    assert (first.status, first.session) == ("dispatched", session)
    assert first.dispatched_at is not None
    assert kinds(first) == ["command.dispatched"]
    assert claim_pending(session.pk) == []


def test_claims_come_in_bounded_portions():
    session = SessionFactory()
    CommandFactory.create_batch(CLAIM_BATCH + 1, instance=session.instance)

    assert [len(claim_pending(session.pk)) for _ in range(3)] == [CLAIM_BATCH, 1, 0]


def test_an_overdue_command_is_not_sent():
    session = SessionFactory()
    CommandFactory(instance=session.instance, deadline_at=timezone.now() - timedelta(seconds=1))

    assert claim_pending(session.pk) == []
    assert claim_for_new_session(session.pk) == []


@pytest.mark.parametrize(("status", "reason"), [("disconnected", "lost"), ("superseded", "superseded")])
@pytest.mark.parametrize("claim", [claim_pending, claim_for_new_session])
def test_a_session_that_ended_claims_nothing(claim, status, reason):
    session = SessionFactory(status=status, disconnected_at=timezone.now())
    command = CommandFactory(instance=session.instance)

    with pytest.raises(SessionEnded) as ended:
        claim(session.pk)

    assert ended.value.reason == reason
    command.refresh_from_db()
    assert command.status == "pending"


# --- redelivery: contract 3.5

PROCESS = {
    "runtime_hostname": "h",
    "runtime_pid": 1,
    "runtime_started_at": timezone.now().replace(microsecond=0),
}
NEXT_PROCESS = PROCESS | {"runtime_pid": 2}


def reconnect(command, **process):
    return SessionFactory(instance=command.instance, **process)


def test_a_dispatched_command_goes_again_on_the_next_session():
    command = dispatched(ended_session(**PROCESS))
    session = reconnect(command, **NEXT_PROCESS)

    claimed = claim_for_new_session(session.pk)

    command.refresh_from_db()
    assert [claim.command_id for claim in claimed] == [command.pk]
    assert (command.status, command.session) == ("dispatched", session)


@pytest.mark.parametrize(("process", "again"), [(PROCESS, True), (NEXT_PROCESS, False)])
def test_an_accepted_command_goes_again_to_the_same_process_only(process, again):
    command = CommandFactory(session=(old := ended_session(**PROCESS)), instance=old.instance, status="accepted")

    claimed = claim_for_new_session(reconnect(command, **process).pk)

    command.refresh_from_db()
    assert [claim.command_id for claim in claimed] == ([command.pk] if again else [])
    assert command.status == "accepted"


@pytest.mark.parametrize(("process", "again"), [(PROCESS, True), (NEXT_PROCESS, False)])
def test_the_result_of_a_timed_out_command_is_asked_of_the_same_process_only(process, again):
    old = ended_session(**PROCESS)
    command = due("accepted", seconds=60, instance=old.instance, session=old)
    expire_due_commands()

    session = reconnect(command, **process)
    claimed = claim_for_new_session(session.pk)

    command.refresh_from_db()
    assert [claim.command_id for claim in claimed] == ([command.pk] if again else [])
    assert command.status == "timeout"
    if again:
        record_result(session.pk, command.pk, status="succeeded", finished_at=timezone.now())
        command.refresh_from_db()
        assert command.status == "succeeded"


def test_what_was_never_accepted_is_not_sent_after_its_deadline():
    old = ended_session(**PROCESS)
    command = due("dispatched", seconds=60, instance=old.instance, session=old)
    expire_due_commands()

    assert claim_for_new_session(reconnect(command, **PROCESS).pk) == []


@pytest.mark.parametrize(("process", "again"), [(PROCESS, True), (NEXT_PROCESS, False)])
def test_an_order_to_stop_is_not_given_to_the_next_process(process, again):
    command = dispatched(ended_session(**PROCESS), kind="restart")

    claimed = claim_for_new_session(reconnect(command, **process).pk)

    assert [claim.command_id for claim in claimed] == ([command.pk] if again else [])


def test_what_a_hint_had_sent_on_the_new_session_is_not_sent_twice():
    session = SessionFactory()
    CommandFactory(instance=session.instance)

    assert len(claim_pending(session.pk)) == 1
    assert claim_for_new_session(session.pk) == []


def test_a_capability_lost_on_reconnect_rejects():
    command = CommandFactory(instance=ended_session().instance)
    session = SessionFactory(instance=command.instance, accepted_capabilities=["command.drain"])

    assert claim_for_new_session(session.pk) == []

    command.refresh_from_db()
    assert (command.status, command.error_code, command.ack_status) == (
        "rejected",
        "command_capability_missing_on_reconnect",
        "",
    )
    assert kinds(command) == ["command.rejected"]


# --- acknowledgements and results


def test_an_ack_and_a_result_finish_a_command():
    session = SessionFactory()
    command = dispatched(session, created_at=timezone.now() - timedelta(seconds=2))
    acked_at = timezone.now() - timedelta(seconds=1)

    record_ack(session.pk, command.pk, accepted=True, received_at=acked_at)
    record_result(
        session.pk, command.pk, status="succeeded", finished_at=timezone.now(), result={"ok": True}, duration_ms=5
    )

    command.refresh_from_db()
    assert (command.status, command.ack_status, command.acked_at) == ("succeeded", "accepted", acked_at)
    assert (command.result, command.duration_ms) == ({"ok": True}, 5)
    assert kinds(command) == ["command.accepted", "command.succeeded"]


def test_a_rejection_carries_the_agents_words():
    session = SessionFactory()
    command = dispatched(session)

    record_ack(
        session.pk,
        command.pk,
        accepted=False,
        received_at=timezone.now(),
        error_code="unsupported_command" * 20,
        error_message="no\x00pe",
    )

    command.refresh_from_db()
    assert (command.status, command.ack_status, len(command.error_code), command.error_message) == (
        "rejected",
        "rejected",
        128,
        "no\ufffdpe",
    )


@pytest.mark.parametrize("drift", [timedelta(days=-3), timedelta(days=3)])
def test_impossible_times_of_an_agent_are_replaced_by_the_portals(drift):
    session = SessionFactory()
    command = dispatched(session)

    record_ack(session.pk, command.pk, accepted=True, received_at=timezone.now() + drift)

    command.refresh_from_db()
    assert abs(command.acked_at - timezone.now()) < timedelta(minutes=1)


def test_a_result_without_an_ack_counts_as_acknowledged():
    session = SessionFactory()
    command = dispatched(session)

    record_result(session.pk, command.pk, status="failed", finished_at=timezone.now(), error_code="x")

    command.refresh_from_db()
    assert (command.status, command.ack_status) == ("failed", "accepted")
    assert command.acked_at is not None


def test_the_first_ack_and_the_first_result_win():
    session = SessionFactory()
    command = dispatched(session)
    record_ack(session.pk, command.pk, accepted=True, received_at=timezone.now())
    record_result(session.pk, command.pk, status="succeeded", finished_at=timezone.now())

    record_ack(session.pk, command.pk, accepted=False, received_at=timezone.now())
    with pytest.raises(DuplicateResult):
        record_result(session.pk, command.pk, status="failed", finished_at=timezone.now())

    command.refresh_from_db()
    assert (command.status, command.ack_status) == ("succeeded", "accepted")


@pytest.mark.parametrize(
    "answer",
    [
        lambda session, command: record_ack(session, command, accepted=True, received_at=timezone.now()),
        lambda session, command: record_result(session, command, status="succeeded", finished_at=timezone.now()),
    ],
    ids=["ack", "result"],
)
def test_nobody_answers_for_another_instance(answer):
    command = dispatched(SessionFactory())
    stranger = SessionFactory()

    with pytest.raises(CommandUnknown):
        answer(stranger.pk, command.pk)

    command.refresh_from_db()
    assert command.status == "dispatched"


def test_a_superseded_session_answers_for_nobody():
    session = ended_session()
    command = dispatched(session)

    with pytest.raises(SessionEnded):
        record_result(session.pk, command.pk, status="succeeded", finished_at=timezone.now())


def test_a_huge_result_is_cut_and_says_so(settings):
    settings.COMMAND_RESULT_MAX_BYTES = 5000
    session = SessionFactory()
    command = dispatched(session)

    record_result(
        session.pk,
        command.pk,
        status="succeeded",
        finished_at=timezone.now(),
        result={"x": "y" * 6000, "n": float("nan")},
    )

    command.refresh_from_db()
    assert command.result["truncated"] is True
    assert command.result["size_bytes"] > 6000
    assert command.result["start"].startswith('{"x":"yyy')


# --- deadlines


def due(status, *, seconds, **changes):
    now = timezone.now()
    deadline = now - timedelta(seconds=seconds)
    return CommandFactory(status=status, created_at=deadline - timedelta(seconds=10), deadline_at=deadline, **changes)


@pytest.mark.parametrize(
    ("status", "seconds", "outcome", "code"),
    [
        ("pending", 1, "expired", "command_delivery_expired"),
        ("dispatched", 1, "dispatched", ""),
        ("dispatched", 6, "expired", "command_delivery_expired"),
        ("accepted", 1, "accepted", ""),
        ("accepted", 6, "timeout", "command_timeout_elapsed"),
        ("pending", -5, "pending", ""),
        ("succeeded", 60, "succeeded", ""),
    ],
)
def test_deadlines_close_what_is_overdue(status, seconds, outcome, code):
    command = due(status, seconds=seconds)

    closed = expire_due_commands()

    command.refresh_from_db()
    assert (command.status, command.error_code) == (outcome, code)
    if outcome != status:
        assert closed == 1
        assert command.finished_at == command.deadline_at
        assert kinds(command) == [f"command.{outcome}"]
    else:
        assert closed == 0


def test_a_timeout_lasts_from_the_ack_to_the_deadline():
    command = due("accepted", seconds=6)
    Command.objects.update(acked_at=command.deadline_at - timedelta(seconds=4))

    expire_due_commands()

    command.refresh_from_db()
    assert command.duration_ms == 4000


def test_a_sweep_works_through_more_than_one_batch(monkeypatch):
    monkeypatch.setattr("agents.services.deadlines.SWEEP_BATCH", 4)
    for _ in range(9):
        due("pending", seconds=2)

    assert expire_due_commands() == 9
    assert set(Command.objects.values_list("status", flat=True)) == {"expired"}


@pytest.mark.parametrize("status", ["dispatched", "accepted"])
def test_a_late_result_replaces_the_verdict_of_the_clock(status):
    session = SessionFactory()
    command = due(status, seconds=6, instance=session.instance, session=session)
    expire_due_commands()

    record_result(session.pk, command.pk, status="succeeded", finished_at=timezone.now(), result={"ok": True})

    command.refresh_from_db()
    assert (command.status, command.error_code, command.result) == ("succeeded", "", {"ok": True})


def test_a_timeout_that_the_agent_reported_stands():
    session = SessionFactory()
    command = dispatched(session)
    record_result(
        session.pk, command.pk, status="timeout", finished_at=timezone.now(), error_code="command_execution_timeout"
    )

    with pytest.raises(DuplicateResult):
        record_result(session.pk, command.pk, status="succeeded", finished_at=timezone.now())


def test_every_kind_is_either_holdable_or_needs_a_reason():
    assert set(CommandKind) == HOLDABLE_KINDS | REASON_KINDS
    assert not HOLDABLE_KINDS & REASON_KINDS
