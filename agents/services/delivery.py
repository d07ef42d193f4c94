"""Delivering commands: what the process that holds a session sends, and what the agent answers.

`agents.services.commands` makes the rows; deadlines are swept in `agents.services.deadlines`. The agent's answers are
taken from the session of the command's own instance only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from agents.models import Command, Session
from agents.models.command import DESTRUCTIVE_KINDS
from agents.models.event import EventKind
from agents.services.commands import UNDELIVERED, accepts
from agents.services.deadlines import GUESSED_BY_CLOCK, TIMEOUT_CODE
from agents.services.errors import CommandUnknown, DuplicateResult, SessionEnded
from agents.services.events import command_event, record_events
from controlplane.common.clean import clean_json, clean_text

Status = Command.Status

# How many commands one claim hands to a socket.
CLAIM_BATCH = 50
_REDELIVERY_BATCH = 500
_TRUNCATED_CHARACTERS = 4000
# For how long after a timeout a result is still asked for.
REPLAY_WINDOW = timedelta(minutes=10)
_REPLAYED = (Status.ACCEPTED, Status.TIMEOUT)


@dataclass(frozen=True, slots=True)
class ClaimedCommand:
    """A command that its holder must send now. Shapes as in contract 1.7."""

    command_id: UUID
    public_id: str
    kind: str
    args: dict[str, object]
    timeout_s: int
    created_at: datetime


@transaction.atomic
def claim_pending(session_id: UUID) -> list[ClaimedCommand]:
    """Mark what waits for this session as dispatched, oldest first, and return it for sending.

    At most CLAIM_BATCH at a time: call again until it is empty. Raises SessionEnded where the session is no longer
    active, so that a superseded socket sends nothing. A process that dies between this and the sending leaves the
    command dispatched; the next session of the instance gets it again, and the agent knows it by its id.
    """
    now = timezone.now()
    session = _lock_active(session_id)
    waiting = Command.objects.filter(instance=session.instance_id, status=Status.PENDING, deadline_at__gt=now)
    return _dispatch(session, waiting.order_by("created_at", "id")[:CLAIM_BATCH], now)


@transaction.atomic
def claim_for_new_session(session_id: UUID) -> list[ClaimedCommand]:
    """What a new session must get first: all that was sent on an earlier one and not answered, and what waits.

    Accepted commands come again only to the same process of the agent, which then replays the result that it could
    not deliver, also where the portal gave up waiting a short while ago; a new process would run them a second time.
    An order to stop that an earlier process may have obeyed without a word is not given to the next one. What the new
    session cannot do is rejected. Raises SessionEnded as `claim_pending` does. Source: contract 3.5.
    """
    now = timezone.now()
    session = _lock_active(session_id)
    open_commands = (
        Command.objects.filter(instance=session.instance_id, status__in=Command.OPEN, deadline_at__gt=now)
        # A hint may have had it sent on this very session already.
        .exclude(session=session)
        .select_related("instance", "session")
        .order_by("created_at", "id")
    )
    again: list[UUID] = []
    incapable: list[Command] = []
    for command in open_commands:
        is_sent = command.status != Status.PENDING
        repeats_in_new_process = command.status != Status.ACCEPTED and command.kind not in DESTRUCTIVE_KINDS
        if is_sent and not repeats_in_new_process and not _same_process(command.session, session):
            continue
        if command.status == Status.ACCEPTED or accepts(session, command.kind):
            again.append(command.pk)
        else:
            incapable.append(command)
    again += _timed_out_lately(session, now)
    _reject_incapable(incapable, now)
    claimed: list[ClaimedCommand] = []
    for start in range(0, len(again), _REDELIVERY_BATCH):
        chunk = Command.objects.filter(pk__in=again[start : start + _REDELIVERY_BATCH]).order_by("created_at", "id")
        claimed += _dispatch(session, chunk, now)
    return claimed


def _timed_out_lately(session: Session, now: datetime) -> list[UUID]:
    """Commands that this very process of the agent accepted and whose result may wait at its end of a cut."""
    given_up = Command.objects.filter(
        instance=session.instance_id,
        status=Status.TIMEOUT,
        error_code=TIMEOUT_CODE,
        finished_at__gt=now - REPLAY_WINDOW,
        # Lets the index of an instance's newest commands bound the read.
        created_at__gt=now - REPLAY_WINDOW - timedelta(seconds=settings.COMMAND_TIMEOUT_MAX_S),
    ).select_related("session")
    return [command.pk for command in given_up if _same_process(command.session, session)]


def _same_process(earlier: Session | None, session: Session) -> bool:
    return earlier is not None and earlier.process == session.process


def _lock_active(session_id: UUID) -> Session:
    """The session, locked on PostgreSQL so that it cannot be superseded half-way; raises SessionEnded if it has."""
    session = Session.objects.select_for_update().filter(pk=session_id, status=Session.Status.ACTIVE).first()
    if session is None:
        raise _session_ended(session_id)
    return session


def _session_ended(session_id: UUID) -> SessionEnded:
    is_superseded = Session.objects.filter(pk=session_id, status=Session.Status.SUPERSEDED).exists()
    return SessionEnded("superseded" if is_superseded else "lost")


def _reject_incapable(commands: Sequence[Command], now: datetime) -> None:
    if not commands:
        return
    ids = [command.pk for command in commands]
    Command.objects.filter(pk__in=ids, status__in=UNDELIVERED).update(
        status=Status.REJECTED,
        error_code="command_capability_missing_on_reconnect",
        error_message=gettext_noop("The instance came back without the capability that this command needs."),
        finished_at=now,
        updated_at=now,
    )
    record_events(command_event(command, EventKind.COMMAND_REJECTED, now) for command in commands)


def _dispatch(session: Session, commands: Iterable[Command], now: datetime) -> list[ClaimedCommand]:
    """Mark the commands as sent on this session. One that was accepted keeps its status: only the frame goes again."""
    chosen = list(commands)
    if not chosen:
        return []
    ids = [command.pk for command in chosen]
    Command.objects.filter(pk__in=ids, status__in=UNDELIVERED).update(
        status=Status.DISPATCHED, session=session, dispatched_at=now, updated_at=now
    )
    Command.objects.filter(pk__in=ids, status__in=_REPLAYED).update(session=session, updated_at=now)
    sent = list(
        Command.objects.filter(pk__in=ids, session=session, status__in=(Status.DISPATCHED, *_REPLAYED))
        .select_related("instance")
        .order_by("created_at", "id")
    )
    meta = {"session_id": session.public_id}
    record_events(
        command_event(command, EventKind.COMMAND_DISPATCHED, now, meta=meta)
        for command in sent
        if command.status == Status.DISPATCHED
    )
    return [
        ClaimedCommand(command.pk, command.public_id, command.kind, command.args, command.timeout_s, command.created_at)
        for command in sent
    ]


@transaction.atomic
def record_ack(
    session_id: UUID,
    command_id: UUID,
    *,
    accepted: bool,
    received_at: datetime,
    error_code: str = "",
    error_message: str = "",
) -> bool:
    """Note the agent's answer to a command; False if the command has moved on already, which is no error.

    Raises CommandUnknown where the command is not one of this session's instance, SessionEnded where the session is.
    """
    now = timezone.now()
    command = _command_of(session_id, command_id)
    at = _plausible(received_at, command.created_at, now)
    changes: dict[str, object] = {"acked_at": at, "updated_at": now}
    if accepted:
        changes |= {"status": Status.ACCEPTED, "ack_status": Command.AckStatus.ACCEPTED}
    else:
        changes |= {
            "status": Status.REJECTED,
            "ack_status": Command.AckStatus.REJECTED,
            "finished_at": at,
            "error_code": clean_text(error_code, 128),
            "error_message": clean_text(error_message),
        }
    if not Command.objects.filter(pk=command_id, status__in=UNDELIVERED).update(**changes):
        return False
    kind = EventKind.COMMAND_ACCEPTED if accepted else EventKind.COMMAND_REJECTED
    record_events([command_event(command, kind, now)])
    return True


_RESULT_EVENTS = {
    Status.SUCCEEDED: EventKind.COMMAND_SUCCEEDED,
    Status.FAILED: EventKind.COMMAND_FAILED,
    Status.TIMEOUT: EventKind.COMMAND_TIMEOUT,
    Status.CANCELLED: EventKind.COMMAND_CANCELLED,
}


@transaction.atomic
def record_result(
    session_id: UUID,
    command_id: UUID,
    *,
    status: str,
    finished_at: datetime,
    result: object = None,
    duration_ms: int | None = None,
    error_code: str = "",
    error_message: str = "",
) -> None:
    """Store what came of a command. A late result replaces a verdict that the portal gave by its clock.

    Raises CommandUnknown and SessionEnded as `record_ack` does, and DuplicateResult where a result is known.
    """
    now = timezone.now()
    command = _command_of(session_id, command_id)
    if not command.is_open and command.error_code not in GUESSED_BY_CLOCK:
        raise DuplicateResult
    changed = Command.objects.filter(pk=command_id, status=command.status, error_code=command.error_code).update(
        status=status,
        ack_status=Command.AckStatus.ACCEPTED,
        acked_at=command.acked_at or now,
        result=_bounded_result(result),
        duration_ms=duration_ms,
        finished_at=_plausible(finished_at, command.created_at, now),
        error_code=clean_text(error_code, 128),
        error_message=clean_text(error_message),
        updated_at=now,
    )
    if not changed:
        raise DuplicateResult
    record_events([command_event(command, _RESULT_EVENTS[Status(status)], now, duration_ms=duration_ms)])


def _command_of(session_id: UUID, command_id: UUID) -> Command:
    """The command, locked on PostgreSQL, if this session may speak of it."""
    session = Session.objects.filter(pk=session_id).only("instance_id", "status").first()
    if session is None or session.status != Session.Status.ACTIVE:
        raise _session_ended(session_id)
    command = (
        Command.objects.select_for_update(of=("self",))
        .select_related("instance")
        .filter(pk=command_id, instance=session.instance_id)
        .first()
    )
    if command is None:
        raise CommandUnknown
    return command


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
