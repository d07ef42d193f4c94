"""Deadlines of commands: one indexed column, swept by a background job; never a timer per command."""

from datetime import datetime, timedelta
from operator import attrgetter

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from agents.models import Command
from agents.models.event import EventKind
from agents.services.events import NewEvent, portal_event, record_events
from controlplane.common.bulk import update_from_values

Status = Command.Status

# How many commands one transaction of the sweep closes.
SWEEP_BATCH = 500
# The portal closes a command under these codes by its own clock; what the agent then says is better.
TIMEOUT_CODE, EXPIRY_CODE = "command_timeout_elapsed", "command_delivery_expired"
GUESSED_BY_CLOCK = frozenset({TIMEOUT_CODE, EXPIRY_CODE})


def expire_due_commands(now: datetime | None = None) -> int:
    """Close every command whose deadline has passed; returns how many.

    Undelivered ones expire at their deadline, sent and accepted ones COMMAND_GRACE_S later, since the agent counts
    from receipt. Works in batches of SWEEP_BATCH, each its own transaction.
    """
    now = now or timezone.now()
    closed = 0
    while batch := _expire_batch(now):
        closed += batch
    return closed


# The first comparison of deadlines bounds the read of the partial index, the second lets the agent's answer come late.
_DUE = """
    SELECT c.id, c.instance_id, c.kind, c.task_name, c.status, c.delivery_mode, c.deadline_at, c.acked_at,
        c.duration_ms, i.service_id AS of_service
    FROM agents_command c JOIN agents_instance i ON i.id = c.instance_id
    WHERE c.status IN ('pending', 'dispatched', 'accepted') AND c.deadline_at <= %s
        AND (c.status = 'pending' OR c.deadline_at <= %s)
    ORDER BY c.deadline_at LIMIT %s
"""
_COLUMNS = ("id", "status", "finished_at", "updated_at", "error_code", "error_message", "duration_ms")
_values = attrgetter(*_COLUMNS)


@transaction.atomic
def _expire_batch(now: datetime) -> int:
    due = _lock_due(now)
    for command in due:
        command.finished_at = command.deadline_at
        command.updated_at = now
        if command.status == Status.ACCEPTED:
            _time_out(command)
        else:
            command.error_message = _why_expired(command)
            command.status = Status.EXPIRED
            command.error_code = EXPIRY_CODE
    update_from_values(
        Command,
        _COLUMNS,
        [_values(command) for command in due],
        assignments=", ".join(f"{name} = v.{name}" for name in _COLUMNS[1:]),
    )
    record_events(_event(command, now) for command in due)
    return len(due)


def _lock_due(now: datetime) -> list[Command]:
    """SWEEP_BATCH commands at most; those that someone else has locked are being answered, sent or cancelled."""
    graced = now - timedelta(seconds=settings.COMMAND_GRACE_S)
    adapt = connection.ops.adapt_datetimefield_value
    locking = " FOR NO KEY UPDATE OF c SKIP LOCKED" if connection.features.has_select_for_update else ""
    return list(Command.objects.raw(_DUE + locking, [adapt(now), adapt(graced), SWEEP_BATCH]))


def _event(command: Command, now: datetime) -> NewEvent:
    return portal_event(
        EventKind.COMMAND_TIMEOUT if command.status == Status.TIMEOUT else EventKind.COMMAND_EXPIRED,
        at=now,
        instance_id=command.instance_id,
        service_id=command.__dict__["of_service"],
        command_id=command.pk,
        task_name=command.task_name,
        message=command.kind,
    )


def _why_expired(command: Command) -> str:
    if command.status != Status.PENDING:
        return gettext_noop("It was sent, but the instance did not answer in time.")
    if command.delivery_mode == Command.DeliveryMode.HOLD:
        return gettext_noop("The instance did not connect in time.")
    return gettext_noop("The instance disconnected before it could be sent.")


def _time_out(command: Command) -> None:
    command.status = Status.TIMEOUT
    command.error_code = TIMEOUT_CODE
    command.error_message = gettext_noop(
        "The instance accepted it but sent no result in time; whether it took effect is unknown."
    )
    if command.acked_at is not None:
        elapsed = command.deadline_at - command.acked_at
        command.duration_ms = max(0, round(elapsed.total_seconds() * 1000))
