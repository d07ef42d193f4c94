"""Since when something is wrong, from the events that told of it; where none of them is kept, nobody knows."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from django.db.models import Min, QuerySet

from agents.models import Event
from agents.models.event import EventKind
from agents.models.instance import Connectivity
from agents.selectors.census import UNWELL
from agents.selectors.events import latest_possible
from agents.selectors.presence import CONFLICT_SHOWN_FOR

# How many of the newest events of a kind are looked at: the index of kinds gives them in order.
LOOKED_AT_MAX = 500


def drifted_since(service_ids: Collection[int]) -> dict[int, datetime]:
    """By service, when its topology changed last. One query; none without a service."""
    found: dict[int, datetime] = {}
    for service_id, occurred_at in _newest(EventKind.TOPOLOGY_CHANGED, service_ids, "service_id", "occurred_at"):
        found.setdefault(service_id, occurred_at)
    return found


def unwell_since(service_ids: Collection[int]) -> dict[int, datetime]:
    """By service, since when the first of its unwell instances is unwell without a break. One query at most.

    Only dialects whose agents tell each change have it.
    """
    rows = _newest(
        EventKind.INSTANCE_HEALTH, service_ids, "service_id", "instance_id", "occurred_at", "meta__old", "meta__new",
        instance__archived_at=None, instance__connectivity=Connectivity.ONLINE, instance__health__in=UNWELL,
    )  # fmt: skip
    found: dict[int, datetime] = {}
    begun: set[object] = set()
    for service_id, instance_id, occurred_at, old, new in rows:
        if instance_id in begun:
            continue
        if new in UNWELL and old not in UNWELL:
            begun.add(instance_id)
            found[service_id] = min(found.get(service_id, occurred_at), occurred_at)
    return found


def conflicts_since(now: datetime) -> datetime | None:
    """When the first of the conflicts that are shown was told. One query."""
    told = Event.objects.filter(
        kind=EventKind.INSTANCE_CONFLICT,
        occurred_at__gte=now - CONFLICT_SHOWN_FOR,
        occurred_at__lte=latest_possible(),
    )
    first: datetime | None = told.aggregate(first=Min("occurred_at"))["first"]
    return first


def _newest(kind: EventKind, service_ids: Collection[int], *names: str, **narrowed: Any) -> Iterable[tuple[Any, ...]]:
    if not service_ids:
        return ()
    rows: QuerySet[Event, tuple[Any, ...]] = (
        Event.objects.filter(kind=kind, occurred_at__lte=latest_possible(), service__in=service_ids, **narrowed)
        .order_by("-occurred_at", "-id")
        .values_list(*names)[:LOOKED_AT_MAX]
    )
    return rows
