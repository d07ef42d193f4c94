"""Troubles of work and of the portal itself for the front page of the console; those of instances are in census."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Max, Min, Q, QuerySet

from agents.models import Command, Event, Replica
from agents.models.event import EventKind
from agents.selectors.events import latest_possible, notable_events
from agents.selectors.visibility import told_to

RECENT = timedelta(minutes=15)
# How many troubles of a sort are told one by one, and how far they are counted.
TROUBLES_SHOWN = 6
TROUBLES_COUNTED = 100
# How many of the newest failures are looked at: in a storm of them the picture is the same, and so is the cost.
FAILURES_MAX = 5000


def open_commands() -> QuerySet[Command]:
    return Command.objects.filter(status__in=Command.OPEN)


@dataclass(frozen=True, slots=True)
class FailingTask:
    service_id: int
    service_name: str
    environment: str
    task_name: str
    failed: int
    dead_lettered: int
    last_at: datetime
    first_at: datetime
    exception_type: str = ""


def failing_tasks(*, now: datetime, limit: int = TROUBLES_COUNTED) -> list[FailingTask]:
    """Tasks with a final failure within RECENT, the most failures first. Of the newest FAILURES_MAX; one query.

    A dead-lettered delivery is told by two events, so only `task.failed` counts as a failure.
    """
    since, until = now - RECENT, latest_possible()
    newest = Event.objects.filter(
        occurred_at__gte=since,
        occurred_at__lte=until,
        kind__in=(EventKind.TASK_FAILED, EventKind.TASK_DEAD_LETTERED),
        service__isnull=False,
    ).order_by("-occurred_at", "-id")[:FAILURES_MAX]
    rows = (
        # The times are said again, or the rows would be looked for in each partition.
        Event.objects.filter(pk__in=newest.values("pk"), occurred_at__gte=since, occurred_at__lte=until)
        .order_by()
        .values("service_id", "service__name", "service__environment", "task_name")
        .annotate(
            failed=Count("pk", filter=Q(kind=EventKind.TASK_FAILED)),
            dead_lettered=Count("pk", filter=Q(kind=EventKind.TASK_DEAD_LETTERED)),
            last_at=Max("occurred_at"),
            first_at=Min("occurred_at"),
            exceptions=Count("exception_type", distinct=True, filter=~Q(exception_type="")),
            exception_type=Max("exception_type"),
        )
        .order_by("-failed", "-last_at")[:limit]
    )
    return [
        FailingTask(
            service_id=row["service_id"],
            service_name=row["service__name"],
            environment=row["service__environment"],
            task_name=row["task_name"],
            failed=row["failed"],
            dead_lettered=row["dead_lettered"],
            last_at=row["last_at"],
            first_at=row["first_at"],
            # Of several causes none is told.
            exception_type=row["exception_type"] if row["exceptions"] == 1 else "",
        )
        for row in rows
    ]


def process_state(replica: Replica, *, now: datetime) -> str:
    """`running`, `silent` (it neither reports nor ended), `stopped` by itself, or `lost`: declared dead by another."""
    if replica.stopped_at is not None:
        return "lost" if replica.last_seen_at < replica.stopped_at else "stopped"
    dead_after = timedelta(seconds=settings.REPLICA_DEAD_AFTER_S)
    return "silent" if replica.last_seen_at < now - dead_after else "running"


def recent_events(*, administrator: bool, limit: int = 15) -> QuerySet[Event]:
    """The newest events that are no routine, with service and instance, without their wide columns."""
    told = notable_events().filter(told_to(administrator=administrator))
    return told.select_related("service", "instance")[:limit]
