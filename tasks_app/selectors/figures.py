"""Sums over metric windows and counts of events, each one grouped statement over an index range."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Count, F, FloatField, Max, Q, QuerySet, Sum
from django.db.models.functions import Cast, Coalesce, Least, TruncMinute

from agents.models import Event, Service
from agents.models.event import TASK_EVENT_PREFIX, EventKind
from agents.selectors.events import TASK_EVENT_KINDS, WIRE_EVENT_KINDS
from tasks_app.models import MetricWindow
from tasks_app.selectors.lookback import Lookback, success_rate

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
        return success_rate(
            succeeded=self.counters["succeeded"],
            failed=failures(self.counters),
            cancelled=self.counters["cancelled"],
        )

    def throughput_per_min(self, lookback: Lookback) -> float:
        return per_minute(self.counters["fetched"], lookback)


def per_minute(count: int, lookback: Lookback) -> float:
    return round(count / lookback.minutes, 2)


def failures(counts: Mapping[str, int]) -> int:
    """How many deliveries failed for good. Of a dead-lettered one the agent tells twice: dead_lettered, then failed.

    Where one of the two lies outside what was counted, the other still counts. Source: contract 2.4, W24.
    """
    return max(counts["failed"], counts["dead_lettered"])


@dataclass(frozen=True, slots=True)
class EventFigures:
    """Events of a task by kind, in the words of the dialect.

    `errors` are deliveries that failed for good, `failed_by_timeout` those of them that took too long.
    """

    counts: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(WIRE_EVENT_KINDS, 0))
    errors: int = 0
    failed_by_timeout: int = 0


def error_count(events: EventFigures, windows: WindowFigures) -> int:
    """Failures, and timeouts that were tried again; a timeout that failed for good is one of the failures."""
    return events.errors + max(0, windows.counters["timeouts"] - events.failed_by_timeout)


@dataclass(frozen=True, slots=True)
class ServiceFigures:
    """What the tasks of a service come to together. `failed` are deliveries that failed for good, by the windows.

    `failing_tasks` are those with an event of a failure. Errors are counted task by task: a window comes up to half a
    minute after its events, and until then those of one task would be taken off the timeouts of another. Source:
    contract 4.3.
    """

    counters: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    failed: int = 0
    failing_tasks: int = 0
    error_count: int = 0

    @property
    def success_rate(self) -> float:
        return success_rate(
            succeeded=self.counters["succeeded"], failed=self.failed, cancelled=self.counters["cancelled"]
        )

    def throughput_per_min(self, lookback: Lookback) -> float:
        return per_minute(self.counters["fetched"], lookback)


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """What all instances reported of a task for one minute."""

    bucket_started_at: datetime
    figures: WindowFigures
    inflight: int

    @property
    def bucket_ended_at(self) -> datetime:
        return self.bucket_started_at + timedelta(minutes=1)


def figures_by_service(service_ids: Collection[int], lookback: Lookback) -> dict[int, ServiceFigures]:
    """Of each service that has any. Two statements, which read windows and events of failures only."""
    windows = _window_figures(
        MetricWindow.objects.filter(
            service__in=service_ids, window_ended_at__gte=lookback.started_at, window_ended_at__lte=lookback.now
        ),
        "service",
        "task_name",
    )
    events = _event_figures(Event.objects.filter(service__in=service_ids, kind__in=ERROR_KINDS), lookback)
    of_services: dict[int, list[tuple[WindowFigures, EventFigures]]] = {}
    for key in {*windows, *events}:
        of_task = (windows.get(key, WindowFigures()), events.get(key, EventFigures()))
        of_services.setdefault(key[0], []).append(of_task)
    return {service_id: _together(of_tasks) for service_id, of_tasks in of_services.items()}


def _together(of_tasks: Collection[tuple[WindowFigures, EventFigures]]) -> ServiceFigures:
    return ServiceFigures(
        counters={name: sum(windows.counters[name] for windows, _events in of_tasks) for name in COUNTERS},
        failed=sum(failures(windows.counters) for windows, _events in of_tasks),
        failing_tasks=sum(events.errors > 0 for _windows, events in of_tasks),
        error_count=sum(error_count(events, windows) for windows, events in of_tasks),
    )


def windows_by_task(service: Service, lookback: Lookback, *, task_name: str | None = None) -> dict[str, WindowFigures]:
    """Of all tasks that have any, or of one."""
    rows = MetricWindow.objects.filter(
        service=service, window_ended_at__gte=lookback.started_at, window_ended_at__lte=lookback.now
    )
    if task_name is not None:
        rows = rows.filter(task_name=task_name)
    return {name: figures for (name,), figures in _window_figures(rows, "task_name").items()}


def _window_figures(rows: QuerySet[MetricWindow], *keys: str) -> dict[tuple[Any, ...], WindowFigures]:
    """By the values of the keys."""
    grouped = (
        rows.order_by()
        .values(*keys)
        .annotate(windows=Count("id"), weighted=_WEIGHTED, p95=Max("p95_duration_ms"), **_SUMS)
    )
    return {tuple(row[key] for key in keys): _figures(row) for row in grouped}


def _figures(row: Mapping[str, Any]) -> WindowFigures:
    counters = {name: int(row[f"{name}_sum"]) for name in COUNTERS}
    started = counters["started"]
    return WindowFigures(row["windows"], counters, row["weighted"] / started if started else None, row["p95"])


def events_by_task(service: Service, lookback: Lookback, *, task_name: str | None = None) -> dict[str, EventFigures]:
    """Of all tasks that have any, or of one."""
    rows = Event.objects.filter(service=service, kind__in=TASK_EVENT_KINDS)
    if task_name is not None:
        rows = rows.filter(task_name=task_name).exclude(task_name="")
    return {task_name: figures for (_service_id, task_name), figures in _event_figures(rows, lookback).items()}


def _event_figures(rows: QuerySet[Event], lookback: Lookback) -> dict[tuple[int, str], EventFigures]:
    """By (service id, task name)."""
    grouped = (
        rows.filter(occurred_at__gte=lookback.started_at, occurred_at__lte=lookback.now)
        .order_by()
        .values_list("service", "task_name", "kind")
        .annotate(count=Count("id"), by_timeout=Count("id", filter=Q(failure_kind="timeout")))
    )
    counts: dict[tuple[Any, str], dict[str, int]] = {}
    by_timeout: dict[tuple[Any, str], int] = {}
    for service_id, task_name, kind, count, timeouts in grouped:
        of_task = counts.setdefault((service_id, task_name), dict.fromkeys(WIRE_EVENT_KINDS, 0))
        of_task[kind.removeprefix(TASK_EVENT_PREFIX)] = count
        if kind == EventKind.TASK_FAILED:
            by_timeout[service_id, task_name] = timeouts
    return {key: EventFigures(of_task, failures(of_task), by_timeout.get(key, 0)) for key, of_task in counts.items()}


def metric_points(service: Service, task_name: str, lookback: Lookback) -> list[MetricPoint]:
    """One point for each minute of the lookback, oldest first, empty ones included; the last is the running minute."""
    last = lookback.now.replace(second=0, microsecond=0)
    first = last - timedelta(minutes=lookback.minutes - 1)
    rows = (
        MetricWindow.objects.filter(
            service=service,
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
