"""Troubles of work and of the portal itself for the front page of the console; those of instances are in census."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet

from agents.models import Command, Event, Replica, Service
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
    """Tasks with a final failure within RECENT, the most failures first. Of the newest FAILURES_MAX; two queries.

    A dead-lettered delivery is told by two events, so only `task.failed` counts as a failure. They are counted here: a
    statement that groups what it looked up is planned by what is known of a table, which of a new partition is nothing.
    """
    newest = (
        Event.objects.filter(
            occurred_at__gte=now - RECENT,
            occurred_at__lte=latest_possible(),
            kind__in=(EventKind.TASK_FAILED, EventKind.TASK_DEAD_LETTERED),
            service__isnull=False,
        )
        .order_by("-occurred_at", "-id")
        .values_list("service_id", "task_name", "kind", "occurred_at", "exception_type")[:FAILURES_MAX]
    )
    by_task: dict[tuple[int, str], _Failures] = defaultdict(_Failures)
    for service_id, task_name, kind, occurred_at, exception_type in newest:
        by_task[service_id, task_name].add(kind, occurred_at, exception_type)
    ranked = sorted(by_task.items(), key=lambda each: (each[1].failed, each[1].times[0]), reverse=True)[:limit]
    services = Service.objects.only("name", "environment").in_bulk({service_id for (service_id, _name), _f in ranked})
    return [
        FailingTask(
            service_id=service_id,
            service_name=services[service_id].name,
            environment=services[service_id].environment,
            task_name=task_name,
            failed=found.failed,
            dead_lettered=found.dead_lettered,
            last_at=found.times[0],
            first_at=found.times[-1],
            # Of several causes none is told.
            exception_type=found.exceptions.copy().pop() if len(found.exceptions) == 1 else "",
        )
        for (service_id, task_name), found in ranked
        # Forgotten meanwhile.
        if service_id in services
    ]


@dataclass(slots=True)
class _Failures:
    """Those of one task, the newest first."""

    failed: int = 0
    dead_lettered: int = 0
    times: list[datetime] = field(default_factory=list)
    exceptions: set[str] = field(default_factory=set)

    def add(self, kind: str, occurred_at: datetime, exception_type: str) -> None:
        self.failed += kind == EventKind.TASK_FAILED
        self.dead_lettered += kind == EventKind.TASK_DEAD_LETTERED
        self.times.append(occurred_at)
        if exception_type:
            self.exceptions.add(exception_type)


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
