"""Metric windows and custom metrics, stored once however often they come."""

import hashlib
from collections.abc import Sequence

import msgspec

from agents.services.reports import Window
from tasks_app.models import CustomMetric, MetricWindow


def labels_hash(labels: dict[str, str]) -> str:
    """SHA-256 in hex of the labels as canonical JSON: keys sorted, no spaces."""
    return hashlib.sha256(msgspec.json.encode(labels, order="sorted")).hexdigest()


def store_windows(windows: Sequence[Window]) -> None:
    """Insert what is new; a window or sample that is stored already is left as it is.

    Keys: (instance, task, window) and (instance, task, window, name, kind, labels). Source: contract 2.3.
    """
    if not windows:
        return
    MetricWindow.objects.bulk_create([_window_row(window) for window in windows], ignore_conflicts=True)
    samples = [
        CustomMetric(
            instance_id=window.instance_id,
            task_name=window.task_name,
            window_id=window.window_id,
            window_ended_at=window.ended_at,
            name=sample.name,
            kind=sample.kind,
            labels=sample.labels,
            labels_hash=labels_hash(sample.labels),
            value=sample.value,
            received_at=window.received_at,
        )
        for window in windows
        for sample in window.custom_metrics
    ]
    CustomMetric.objects.bulk_create(samples, ignore_conflicts=True)


def _window_row(window: Window) -> MetricWindow:
    return MetricWindow(
        instance_id=window.instance_id,
        task_name=window.task_name,
        window_id=window.window_id,
        window_started_at=window.started_at,
        window_ended_at=window.ended_at,
        fetched=window.fetched,
        started=window.started,
        succeeded=window.succeeded,
        retried=window.retried,
        failed=window.failed,
        dead_lettered=window.dead_lettered,
        cancelled=window.cancelled,
        timeouts=window.timeouts,
        inflight=window.inflight,
        avg_duration_ms=window.avg_duration_ms,
        p95_duration_ms=window.p95_duration_ms,
        received_at=window.received_at,
    )
