"""Task events become rows of the one event table."""

from collections.abc import Sequence
from operator import attrgetter

from agents.models import Event
from agents.services.clocks import Claim, settled_times
from agents.services.events import level_of
from agents.services.reports import TaskEvent
from controlplane.common.bulk import insert_new

# Names that a TaskEvent and an Event share.
_SHARED = (
    "event_id",
    "kind",
    "received_at",
    "service_id",
    "instance_id",
    "task_name",
    "message",
    "attempts",
    "duration_ms",
    "failure_kind",
    "exception_type",
    "traceback",
    "meta",
)
_shared_values = attrgetter(*_SHARED)
_NO_ACTOR = ""


def store_task_events(events: Sequence[TaskEvent]) -> None:
    """Insert what is new; an event whose id is stored already is left as it is. Source: contract 2.4."""
    times = settled_times(
        [Claim(f"event:{event.event_id}", event.occurred_at, event.received_at, event.reported_at) for event in events]
    )
    rows = [
        (*_shared_values(event), occurred_at, level_of(event.kind), _NO_ACTOR)
        for event, occurred_at in zip(events, times, strict=True)
    ]
    insert_new(Event, (*_SHARED, "occurred_at", "level", "actor"), rows)
