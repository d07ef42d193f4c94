"""Task events become rows of the one event table."""

from collections.abc import Sequence

from agents.models import Event
from agents.services.events import level_of, record_events
from agents.services.reports import TaskEvent


def store_task_events(events: Sequence[TaskEvent]) -> None:
    """Insert what is new; an event whose id is stored already is left as it is. Source: contract 2.4."""
    if not events:
        return
    record_events(
        Event(
            event_id=event.event_id,
            kind=event.kind,
            level=level_of(event.kind),
            occurred_at=event.occurred_at,
            received_at=event.received_at,
            service_id=event.service_id,
            instance_id=event.instance_id,
            task_name=event.task_name,
            message=event.message,
            attempts=event.attempts,
            duration_ms=event.duration_ms,
            failure_kind=event.failure_kind,
            exception_type=event.exception_type,
            traceback=event.traceback,
            meta=event.meta,
        )
        for event in events
    )
