"""Since when something is wrong, from the events that told of it; where none of them is kept, nobody knows."""

from collections.abc import Collection
from datetime import datetime

from django.db.models import Min

from agents.models import Event
from agents.models.event import EventKind
from agents.selectors.events import latest_possible
from agents.selectors.presence import CONFLICT_SHOWN_FOR

# How many of the newest events of a kind are looked at: the index of kinds gives them in order.
LOOKED_AT_MAX = 500


def drifted_since(service_ids: Collection[int]) -> dict[int, datetime]:
    """By service, when its topology changed last. One query; none without a service."""
    found: dict[int, datetime] = {}
    if not service_ids:
        return found
    changes = Event.objects.filter(
        kind=EventKind.TOPOLOGY_CHANGED, occurred_at__lte=latest_possible(), service__in=service_ids
    ).order_by("-occurred_at", "-id")
    for service_id, occurred_at in changes.values_list("service_id", "occurred_at")[:LOOKED_AT_MAX]:
        found.setdefault(service_id, occurred_at)
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
