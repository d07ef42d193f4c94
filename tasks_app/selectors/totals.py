"""Totals as Prometheus takes them: of instances heard of lately and not archived, in one order, up to a limit."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from agents.selectors.visibility import Environments, within
from tasks_app.models import CustomMetricTotals, TaskTotals

# Rows that are held at a time while many are read.
_CHUNK = 5000
M = TypeVar("M", bound=Model)


class TaskSeries(NamedTuple):
    """The figures of one task of one instance; those after `failed` are of its latest window."""

    service: str
    environment: str
    instance_id: UUID
    task_name: str
    succeeded: float
    failed: float
    inflight: int
    avg_duration_ms: float | None


class CustomSeries(NamedTuple):
    """One series of a custom metric."""

    service: str
    environment: str
    instance_id: UUID
    task_name: str
    name: str
    labels: dict[str, str]
    value: float


def task_series(*, seen_since: datetime, environments: Environments, limit: int) -> Iterator[TaskSeries]:
    """At most `limit`, by instance and task: where there are more, the same ones are left out each time."""
    rows = task_totals(seen_since=seen_since, environments=environments).order_by("instance_id", "task_name")
    values: QuerySet[Any, Any] = rows.values_list(
        "instance__service__name",
        "instance__service__environment",
        "instance_id",
        "task_name",
        "succeeded",
        "failed",
        "inflight",
        "avg_duration_ms",
    )
    return map(TaskSeries._make, values[:limit].iterator(chunk_size=_CHUNK))


def task_totals(*, seen_since: datetime, environments: Environments) -> QuerySet[TaskTotals]:
    """The totals of tasks whose instance was heard of since then."""
    return _of_instances(TaskTotals.objects.all(), seen_since, environments)


def custom_series(*, kind: str, seen_since: datetime, environments: Environments, limit: int) -> Iterator[CustomSeries]:
    """At most `limit` of the kind, in one order."""
    rows = custom_totals(kind=kind, seen_since=seen_since, environments=environments)
    values: QuerySet[Any, Any] = rows.order_by("instance_id", "task_name", "name", "labels_hash").values_list(
        "instance__service__name",
        "instance__service__environment",
        "instance_id",
        "task_name",
        "name",
        "labels",
        "value",
    )
    return map(CustomSeries._make, values[:limit].iterator(chunk_size=_CHUNK))


def custom_totals(*, kind: str, seen_since: datetime, environments: Environments) -> QuerySet[CustomMetricTotals]:
    """The totals of custom metrics of the kind whose instance was heard of since then."""
    return _of_instances(CustomMetricTotals.objects.filter(kind=kind), seen_since, environments)


def _of_instances(totals: QuerySet[M], seen_since: datetime, environments: Environments) -> QuerySet[M]:
    return totals.filter(
        within(environments, "instance__service__environment"),
        instance__last_seen_at__gte=seen_since,
        instance__archived_at=None,
    )
