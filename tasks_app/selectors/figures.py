"""Sums over metric windows and counts of events, each one grouped statement over an index range."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from django.db.models import Count, F, FloatField, Max, QuerySet, Sum
from django.db.models.functions import Cast, Coalesce, Least, TruncMinute
from django.utils import timezone

from agents.models import Event, Service
from agents.models.event import TASK_EVENT_PREFIX, EventKind
from agents.selectors.events import TASK_EVENT_KINDS, WIRE_EVENT_KINDS, events_so_far, latest_possible
from tasks_app.models import MetricWindow
from tasks_app.selectors.lookback import Lookback, success_rate

Newest = TypeVar("Newest")

COUNTERS: Final = ("fetched", "started", "succeeded", "retried", "failed", "dead_lettered", "cancelled", "timeouts")
ERROR_KINDS: Final = (EventKind.TASK_FAILED, EventKind.TASK_DEAD_LETTERED)
# In doubles: SQLite refuses integer sums beyond 64 bit, and up to 2**53 they are exact.
_SUMS: Final = {f"{name}_sum": Sum(Cast(name, FloatField())) for name in COUNTERS}
# A window without an average counts as 0 ms, as in the reference control plane. The cap is what parsing lets through;
# without it one absurd row makes PostgreSQL refuse the sum.
_WEIGHTED: Final = Sum(Least(Coalesce(F("avg_duration_ms"), 0.0), 1e12) * Cast(F("started"), FloatField()))


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """Sums over metric windows."""

    windows: int = 0
    counters: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    avg_duration_ms: float | None = None
    p95_duration_ms: float | None = None

    @property
    def success_rate(self) -> float:
        outcomes = ("succeeded", "failed", "dead_lettered", "cancelled")
        return success_rate(**{name: self.counters[name] for name in outcomes})

    def throughput_per_min(self, lookback: Lookback) -> int:
        return self.counters["fetched"] // lookback.minutes


@dataclass(frozen=True, slots=True)
class EventFigures:
    """Task events by kind, in the words of the dialect; `failing_tasks` names those with a failure."""

    counts: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(WIRE_EVENT_KINDS, 0))
    failing_tasks: int = 0

    @property
    def errors(self) -> int:
        return self.counts["failed"] + self.counts["dead_lettered"]


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """What all instances reported of a task for one minute."""

    bucket_started_at: datetime
    figures: WindowFigures
    inflight: int

    @property
    def bucket_ended_at(self) -> datetime:
        return self.bucket_started_at + timedelta(minutes=1)


def windows_by_service(service_ids: Collection[int], lookback: Lookback) -> dict[int, WindowFigures]:
    rows = MetricWindow.objects.filter(
        instance__service__in=service_ids, window_ended_at__gte=lookback.started_at, window_ended_at__lte=lookback.now
    )
    return _window_figures(rows, "instance__service")


def windows_by_task(service: Service, lookback: Lookback) -> dict[str, WindowFigures]:
    return _window_figures(_service_windows(service, lookback), "task_name")


def _service_windows(service: Service, lookback: Lookback) -> QuerySet[MetricWindow]:
    return MetricWindow.objects.filter(
        instance__service=service, window_ended_at__gte=lookback.started_at, window_ended_at__lte=lookback.now
    )


def _window_figures(rows: QuerySet[MetricWindow], key: str) -> dict[Any, WindowFigures]:
    grouped = (
        rows.order_by()
        .values(key)
        .annotate(windows=Count("id"), weighted=_WEIGHTED, p95=Max("p95_duration_ms"), **_SUMS)
    )
    return {row[key]: _figures(row) for row in grouped}


def _figures(row: Mapping[str, Any]) -> WindowFigures:
    counters = {name: int(row[f"{name}_sum"]) for name in COUNTERS}
    started = counters["started"]
    return WindowFigures(row["windows"], counters, row["weighted"] / started if started else None, row["p95"])


def events_by_service(service_ids: Collection[int], lookback: Lookback) -> dict[int, EventFigures]:
    """Failures only: the service list shows no other kind."""
    rows = (
        Event.objects.filter(
            service__in=service_ids,
            kind__in=ERROR_KINDS,
            occurred_at__gte=lookback.started_at,
            occurred_at__lte=lookback.now,
        )
        .order_by()
        .values("service", "kind", "task_name")
        .annotate(count=Count("id"))
    )
    counts: dict[int, dict[str, int]] = {}
    failing: dict[int, set[str]] = {}
    for row in rows:
        of_service = counts.setdefault(row["service"], dict.fromkeys(WIRE_EVENT_KINDS, 0))
        of_service[row["kind"].removeprefix(TASK_EVENT_PREFIX)] += row["count"]
        failing.setdefault(row["service"], set()).add(row["task_name"])
    return {service: EventFigures(of_service, len(failing[service])) for service, of_service in counts.items()}


def events_by_task(service: Service, lookback: Lookback) -> dict[str, EventFigures]:
    rows = (
        Event.objects.filter(
            service=service,
            kind__in=TASK_EVENT_KINDS,
            occurred_at__gte=lookback.started_at,
            occurred_at__lte=lookback.now,
        )
        .order_by()
        .values_list("task_name", "kind")
        .annotate(count=Count("id"))
    )
    counts: dict[str, dict[str, int]] = {}
    for task_name, kind, count in rows:
        of_task = counts.setdefault(task_name, dict.fromkeys(WIRE_EVENT_KINDS, 0))
        of_task[kind.removeprefix(TASK_EVENT_PREFIX)] = count
    return {task_name: EventFigures(of_task) for task_name, of_task in counts.items()}


def newest_windows(service: Service, names: Collection[str]) -> dict[str, tuple[datetime, datetime]]:
    """Start and end of the newest window of each of these tasks, ever. One to three queries: see `_stepwise`."""

    def newest(missing: Collection[str], since: datetime | None) -> dict[str, tuple[datetime, datetime]]:
        rows = MetricWindow.objects.filter(
            instance__service=service, task_name__in=missing, window_ended_at__lte=latest_possible()
        )
        if since is not None:
            rows = rows.filter(window_ended_at__gte=since)
        grouped = (
            rows.order_by()
            .values_list("task_name")
            .annotate(started=Max("window_started_at"), ended=Max("window_ended_at"))
        )
        return {task_name: (started, ended) for task_name, started, ended in grouped}

    return _stepwise(newest, names)


def newest_events(service: Service, names: Collection[str]) -> dict[str, datetime]:
    """Time of the newest event of each of these tasks, ever. One to three queries: see `_stepwise`."""

    def newest(missing: Collection[str], since: datetime | None) -> dict[str, datetime]:
        rows = events_so_far().filter(service=service, kind__in=TASK_EVENT_KINDS, task_name__in=missing)
        if since is not None:
            rows = rows.filter(occurred_at__gte=since)
        return dict(rows.order_by().values_list("task_name").annotate(newest=Max("occurred_at")))

    return _stepwise(newest, names)


def _stepwise(
    newest: Callable[[Collection[str], datetime | None], dict[str, Newest]], names: Collection[str]
) -> dict[str, Newest]:
    """What is newest of each, sought in the last hour, then of the rest in the last day, then of the rest ever.

    The last step reads the whole history of the service; only tasks that idle for a day or never ran take it.
    """
    now = timezone.now()
    found: dict[str, Newest] = {}
    for since in (now - timedelta(hours=1), now - timedelta(days=1), None):
        missing = [name for name in names if name not in found]
        if not missing:
            break
        found |= newest(missing, since)
    return found


def metric_points(service: Service, task_name: str, lookback: Lookback) -> list[MetricPoint]:
    """One point for each minute of the lookback, oldest first, empty ones included; the last is the running minute."""
    last = lookback.now.replace(second=0, microsecond=0)
    first = last - timedelta(minutes=lookback.minutes - 1)
    rows = (
        MetricWindow.objects.filter(
            instance__service=service,
            task_name=task_name,
            window_ended_at__gte=first,
            window_ended_at__lte=lookback.now,
        )
        .order_by()
        .annotate(minute=TruncMinute("window_ended_at"))
        .values("minute")
        .annotate(
            windows=Count("id"),
            weighted=_WEIGHTED,
            p95=Max("p95_duration_ms"),
            inflight_max=Max("inflight"),
            **_SUMS,
        )
    )
    found = {row["minute"]: row for row in rows}
    minutes = [first + timedelta(minutes=number) for number in range(lookback.minutes)]
    return [
        MetricPoint(minute, _figures(found[minute]), found[minute]["inflight_max"])
        if minute in found
        else MetricPoint(minute, WindowFigures(), 0)
        for minute in minutes
    ]
