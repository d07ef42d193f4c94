"""Figures of the tasks on one page of a list, of many services at once: a constant number of queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.models import Case, Count, FloatField, IntegerField, OuterRef, Q, QuerySet, Subquery, Sum, Value, When
from django.db.models.functions import Cast, Greatest

from agents.models import Event
from agents.models.event import EventKind
from agents.selectors.events import latest_possible
from tasks_app.models import MetricWindow, Task
from tasks_app.selectors.durations import OUTCOMES
from tasks_app.selectors.figures import ERROR_KINDS
from tasks_app.selectors.lookback import success_rate

# A task fails where it failed for good within this time.
FAILING_WITHIN: Final = timedelta(hours=1)
FIGURES_OVER: Final = timedelta(hours=24)
# The newest failures that are looked at, and the tasks that are put first because of them.
FAILURES_MAX: Final = 5000
FAILING_MAX: Final = 500
# The percentile is of so many runs at most, the newest.
RUNS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class TaskFigures:
    """Of the last FIGURES_OVER; `p95_ms` of the newest RUNS_MAX runs of these.

    `success_rate` is None where nothing was reported to have ended.
    """

    last_run_at: datetime | None = None
    success_rate: float | None = None
    failed: int = 0
    p95_ms: int | None = None


def failing_tasks(*, now: datetime) -> list[int]:
    """The keys of tasks that failed for good of late, at most FAILING_MAX. Two queries."""
    newest: Any = (
        Event.objects.filter(
            kind__in=ERROR_KINDS, occurred_at__gte=now - FAILING_WITHIN, occurred_at__lte=latest_possible()
        )
        .order_by("-occurred_at", "-id")
        .values_list("service_id", "task_name")[:FAILURES_MAX]
    )
    pairs = set(newest)
    if not pairs:
        return []
    services, names = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    rows = Task.objects.filter(service__in=services, name__in=names).order_by().values_list("pk", "service_id", "name")
    return [pk for pk, service_id, name in rows if (service_id, name) in pairs][:FAILING_MAX]


def failing_first(rows: QuerySet[Task], failing: Sequence[int]) -> QuerySet[Task]:
    """With `calm`: 0 for those that fail, 1 for the others."""
    if not failing:
        return rows.annotate(calm=Value(1, output_field=IntegerField()))
    return rows.annotate(calm=Case(When(pk__in=failing, then=0), default=1, output_field=IntegerField()))


def figures_of(tasks: Sequence[Task], *, now: datetime) -> dict[int, TaskFigures]:
    """By key. Three queries, each of index ranges of these tasks alone."""
    if not tasks:
        return {}
    counted = _counted(tasks, now)
    p95 = _p95(tasks, now)
    started = dict(_last_starts([task.pk for task in tasks]))
    figures = {}
    for task in tasks:
        succeeded, failed, cancelled = counted.get((task.service_id, task.name), (0, 0, 0))
        ended = succeeded + failed + cancelled
        rate = success_rate(succeeded=succeeded, failed=failed, cancelled=cancelled) if ended else None
        figures[task.pk] = TaskFigures(started.get(task.pk), rate, failed, p95.get((task.service_id, task.name)))
    return figures


def _last_starts(keys: Sequence[int]) -> Any:
    newest = (
        Event.objects.filter(
            service=OuterRef("service"),
            task_name=OuterRef("name"),
            kind=EventKind.TASK_STARTED,
            occurred_at__lte=latest_possible(),
        )
        .exclude(task_name="")
        .order_by("-occurred_at", "-id")
    )
    rows = Task.objects.filter(pk__in=keys).order_by()
    return rows.annotate(last_run_at=Subquery(newest.values("occurred_at")[:1])).values_list("pk", "last_run_at")


def _named(tasks: Sequence[Task]) -> Q:
    """One range of an index for each task; joined by service and name apart, it would read all that cross."""
    names: dict[int, list[str]] = {}
    for task in tasks:
        names.setdefault(task.service_id, []).append(task.name)
    found = Q(pk__in=[])
    for service_id, of_service in names.items():
        found |= Q(service=service_id, task_name__in=of_service)
    return found


def _counted(tasks: Sequence[Task], now: datetime) -> dict[tuple[int, str], tuple[int, int, int]]:
    rows = (
        MetricWindow.objects.filter(
            _named(tasks), window_ended_at__gt=now - FIGURES_OVER, window_ended_at__lte=latest_possible()
        )
        .order_by()
        .values_list("service_id", "task_name")
        .annotate(
            succeeded_sum=Sum(Cast("succeeded", FloatField())),
            failed_sum=Sum(Cast(Greatest("failed", "dead_lettered"), FloatField())),
            cancelled_sum=Sum(Cast("cancelled", FloatField())),
            windows=Count("id"),
        )
    )
    return {(row[0], row[1]): (int(row[2]), int(row[3]), int(row[4])) for row in rows}


_EVENTS: Final = Event._meta.db_table
_TASKS: Final = Task._meta.db_table
_RUNS: Final = f"""
    event.service_id = task.service_id AND event.task_name = task.name AND event.task_name <> ''
    AND event.kind IN ({", ".join(f"'{kind}'" for kind in OUTCOMES.values())})
    AND event.occurred_at > %s AND event.occurred_at <= %s AND event.duration_ms IS NOT NULL
"""
# Nearest ranks, as in durations.py. PostgreSQL reads the newest of each task from its index and no more.
_P95: Final = {
    "postgresql": f"""
    SELECT task.service_id, task.name, (
        SELECT percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms) FROM (
            SELECT duration_ms FROM {_EVENTS} AS event WHERE {_RUNS}
            ORDER BY event.occurred_at DESC, event.id DESC LIMIT {RUNS_MAX}
        ) AS newest
    ) FROM {_TASKS} AS task WHERE task.id IN (%(keys)s)
    """,  # noqa: S608 -- names of our own
    "sqlite": f"""
    SELECT service_id, name, MAX(CASE WHEN place = (n * 95 + 99) / 100 THEN duration_ms END) FROM (
        SELECT *, COUNT(*) OVER (PARTITION BY service_id, name) AS n,
            ROW_NUMBER() OVER (PARTITION BY service_id, name ORDER BY duration_ms) AS place
        FROM (
            SELECT task.service_id, task.name, duration_ms, ROW_NUMBER() OVER (
                PARTITION BY task.service_id, task.name ORDER BY event.occurred_at DESC, event.id DESC
            ) AS age FROM {_EVENTS} AS event JOIN {_TASKS} AS task ON {_RUNS} WHERE task.id IN (%(keys)s)
        ) AS aged WHERE age <= {RUNS_MAX}
    ) AS ranked GROUP BY 1, 2
    """,  # noqa: S608 -- names of our own
}


def _p95(tasks: Sequence[Task], now: datetime) -> dict[tuple[int, str], int]:
    keys = [task.pk for task in tasks]
    statement = _P95[connection.vendor].replace("%(keys)s", ", ".join(["%s"] * len(keys)))
    adapt = Event._meta.get_field("occurred_at").get_db_prep_value
    span = [adapt(moment, connection) for moment in (now - FIGURES_OVER, latest_possible())]
    with connection.cursor() as cursor:
        cursor.execute(statement, [*span, *keys])
        return {(service_id, name): value for service_id, name, value in cursor.fetchall() if value is not None}
