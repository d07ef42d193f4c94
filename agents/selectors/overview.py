"""What the whole fleet looks like now: the figures and troubles of the console's front page."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Max, Min, Q, QuerySet

from agents.models import BackgroundJob, Command, Event, Instance, Replica, Service
from agents.models.event import EventKind
from agents.models.instance import Connectivity, Health
from agents.selectors.events import latest_possible, notable_events
from agents.selectors.instances import kept
from agents.selectors.presence import CONFLICT_SHOWN_FOR
from agents.selectors.visibility import told_to

RECENT = timedelta(minutes=15)
# How many troubles of a sort are told one by one, and how far they are counted.
TROUBLES_SHOWN = 6
TROUBLES_COUNTED = 100
# How many of the newest failures are looked at: in a storm of them the picture is the same, and so is the cost.
FAILURES_MAX = 5000


@dataclass(frozen=True, slots=True)
class Fleet:
    """Counts over all instances that are not archived; `healthy` and `unhealthy` are of those online."""

    services: int
    instances: int
    online: int
    offline: int
    never_reported: int
    healthy: int
    unhealthy: int


def fleet() -> Fleet:
    """Two queries over narrow tables."""
    groups = kept().order_by().values_list("connectivity", "health").annotate(count=Count("pk"))
    counts = {(connectivity, health): count for connectivity, health, count in groups}

    def total(wanted: str, *healths: str) -> int:
        return sum(
            count
            for (connectivity, health), count in counts.items()
            if connectivity == wanted and (not healths or health in healths)
        )

    return Fleet(
        services=Service.objects.filter(archived_at=None).count(),
        instances=sum(counts.values()),
        online=total(Connectivity.ONLINE),
        offline=total(Connectivity.OFFLINE),
        never_reported=total(Connectivity.NEVER_REPORTED),
        healthy=total(Connectivity.ONLINE, Health.OK),
        unhealthy=total(Connectivity.ONLINE, Health.DEGRADED, Health.ERROR),
    )


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


def troubled_instances(*, now: datetime, limit: int = TROUBLES_COUNTED) -> QuerySet[Instance]:
    """Instances with an identity conflict, offline within the participation window, or unwell; with their service.

    Those that went offline longer ago are retired rather than in trouble; of one that registered and never reported,
    that is when it was called offline. The newest change comes first.
    """
    window = timedelta(seconds=settings.INSTANCE_HEALTH_PARTICIPATION_WINDOW_S)
    return (
        kept()
        .filter(
            Q(conflict_seen_at__gte=now - CONFLICT_SHOWN_FOR)
            | Q(connectivity=Connectivity.OFFLINE, last_seen_at__gte=now - window)
            | Q(connectivity=Connectivity.OFFLINE, last_seen_at=None, connectivity_changed_at__gte=now - window)
            | Q(connectivity=Connectivity.ONLINE, health__in=(Health.DEGRADED, Health.ERROR))
        )
        .select_related("service")
        .order_by("-connectivity_changed_at", "pk")[:limit]
    )


def failed_commands(*, now: datetime, limit: int = TROUBLES_COUNTED) -> QuerySet[Command]:
    """Commands made within RECENT that ended badly, newest first, with instance and service."""
    return (
        Command.objects.filter(
            created_at__gte=now - RECENT,
            status__in=(
                Command.Status.FAILED,
                Command.Status.REJECTED,
                Command.Status.TIMEOUT,
                Command.Status.EXPIRED,
            ),
        )
        .select_related("instance__service")
        .defer("args", "result")
        .order_by("-created_at", "-id")[:limit]
    )


def unwell_jobs(*, now: datetime) -> list[BackgroundJob]:
    """Background jobs whose last run failed, or that did not succeed for READINESS_TASK_STALE_AFTER_S."""
    return [job for job in BackgroundJob.objects.all() if job_state(job, now=now) not in {"ok", "never"}]


def job_state(job: BackgroundJob, *, now: datetime) -> str:
    """`ok`, `failing`, `overdue` or `never`."""
    if job.last_failed_at and (job.last_succeeded_at is None or job.last_failed_at > job.last_succeeded_at):
        return "failing"
    if job.last_succeeded_at is None:
        return "never" if job.last_started_at is None else "ok"
    stale_after = timedelta(seconds=settings.READINESS_TASK_STALE_AFTER_S)
    return "overdue" if job.last_succeeded_at < now - stale_after else "ok"


def process_state(replica: Replica, *, now: datetime) -> str:
    """`running`, `silent` (it neither reports nor ended), `stopped` by itself, or `lost`: declared dead by another."""
    if replica.stopped_at is not None:
        return "lost" if replica.last_seen_at < replica.stopped_at else "stopped"
    dead_after = timedelta(seconds=settings.REPLICA_DEAD_AFTER_S)
    return "silent" if replica.last_seen_at < now - dead_after else "running"


def silent_processes(*, now: datetime) -> QuerySet[Replica]:
    return Replica.objects.filter(
        stopped_at=None, last_seen_at__lt=now - timedelta(seconds=settings.REPLICA_DEAD_AFTER_S)
    ).order_by("-last_seen_at")[:TROUBLES_SHOWN]


def recent_events(*, administrator: bool, limit: int = 15) -> QuerySet[Event]:
    """The newest events that are no routine, with service and instance, without their wide columns."""
    told = notable_events().filter(told_to(administrator=administrator))
    return told.select_related("service", "instance")[:limit]
