"""Writing history: every service hands its event rows to `record_events` inside its own transaction.

Packages below that may not import this app hand their changes to `controlplane.common.changes`, which leads here.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agents.models import Command, Event, Instance
from agents.models.event import EventKind
from agents.services.transitions import STATUS_OF, count_transitions
from controlplane.common.bulk import insert_new
from controlplane.common.changes import Change
from controlplane.common.clean import clean_text

NAME_MAX_CHARS = 255
_LEVELS: dict[str, Event.Level] = {
    EventKind.TASK_FAILED: Event.Level.ERROR,
    EventKind.TASK_DEAD_LETTERED: Event.Level.ERROR,
    EventKind.TASK_RETRIED: Event.Level.WARN,
    EventKind.TASK_MISSED_START: Event.Level.WARN,
    EventKind.CHANNEL_FAILING: Event.Level.ERROR,
    EventKind.PORTAL_LAGGING: Event.Level.ERROR,
    EventKind.INSTANCE_OFFLINE: Event.Level.WARN,
    EventKind.INSTANCE_CONFLICT: Event.Level.WARN,
    EventKind.AGENT_REFUSED: Event.Level.WARN,
    EventKind.NODES_FILE_FAILED: Event.Level.ERROR,
    EventKind.INGEST_REJECTED: Event.Level.WARN,
    EventKind.COMMAND_REJECTED: Event.Level.ERROR,
    EventKind.COMMAND_FAILED: Event.Level.ERROR,
    EventKind.COMMAND_TIMEOUT: Event.Level.ERROR,
    EventKind.COMMAND_EXPIRED: Event.Level.ERROR,
    EventKind.COMMAND_CANCELLED: Event.Level.WARN,
    EventKind.OBJECT_DELETED: Event.Level.WARN,
    EventKind.LOGIN_FAILED: Event.Level.WARN,
    EventKind.LOGIN_LOCKED: Event.Level.WARN,
}


@dataclass(slots=True, kw_only=True)
class NewEvent:
    """An event that is not stored yet, with the columns of Event: a model instance takes ten times as long to make."""

    event_id: str
    kind: str
    level: str
    occurred_at: datetime
    received_at: datetime
    service_id: int | None = None
    instance_id: UUID | None = None
    command_id: UUID | None = None
    subject: str = ""
    task_name: str = ""
    actor: str = ""
    message: str = ""
    attempts: int | None = None
    duration_ms: int | None = None
    failure_kind: str = ""
    exception_type: str = ""
    traceback: str = ""
    meta: dict[str, object] = field(default_factory=dict)


def level_of(kind: str) -> Event.Level:
    return _LEVELS.get(kind, Event.Level.INFO)


def portal_event(kind: EventKind, *, at: datetime, instance: Instance | None = None, **fields: Any) -> NewEvent:
    """An event of the portal's own, with a fresh id. `fields` are columns of Event."""
    if instance is not None:
        fields |= {"instance_id": instance.pk, "service_id": instance.service_id}
    return NewEvent(
        event_id=f"portal-{uuid.uuid4().hex}",
        kind=kind,
        level=level_of(kind),
        occurred_at=at,
        received_at=at,
        **fields,
    )


def command_event(command: Command, kind: EventKind, at: datetime, **fields: Any) -> NewEvent:
    """An event of a command; its instance must be loaded. `fields` are columns of Event."""
    fields.setdefault("message", command.kind)
    return portal_event(
        kind,
        at=at,
        instance=command.instance,
        command_id=command.pk,
        task_name=command.task_name,
        **fields,
    )


def record_events(events: Iterable[NewEvent]) -> None:
    """Store events; those whose `event_id` is stored already are left as they are.

    Call it inside the transaction of what the events tell of. Moves of commands are counted once it is committed.
    """
    written = list(events)
    insert_new(Event, _COLUMNS, [_row(event) for event in written])
    moves = Counter(STATUS_OF[event.kind] for event in written if event.kind in STATUS_OF)
    if moves:
        transaction.on_commit(lambda: count_transitions(moves))


def record_changes(changes: Sequence[Change]) -> None:
    """Store what people and programs changed; see `controlplane.common.changes`."""
    now = timezone.now()
    record_events(change_event(change, at=now) for change in changes)


def change_event(change: Change, *, at: datetime, instance: Instance | None = None) -> NewEvent:
    """The event of a change; with `instance`, it is among the events of that instance and its service."""
    meta = change.actor.origin()
    told = {"before": change.what.before, "after": change.what.after, "withheld": change.what.withheld}
    meta |= {name: value for name, value in told.items() if value}
    return portal_event(
        EventKind(change.kind),
        at=at,
        instance=instance,
        subject=change.subject,
        actor=change.actor.name,
        message=clean_text(change.name, NAME_MAX_CHARS),
        meta=meta,
    )


_COLUMNS = tuple(each.attname for each in Event._meta.concrete_fields if not each.primary_key)
_row = attrgetter(*_COLUMNS)
