"""Delivering commands: what the process that holds a session sends, and what the agent answers.

`agents.services.commands` makes the rows; deadlines are swept in `agents.services.deadlines`. The agent's answers are
taken from the session of the command's own instance only. Everything here is set-wise: a process asks for all of its
sessions at once, and the number of statements does not grow with them.

Locks are taken in one order, instances before sessions before commands, and rows of a table by their id. Claims and
answers share a session's row with each other and with `touch_sessions` (KEY SHARE), while whoever ends a session takes
it FOR UPDATE: so a session cannot end half-way through either, and neither waits for a flush of telemetry. Claims pass
over commands that someone else has locked, so they never wait while they hold one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from agents.models import Command, Session
from agents.models.event import EventKind
from agents.services.commands import UNDELIVERED, accepts
from agents.services.deadlines import GUESSED_BY_CLOCK
from agents.services.delivery_rows import (
    CLAIM_BATCH,
    LockedCommand,
    LockedSession,
    dispatch_waiting,
    is_full,
    lock_commands,
    lock_sessions,
    lock_timed_out,
    lock_unanswered,
)
from agents.services.errors import CommandUnknown, DuplicateResult, SessionEnded
from agents.services.events import NewEvent, portal_event, record_events
from controlplane.common.bulk import update_from_values
from controlplane.common.clean import clean_json, clean_text

Status = Command.Status
EndReason: TypeAlias = Literal["superseded", "lost"]

_TRUNCATED_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class ClaimedCommand:
    """A command that its holder must send now. Shapes as in contract 1.7."""

    command_id: UUID
    public_id: str
    kind: str
    args: dict[str, object]
    timeout_s: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Claims:
    """What to send on each session, oldest first; by session id.

    `ended` are the sessions that are no longer active: nothing may be sent there. `more` are those for which more may
    wait: claim again, in the same way.
    """

    commands: dict[UUID, list[ClaimedCommand]] = field(default_factory=dict)
    ended: dict[UUID, EndReason] = field(default_factory=dict)
    more: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True)
class Ack:
    """The agent's word on whether it takes a command; `received_at` is by its own clock."""

    accepted: bool
    received_at: datetime
    error_code: str = ""
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a command; `status` is a final one, `finished_at` is by the agent's clock."""

    status: str
    finished_at: datetime
    result: object = None
    duration_ms: int | None = None
    error_code: str = ""
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One frame of an agent about a command; `received_at` is when this process had it."""

    session_id: UUID
    command_id: UUID
    received_at: datetime
    body: Ack | Result


AnswerOutcome: TypeAlias = CommandUnknown | DuplicateResult | SessionEnded | None


# --- claiming


@transaction.atomic
def claim_waiting(session_ids: Sequence[UUID]) -> Claims:
    """Mark what waits for these sessions as dispatched, and return it for sending.

    At most CLAIM_BATCH commands a session, and CLAIM_TOTAL in all with arguments of about CLAIM_BYTES, but one at
    least. A process that dies between this and the sending leaves the commands dispatched; the next session of the
    instance gets them again, and the agent knows them by their id. Three statements, two where nothing waits.
    """
    active, ended = _split(session_ids)
    if not active:
        return Claims(ended=ended)
    now = timezone.now()
    sessions = _by_instance(active)
    claimed = dispatch_waiting(active, now)
    record_events(_dispatched(command, sessions[command.instance_id], now) for command in claimed)
    return Claims(_frames(claimed), ended, _unfinished(sessions, claimed))


@transaction.atomic
def claim_for_new_sessions(session_ids: Sequence[UUID]) -> Claims:
    """What new sessions must get first: all that was sent on an earlier one and not answered, and what waits.

    Accepted commands come again only to the same process of the agent, which then replays the result that it could
    not deliver, also where the portal gave up waiting a short while ago; a new process would run them a second time.
    An order to stop that an earlier process may have obeyed without a word is not given to the next one. What the new
    session cannot do is rejected. Bounds as for `claim_waiting`; results that are asked for again count apart. Five
    statements at most. Source: contract 3.5.
    """
    active, ended = _split(session_ids)
    if not active:
        return Claims(ended=ended)
    now = timezone.now()
    sessions = _by_instance(active)
    unanswered, timed_out = lock_unanswered(active, now), lock_timed_out(active, now)
    events: list[NewEvent] = []
    again: list[LockedCommand] = []
    for command in unanswered + timed_out:
        session = sessions[command.instance_id]
        if command.status not in UNDELIVERED:
            # Only the frame goes again: the agent has said that it took this one.
            again.append(command)
        elif accepts(session.accepted_capabilities, command.kind):
            command.status, command.dispatched_at = Status.DISPATCHED, now
            again.append(command)
            events.append(_dispatched(command, session, now))
        else:
            _reject_incapable(command, now)
            events.append(_event(command, session, EventKind.COMMAND_REJECTED, now))
            continue
        command.session_id = session.pk
    _save(unanswered + timed_out, _CLAIM_COLUMNS, now)
    record_events(events)
    return Claims(_frames(again), ended, _unfinished(sessions, unanswered, timed_out))


_CLAIM_COLUMNS = (
    "id",
    "status",
    "session_id",
    "dispatched_at",
    "finished_at",
    "error_code",
    "error_message",
    "updated_at",
)


def _split(session_ids: Sequence[UUID]) -> tuple[dict[UUID, LockedSession], dict[UUID, EndReason]]:
    """The sessions that are active, and why the others are not."""
    sessions = lock_sessions(session_ids)
    active = {pk: session for pk, session in sessions.items() if session.status == Session.Status.ACTIVE}
    return active, {pk: _end_reason(sessions.get(pk)) for pk in session_ids if pk not in active}


def _end_reason(session: LockedSession | None) -> EndReason:
    return "superseded" if session is not None and session.status == Session.Status.SUPERSEDED else "lost"


def _by_instance(active: Mapping[UUID, LockedSession]) -> dict[UUID, LockedSession]:
    return {session.instance_id: session for session in active.values()}


def _frames(commands: Iterable[LockedCommand]) -> dict[UUID, list[ClaimedCommand]]:
    """What is to be sent, oldest first, by the session that it is to be sent on."""
    frames: dict[UUID, list[ClaimedCommand]] = {}
    for command in sorted(commands, key=lambda command: (command.created_at, command.id)):
        if command.session_id is not None:
            frame = ClaimedCommand(
                command.id, command.public_id, command.kind, command.args, command.timeout_s, command.created_at
            )
            frames.setdefault(command.session_id, []).append(frame)
    return frames


def _unfinished(sessions: Mapping[UUID, LockedSession], *portions: Sequence[LockedCommand]) -> frozenset[UUID]:
    """The sessions of which a portion was filled to its bound; all, where all together were."""
    if any(is_full(portion) for portion in portions):
        return frozenset(session.pk for session in sessions.values())
    counts = [Counter(command.instance_id for command in portion) for portion in portions]
    return frozenset(
        sessions[instance_id].pk for count in counts for instance_id, number in count.items() if number >= CLAIM_BATCH
    )


def _reject_incapable(command: LockedCommand, now: datetime) -> None:
    command.status, command.finished_at = Status.REJECTED, now
    command.error_code = "command_capability_missing_on_reconnect"
    command.error_message = gettext_noop("The instance came back without the capability that this command needs.")


# --- answers


_RESULT_EVENTS = {
    Status.SUCCEEDED: EventKind.COMMAND_SUCCEEDED,
    Status.FAILED: EventKind.COMMAND_FAILED,
    Status.TIMEOUT: EventKind.COMMAND_TIMEOUT,
    Status.CANCELLED: EventKind.COMMAND_CANCELLED,
}
_ANSWER_COLUMNS = (
    "id",
    "status",
    "ack_status",
    "acked_at",
    "finished_at",
    "result",
    "duration_ms",
    "error_code",
    "error_message",
    "updated_at",
)


def record_answers(answers: Sequence[Answer]) -> list[AnswerOutcome]:
    """Note what agents answered, in the given order; returns what became of each, in that order.

    None: it was taken, or it is an acknowledgement of what has moved on, which is no error. CommandUnknown: the command
    is not one of that session's instance. DuplicateResult: its result is known already; a verdict that the portal gave
    by its clock is none, and is replaced. SessionEnded: the session had ended before the answer came.

    Four statements, whatever the number. Safe to call again with answers that may have been stored.
    """
    if not answers:
        return []
    with transaction.atomic():
        return _record(answers)


def _record(answers: Sequence[Answer]) -> list[AnswerOutcome]:
    sessions = lock_sessions({answer.session_id for answer in answers})
    commands = lock_commands({answer.command_id for answer in answers})
    outcomes: list[AnswerOutcome] = []
    events: list[NewEvent] = []
    for answer in answers:
        try:
            events += _take(answer, sessions.get(answer.session_id), commands.get(answer.command_id))
        except (CommandUnknown, DuplicateResult, SessionEnded) as refusal:
            outcomes.append(refusal)
        else:
            outcomes.append(None)
    answered = {event.command_id for event in events}
    _save([command for command in commands.values() if command.id in answered], _ANSWER_COLUMNS, timezone.now())
    record_events(events)
    return outcomes


def _take(answer: Answer, session: LockedSession | None, command: LockedCommand | None) -> list[NewEvent]:
    """Change the command as it is answered; the event of the change, or none where nothing changes."""
    if session is None or (session.disconnected_at is not None and session.disconnected_at < answer.received_at):
        raise SessionEnded(_end_reason(session))
    if command is None or command.instance_id != session.instance_id:
        raise CommandUnknown
    if isinstance(answer.body, Ack):
        if command.status not in UNDELIVERED:
            return []
        kind = _acknowledge(command, answer.body, answer.received_at)
    else:
        if not command.is_open and command.error_code not in GUESSED_BY_CLOCK:
            raise DuplicateResult
        kind = _finish(command, answer.body, answer.received_at)
    return [_event(command, session, kind, answer.received_at, duration_ms=command.duration_ms)]


def _acknowledge(command: LockedCommand, ack: Ack, now: datetime) -> EventKind:
    command.acked_at = _plausible(ack.received_at, command.created_at, now)
    if ack.accepted:
        command.status, command.ack_status = Status.ACCEPTED, Command.AckStatus.ACCEPTED
        return EventKind.COMMAND_ACCEPTED
    command.status, command.ack_status = Status.REJECTED, Command.AckStatus.REJECTED
    command.finished_at = command.acked_at
    command.error_code, command.error_message = clean_text(ack.error_code, 128), clean_text(ack.error_message)
    return EventKind.COMMAND_REJECTED


def _finish(command: LockedCommand, result: Result, now: datetime) -> EventKind:
    command.status, command.ack_status = result.status, Command.AckStatus.ACCEPTED
    command.acked_at = command.acked_at or now
    command.result = _bounded_result(result.result)
    command.duration_ms = result.duration_ms
    command.finished_at = _plausible(result.finished_at, command.created_at, now)
    command.error_code, command.error_message = clean_text(result.error_code, 128), clean_text(result.error_message)
    return _RESULT_EVENTS[Status(result.status)]


def _plausible(claimed: datetime, earliest: datetime, now: datetime) -> datetime:
    """The agent's own time where it can be true, else the portal's: agents' clocks drift."""
    return claimed if earliest <= claimed <= now else now


