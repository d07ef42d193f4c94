"""Task events become rows of the one event table."""

from collections.abc import Sequence
from operator import attrgetter

from agents.models import Event
from agents.services import watching
from agents.services.clocks import Claim, settled_times
from agents.services.events import level_of
from agents.services.reports import TaskEvent
from controlplane.common.bulk import insert_new, insert_new_positions

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
_COLUMNS = (*_SHARED, "occurred_at", "level", "actor")
_shared_values = attrgetter(*_SHARED)
_NO_ACTOR = ""


def store_task_events(events: Sequence[TaskEvent]) -> None:
    """Insert what is new; an event whose id is stored already is left as it is. Source: contract 2.4.

    Whoever watches routine is told of what of it is new. While nobody does, that costs nothing.
    """
    times = settled_times(
        [Claim(f"event:{event.event_id}", event.occurred_at, event.received_at, event.reported_at) for event in events]
    )
    rows = [
        (*_shared_values(event), occurred_at, level_of(event.kind), _NO_ACTOR)
        for event, occurred_at in zip(events, times, strict=True)
    ]
    watched = _watched(events)
    if not watched:
        insert_new(Event, _COLUMNS, rows)
        return
    inserted = insert_new_positions(Event, _COLUMNS, rows, key=("event_id", "occurred_at"))
    watching.note([(events[place].event_id, times[place]) for place in inserted if place in watched])


def _watched(events: Sequence[TaskEvent]) -> set[int]:
    """The places of those that somebody wants to know of."""
    asked = watching.asked()
    if not asked:
        return set()
    return {
        place
        for place, event in enumerate(events)
        if (services := asked.get(event.kind)) is not None and services.has(event.service_id)
    }
