"""Deadlines of commands: one indexed column, swept by a background job; never a timer per command."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_noop

from agents.models import Command
from agents.models.event import EventKind
from agents.services.events import command_event, record_events

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


@transaction.atomic
def _expire_batch(now: datetime) -> int:
    graced = now - timedelta(seconds=settings.COMMAND_GRACE_S)
    due = list(
        Command.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(Q(deadline_at__lte=graced) | Q(deadline_at__lte=now, status=Status.PENDING), status__in=Command.OPEN)
        .select_related("instance", "session")
        .order_by("deadline_at")[:SWEEP_BATCH]
    )
    for command in due:
        command.finished_at = command.deadline_at
        command.updated_at = now
        if command.status == Status.ACCEPTED:
            _time_out(command)
        else:
            command.error_message = _why_expired(command)
            command.status = Status.EXPIRED
            command.error_code = EXPIRY_CODE
    Command.objects.bulk_update(due, _EXPIRY_FIELDS, batch_size=100)
    record_events(
        command_event(
            command,
            EventKind.COMMAND_TIMEOUT if command.status == Status.TIMEOUT else EventKind.COMMAND_EXPIRED,
            now,
        )
        for command in due
    )
    return len(due)


_EXPIRY_FIELDS = ("status", "finished_at", "updated_at", "error_code", "error_message", "duration_ms")


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
