"""The history of one task: what happened to it and what was ordered for it, newest first."""

import heapq
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Final, Literal
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Coalesce

from agents.models import Command, Event, Service
from agents.models.event import TASK_EVENT_PREFIX
from agents.selectors.events import WIRE_EVENT_KINDS, task_events
from controlplane.common.rest.paging import COUNTED_BEYOND_PAGE
from tasks_app.selectors.controls import TASK_KINDS_IN_ORDER
from tasks_app.selectors.lookback import Lookback

HISTORY_KINDS: Final = (*WIRE_EVENT_KINDS, *(kind.value for kind in TASK_KINDS_IN_ORDER))
# The moment that a command is listed under. Source: contract 4.2.
_MOMENT: Final = Coalesce("finished_at", "acked_at", "dispatched_at", "created_at")
# Of a command's details, what is there even where it is empty.
_ALWAYS: Final = ("status", "args", "source_surface")
_ENDED_BADLY: Final = frozenset(
    {
        Command.Status.FAILED,
        Command.Status.TIMEOUT,
        Command.Status.CANCELLED,
        Command.Status.EXPIRED,
        Command.Status.REJECTED,
    }
)


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """One event of the runtime or one command, in the shape that both have in common. Source: contract 4.2."""

    source_type: Literal["runtime", "command"]
    id: str
    instance_id: UUID | None
    task_name: str
    kind: str
    occurred_at: datetime
    level: str
    message: str
    meta: dict[str, Any]
    created_at: datetime
    event: Event | None = None
    command: Command | None = None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """`total` counts as that of other history does: see `page_of`."""

    total: int
    limit: int
    offset: int
    items: list[HistoryItem]
    lookback: Lookback


def task_history(
    service: Service, task_name: str, lookback: Lookback, *, kinds: Collection[str], limit: int, offset: int
) -> HistoryPage:
    """The items of the lookback of these kinds or, without any, of all. Four queries at most.

    Each source is read in its own order as far as the page reaches, and both are merged.
    """
    wanted, reach = set(kinds or HISTORY_KINDS), offset + limit
    sources: list[QuerySet[Any]] = [
        _events(service, task_name, lookback, wanted),
        _commands(service, task_name, lookback, wanted),
    ]
    total = sum(rows.order_by()[: reach + COUNTED_BEYOND_PAGE].count() for rows in sources)
    found: list[HistoryItem] = []
    if offset < total:
        items = heapq.merge(
            map(_event_item, sources[0][:reach]),
            map(_command_item, sources[1][:reach]),
            key=attrgetter("occurred_at"),
            reverse=True,
        )
        found = list(items)[offset:reach]
    return HistoryPage(total, limit, offset, found, lookback)


def _events(service: Service, task_name: str, lookback: Lookback, kinds: set[str]) -> QuerySet[Event]:
    rows = task_events(
        service=service,
        task_name=task_name,
        occurred_after=lookback.started_at,
        occurred_before=lookback.now,
    )
    return rows.exclude(task_name="").filter(
        kind__in=[TASK_EVENT_PREFIX + kind for kind in WIRE_EVENT_KINDS if kind in kinds]
    )


def _commands(service: Service, task_name: str, lookback: Lookback, kinds: set[str]) -> QuerySet[Command]:
    return (
        Command.objects.filter(service=service, task_name=task_name)
        .exclude(task_name="")
        .filter(kind__in=[kind for kind in TASK_KINDS_IN_ORDER if kind in kinds])
        .annotate(moment=_MOMENT)
        .filter(moment__gte=lookback.started_at, moment__lte=lookback.now)
        .order_by("-moment", "-id")
    )


def _event_item(event: Event) -> HistoryItem:
    return HistoryItem(
        source_type="runtime",
        id=f"runtime:{event.event_id}",
        instance_id=event.instance_id,
        task_name=event.task_name,
        kind=event.kind.removeprefix(TASK_EVENT_PREFIX),
        occurred_at=event.occurred_at,
        level=event.level,
        message=event.message,
        meta=event.meta,
        created_at=event.received_at,
        event=event,
    )


def _command_item(command: Command) -> HistoryItem:
    meta = {
        "status": command.status,
        "args": command.args,
        "source_surface": command.source_surface,
        "created_by": command.created_by_name,
        "reason": command.reason,
        "result": command.result,
    }
    return HistoryItem(
        source_type="command",
        id=f"command:{command.public_id}",
        instance_id=command.instance_id,
        task_name=command.task_name,
        kind=command.kind,
        occurred_at=command.finished_at or command.acked_at or command.dispatched_at or command.created_at,
        level=_level(command),
        message=command.error_message or command.reason or command.status,
        meta={name: value for name, value in meta.items() if name in _ALWAYS or value not in ("", None)},
        created_at=command.created_at,
        command=command,
    )


def _level(command: Command) -> str:
    """Source: contract 4.3."""
    if command.status in _ENDED_BADLY:
        return Event.Level.ERROR
    return Event.Level.WARN if command.is_open else Event.Level.INFO
