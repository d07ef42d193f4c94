"""Metric windows and custom metrics, stored once however often they come."""

import hashlib
from collections.abc import Sequence
from operator import attrgetter

import msgspec

from agents.services.clocks import Claim, settled_times
from agents.services.reports import Window
from controlplane.common.bulk import insert_new
from tasks_app.models import CustomMetric, MetricWindow

# Names that a Window and a MetricWindow share.
_SHARED = (
    "instance_id",
    "service_id",
    "task_name",
    "window_id",
    "received_at",
    "fetched",
    "started",
    "succeeded",
    "retried",
    "failed",
    "dead_lettered",
    "cancelled",
    "timeouts",
    "inflight",
    "avg_duration_ms",
    "p95_duration_ms",
)
_shared_values = attrgetter(*_SHARED)
_WINDOW_COLUMNS = (*_SHARED, "window_started_at", "window_ended_at")
_SAMPLE_COLUMNS = (
    "instance_id",
    "task_name",
    "window_id",
    "window_ended_at",
    "received_at",
    "name",
    "kind",
    "labels",
    "labels_hash",
    "value",
)


def labels_hash(labels: dict[str, str]) -> str:
    """SHA-256 in hex of the labels as canonical JSON: keys sorted, no spaces."""
    return hashlib.sha256(msgspec.json.encode(labels, order="sorted")).hexdigest()


def store_windows(windows: Sequence[Window]) -> None:
    """Insert what is new; a window or sample that is stored already is left as it is.

    Keys: (instance, task, window) and (instance, task, window, name, kind, labels). Source: contract 2.3.
    """
    ends = settled_times(
        [Claim(_name(window), window.ended_at, window.received_at, window.reported_at) for window in windows]
    )
    rows = [
        (*_shared_values(window), window.started_at, ended_at) for window, ended_at in zip(windows, ends, strict=True)
    ]
    insert_new(MetricWindow, _WINDOW_COLUMNS, rows)
    samples = [
        (
            window.instance_id,
            window.task_name,
            window.window_id,
            ended_at,
            window.received_at,
            sample.name,
            sample.kind,
            sample.labels,
            labels_hash(sample.labels),
            sample.value,
        )
        for window, ended_at in zip(windows, ends, strict=True)
        for sample in window.custom_metrics
    ]
    insert_new(CustomMetric, _SAMPLE_COLUMNS, samples)


def _name(window: Window) -> str:
    return f"window:{window.instance_id}:{window.task_name}:{window.window_id}"
