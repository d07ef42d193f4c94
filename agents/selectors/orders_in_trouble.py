"""Commands that wait for too long, and those that ended badly, grouped by what they share."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Exists, Max, Min, OuterRef, Q

from agents.models import Command, Session
from agents.selectors.overview import RECENT, TROUBLES_COUNTED

# A command that is not sent, or sent and not answered, within this is told.
WAITS_TOO_LONG = timedelta(seconds=30)
WORKS_TOO_LONG = timedelta(minutes=5)
BAD_ENDS = (Command.Status.FAILED, Command.Status.REJECTED, Command.Status.TIMEOUT, Command.Status.EXPIRED)


@dataclass(frozen=True, slots=True)
class Orders:
    """Commands of one kind, service and status; `connected` says whether their instances are."""

    kind: str
    status: str
    service_id: int | None
    service: str
    count: int
    since: datetime
    until: datetime
    connected: bool = False
    error_code: str = ""


def stuck(now: datetime) -> Q:
    """Matches open commands that wait for too long."""
    waiting = (Command.Status.PENDING, Command.Status.DISPATCHED)
    return Q(status__in=waiting, created_at__lt=now - WAITS_TOO_LONG) | Q(
        status=Command.Status.ACCEPTED, created_at__lt=now - WORKS_TOO_LONG
    )


def ended_badly(now: datetime) -> Q:
    return Q(status__in=BAD_ENDS, created_at__gte=now - RECENT)


def stuck_orders(*, now: datetime) -> list[Orders]:
    """One grouping of the open commands, the longest wait first."""
    active = Session.objects.filter(instance=OuterRef("instance"), status=Session.Status.ACTIVE)
    rows = Command.objects.filter(stuck(now), status__in=Command.OPEN).order_by().annotate(connected=Exists(active))
    return _grouped(rows.values("kind", "status", "service", "connected"), "since")


def failed_orders(*, now: datetime) -> list[Orders]:
    """One grouping of the commands made within RECENT, the newest first."""
    rows = Command.objects.filter(ended_badly(now)).order_by()
    return _grouped(rows.values("kind", "status", "service", "error_code"), "-until")


def _grouped(rows: Any, order: str) -> list[Orders]:
    found = rows.annotate(
        count=Count("pk"),
        since=Min("created_at"),
        until=Max("created_at"),
        name=Max("service__name"),
        environment=Max("service__environment"),
    ).order_by(order, "kind", "service")[: TROUBLES_COUNTED + 1]
    return [_orders(row) for row in found]


def _orders(row: Mapping[str, Any]) -> Orders:
    return Orders(
        kind=row["kind"],
        status=row["status"],
        service_id=row["service"],
        service=f"{row['environment']}/{row['name']}" if row["name"] else "",
        count=row["count"],
        since=row["since"],
        until=row["until"],
        connected=row.get("connected", False),
        error_code=row.get("error_code", ""),
    )