def _bounded_result(result: object) -> object:
    """The result, or its beginning as text where it is larger than COMMAND_RESULT_MAX_BYTES."""
    cleaned = clean_json(result)
    encoded = msgspec.json.encode(cleaned)
    if len(encoded) <= settings.COMMAND_RESULT_MAX_BYTES:
        return cleaned
    start = encoded[:_TRUNCATED_CHARACTERS].decode("utf-8", "ignore")
    return {"truncated": True, "size_bytes": len(encoded), "start": start}


# --- rows and events


def _save(commands: Sequence[LockedCommand], columns: Sequence[str], now: datetime) -> None:
    """Write these columns of commands that this transaction has locked, in one statement."""
    for command in commands:
        command.updated_at = now
    update_from_values(
        Command,
        columns,
        [[getattr(command, name) for name in columns] for command in commands],
        assignments=", ".join(f"{name} = v.{name}" for name in columns if name != "id"),
    )


def _dispatched(command: LockedCommand, session: LockedSession, now: datetime) -> NewEvent:
    return _event(command, session, EventKind.COMMAND_DISPATCHED, now, meta={"session_id": session.public_id})


def _event(command: LockedCommand, session: LockedSession, kind: EventKind, at: datetime, **fields: Any) -> NewEvent:
    return portal_event(
        kind,
        at=at,
        instance_id=session.instance_id,
        service_id=session.service_id,
        command_id=command.id,
        task_name=command.task_name,
        message=command.kind,
        **fields,
    )
