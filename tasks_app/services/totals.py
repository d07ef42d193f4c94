"""Totals of tasks and of custom metrics: each window that is new is added once, in its own transaction.

Tables are written in one order (windows, totals of tasks, samples, totals of series, rollups), and rows of a table in
the order of their keys, so that no two processes lock each other out.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from agents.services.reports import Window
from controlplane.common.bulk import upsert
from tasks_app.models import CustomMetric, CustomMetricTotals, TaskTotals
from tasks_app.models.totals import TOTAL_MAX

_TASK_KEY = ("instance_id", "task_name")
_COUNTERS = ("fetched", "started", "succeeded", "retried", "failed", "dead_lettered", "cancelled", "timeouts")
_LATEST = ("window_started_at", "window_ended_at", "inflight", "avg_duration_ms", "p95_duration_ms")
_TASK_COLUMNS = (*_TASK_KEY, *_COUNTERS, *_LATEST)
_key_and_counts = attrgetter(*_TASK_KEY, *_COUNTERS)
_figures = attrgetter("inflight", "avg_duration_ms", "p95_duration_ms")
_COUNTS = slice(len(_TASK_KEY), len(_TASK_KEY) + len(_COUNTERS))
_TASK_ENDED_AT = _TASK_COLUMNS.index("window_ended_at")

_IS_LATEST: Final = "v.window_ended_at >= t.window_ended_at"
_COUNT_TASKS: Final = ", ".join(
    [f"{name} = t.{name} + v.{name}" for name in _COUNTERS]
    + [f"{name} = CASE WHEN {_IS_LATEST} THEN v.{name} ELSE t.{name} END" for name in _LATEST]
)

SERIES_KEY: Final = ("instance_id", "task_name", "name", "kind", "labels_hash")
_SERIES_COLUMNS = (*SERIES_KEY, "labels", "value", "window_ended_at")
_VALUE, _SERIES_ENDED_AT = _SERIES_COLUMNS.index("value"), _SERIES_COLUMNS.index("window_ended_at")
_COUNT_SERIES: Final = (
    f"value = CASE WHEN t.kind = '{CustomMetric.Kind.COUNTER}' "
    f"THEN CASE WHEN v.value < {TOTAL_MAX} - t.value THEN t.value + v.value ELSE {TOTAL_MAX} END "
    f"WHEN {_IS_LATEST} THEN v.value ELSE t.value END, "
    f"window_ended_at = CASE WHEN {_IS_LATEST} THEN v.window_ended_at ELSE t.window_ended_at END"
)

Row = tuple[Any, ...]


def count_windows(windows: Iterable[tuple[Window, datetime]]) -> None:
    """Add windows, each with the time that it is stored under, to the totals of their tasks. One statement.

    Of the latest window, by its end, the figures that are no counters are kept.
    """
    totals: dict[tuple[UUID, str], Row] = {}
    for window, ended_at in windows:
        row = (*_key_and_counts(window), window.started_at, ended_at, *_figures(window))
        key = (window.instance_id, window.task_name)
        known = totals.get(key)
        totals[key] = row if known is None else _with(known, row)
    upsert(TaskTotals, _TASK_COLUMNS, list(totals.values()), key=_TASK_KEY, assignments=_COUNT_TASKS)


def _with(known: Row, row: Row) -> Row:
    counts = (one + other for one, other in zip(known[_COUNTS], row[_COUNTS], strict=True))
    latest = row if row[_TASK_ENDED_AT] >= known[_TASK_ENDED_AT] else known
    return (*row[: _COUNTS.start], *counts, *latest[_COUNTS.stop :])


def count_samples(samples: Iterable[Row]) -> None:
    """Add samples, as rows of SERIES_KEY, labels, value and end of window, to the totals of their series.

    One statement. Deltas of counters are added up, at most to TOTAL_MAX; of gauges the latest value is kept.
    """
    totals: dict[Row, Row] = {}
    for row in samples:
        key = row[: len(SERIES_KEY)]
        known = totals.get(key)
        totals[key] = row if known is None else _with_sample(known, row)
    rows: Sequence[Row] = [
        (*row[:_VALUE], min(row[_VALUE], TOTAL_MAX), row[_SERIES_ENDED_AT]) for row in totals.values()
    ]
    upsert(CustomMetricTotals, _SERIES_COLUMNS, rows, key=SERIES_KEY, assignments=_COUNT_SERIES)


def _with_sample(known: Row, row: Row) -> Row:
    latest = row if row[_SERIES_ENDED_AT] >= known[_SERIES_ENDED_AT] else known
    is_counter = row[SERIES_KEY.index("kind")] == CustomMetric.Kind.COUNTER
    # Two doubles that overflow make an infinity, which is bounded before it is stored.
    value = known[_VALUE] + row[_VALUE] if is_counter else latest[_VALUE]
    return (*row[:_VALUE], value, latest[_SERIES_ENDED_AT])
