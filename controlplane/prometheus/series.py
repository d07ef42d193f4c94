"""The series of tasks and their custom metrics. Source: contract 8.

Fleets have hundreds of thousands of them, so they are written by hand: a metric object per sample takes ten times as
long. A task's labels are put together once for its four series.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final, Generic, TypeVar

from django.conf import settings

from agents.selectors.visibility import Environments
from controlplane.prometheus.text import Writer, escaped, sample
from tasks_app.models import CustomMetric
from tasks_app.selectors.totals import CustomSeries, TaskSeries, custom_series, custom_totals, task_series, task_totals

# Name, type, help and the position of the value among the figures of a task.
_TASK_FAMILIES: Final = (
    ("onestep_task_succeeded_total", "counter", "Deliveries that succeeded.", 0),
    ("onestep_task_failed_total", "counter", "Deliveries that failed.", 1),
    ("onestep_task_inflight", "gauge", "Deliveries in work at the end of the latest window.", 2),
    ("onestep_task_duration_avg_ms", "gauge", "Average duration in the latest window, in milliseconds.", 3),
)
_CUSTOM_FAMILIES: Final = (
    ("onestep_task_custom_counter_total", CustomMetric.Kind.COUNTER, "Counters that tasks keep for themselves."),
    ("onestep_task_custom_gauge", CustomMetric.Kind.GAUGE, "Gauges that tasks keep for themselves, the latest value."),
)
_LEFT_OUT: Final = "portal_exported_series_left_out"

T = TypeVar("T")


def write_series(writer: Writer, *, now: datetime, environments: Environments) -> None:
    """Write all series of tasks; PROMETHEUS_SERIES_MAX at most, and how many more there would have been.

    Instances count that were heard of within PROMETHEUS_INSTANCE_WINDOW_S. Memory: the labels and figures of all tasks
    while they are written.
    """
    since = now - timedelta(seconds=settings.PROMETHEUS_INSTANCE_WINDOW_S)
    room = settings.PROMETHEUS_SERIES_MAX
    task_count, tasks_left_out = _write_tasks(writer, since, environments, room // len(_TASK_FAMILIES))
    room -= task_count * len(_TASK_FAMILIES)
    customs_left_out = 0
    for name, kind, documentation in _CUSTOM_FAMILIES:
        rows = custom_series(kind=kind, seen_since=since, environments=environments, limit=room + 1)
        counted = _Counted(rows, room)
        writer.family(name, kind, documentation, (_custom_sample(name, row) for row in counted))
        room -= counted.count
        if counted.has_more:
            known = custom_totals(kind=kind, seen_since=since, environments=environments).count()
            customs_left_out += known - counted.count
    writer.family(
        _LEFT_OUT,
        "gauge",
        "Series that this answer leaves out, beyond PROMETHEUS_SERIES_MAX.",
        [
            sample(_LEFT_OUT, 'group="custom"', customs_left_out),
            sample(_LEFT_OUT, 'group="tasks"', tasks_left_out * len(_TASK_FAMILIES)),
        ],
    )


def _write_tasks(writer: Writer, since: datetime, environments: Environments, limit: int) -> tuple[int, int]:
    """How many tasks were written, and how many were left out."""
    counted = _Counted(task_series(seen_since=since, environments=environments, limit=limit + 1), limit)
    labels: list[str] = []
    figures: list[tuple[float | None, ...]] = []
    for row in counted:
        labels.append(_task_labels(row))
        figures.append(row[4:])
    for name, kind, documentation, place in _TASK_FAMILIES:
        values = ((of, found[place]) for of, found in zip(labels, figures, strict=True))
        writer.family(name, kind, documentation, (sample(name, of, value) for of, value in values if value is not None))
    if not counted.has_more:
        return len(labels), 0
    return len(labels), task_totals(seen_since=since, environments=environments).count() - len(labels)


class _Counted(Generic[T]):
    """At most `limit` rows, how many those were, and whether one more was there."""

    def __init__(self, rows: Iterator[T], limit: int) -> None:
        self._rows, self._limit = rows, limit
        self.count = 0
        self.has_more = False

    def __iter__(self) -> Iterator[T]:
        for row in islice(self._rows, self._limit):
            self.count += 1
            yield row
        self.has_more = next(self._rows, None) is not None


def _task_labels(row: TaskSeries) -> str:
    environment, service, task = _escaped(row.environment), _escaped(row.service), _escaped(row.task_name)
    return f'environment="{environment}",instance_id="{row.instance_id}",service="{service}",task="{task}"'


def _custom_sample(name: str, row: CustomSeries) -> str:
    # The portal's own labels win: agents may not set them, and what is stored is not trusted to hold to that.
    labels = {_label_name(key): value for key, value in row.labels.items()} | {
        "environment": row.environment,
        "instance_id": str(row.instance_id),
        "metric": row.name,
        "service": row.service,
        "task": row.task_name,
    }
    text = ",".join(f'{key}="{_escaped(labels[key])}"' for key in sorted(labels))
    return sample(name, text, row.value)


def _label_name(key: str) -> str:
    """Names that begin with two underscores are Prometheus' own: `__name__` would rename the metric."""
    return f"label{key}" if key.startswith("__") else key


# Names of services, tasks and environments are few beside the rows that carry them.
_escaped = lru_cache(maxsize=4096)(escaped)
