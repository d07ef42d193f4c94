"""Samples of custom metrics: stored once, counted once, and so many series of one task at most."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.db.models import Count
from django.utils import timezone

from agents.models import Event, Instance
from agents.models.event import EventKind
from agents.services.events import NewEvent, level_of, record_events
from agents.services.reports import Window
from controlplane.common.bulk import insert_new_positions, rows_where
from tasks_app.models import CustomMetric, CustomMetricTotals
from tasks_app.services.totals import SERIES_KEY, count_samples

_COLUMNS = (
    *SERIES_KEY,
    "labels",
    "value",
    "window_ended_at",
    "window_id",
    "received_at",
)
# What identifies a sample, and what totals are made of.
_SAMPLE_KEY = (*SERIES_KEY, "window_ended_at", "window_id")
_COUNTED = slice(0, _COLUMNS.index("window_id"))
_SERIES = slice(0, len(SERIES_KEY))
_TASK = slice(0, 2)
_IS_KNOWN = " AND ".join(f"t.{name} = v.{name}" for name in SERIES_KEY)

Row = tuple[Any, ...]
TaskKey = tuple[UUID, str]


def labels_hash(labels: dict[str, str]) -> str:
    """SHA-256 in hex of the labels as canonical JSON: keys sorted, no spaces."""
    return hashlib.sha256(msgspec.json.encode(labels, order="sorted")).hexdigest()


def store_samples(windows: Sequence[tuple[Window, datetime]]) -> None:
    """Store and count the custom metrics of windows, each with the time that it is stored under.

    A sample that is stored already is left as it is; of a task that has CUSTOM_METRIC_SERIES_MAX series already, more
    are left out, and an event says so once an hour and instance. Two processes at once may admit as many each.
    Cost: three statements for samples of series that are known, a constant number more for others.
    """
    samples = [
        (
            window.instance_id,
            window.task_name,
            sample.name,
            sample.kind,
            labels_hash(sample.labels),
            sample.labels,
            sample.value,
            ended_at,
            window.window_id,
            window.received_at,
        )
        for window, ended_at in windows
        for sample in window.custom_metrics
    ]
    if not samples:
        return
    admitted = _within_limit(samples)
    new = insert_new_positions(CustomMetric, _COLUMNS, admitted, key=_SAMPLE_KEY)
    count_samples(admitted[position][_COUNTED] for position in new)


def _within_limit(samples: list[Row]) -> list[Row]:
    """The samples of series that are known or for which there is room; says which tasks have too many."""
    series = list(dict.fromkeys(sample[_SERIES] for sample in samples))
    known = rows_where(
        [(CustomMetricTotals, name) for name in SERIES_KEY],
        series,
        joins=f"JOIN {CustomMetricTotals._meta.db_table} t ON {_IS_KNOWN}",
        condition="TRUE",
    )
    if len(known) == len(series):
        return samples
    unknown = dict.fromkeys(series)
    for position in known:
        del unknown[series[position]]
    counts = _series_counts({key[0] for key in unknown})
    left_out: set[Row] = set()
    for key in unknown:
        task = key[_TASK]
        if counts[task] < settings.CUSTOM_METRIC_SERIES_MAX:
            counts[task] += 1
        else:
            left_out.add(key)
    if not left_out:
        return samples
    _tell_left_out(Counter(sample[_TASK] for sample in samples if sample[_SERIES] in left_out))
    return [sample for sample in samples if sample[_SERIES] not in left_out]


def _series_counts(instance_ids: set[UUID]) -> Counter[Row]:
    """How many series each task of these instances has."""
    of_instances = CustomMetricTotals.objects.filter(instance_id__in=instance_ids)
    counted = of_instances.values("instance_id", "task_name").annotate(series_count=Count("name"))
    return Counter({(row["instance_id"], row["task_name"]): row["series_count"] for row in counted})


def _tell_left_out(samples_left_out: Mapping[Row, int]) -> None:
    """One event an hour and instance, about the first of its tasks."""
    now = timezone.now()
    hour = now.replace(minute=0, second=0, microsecond=0)
    of_instance: dict[UUID, tuple[str, int]] = {}
    for (instance_id, task_name), count in samples_left_out.items():
        of_instance.setdefault(instance_id, (task_name, count))
    ids = {instance_id: f"series-limit-{instance_id.hex}-{hour:%Y%m%d%H}" for instance_id in of_instance}
    # The hour bounds the search to one partition or two.
    told = set(
        Event.objects.filter(event_id__in=ids.values(), occurred_at__gte=hour).values_list("event_id", flat=True)
    )
    service_ids = dict(Instance.objects.filter(pk__in=of_instance).values_list("pk", "service_id"))
    record_events(
        NewEvent(
            event_id=ids[instance_id],
            kind=EventKind.INGEST_REJECTED,
            level=level_of(EventKind.INGEST_REJECTED),
            occurred_at=now,
            received_at=now,
            instance_id=instance_id,
            service_id=service_ids.get(instance_id),
            task_name=task_name,
            message=f"More than {settings.CUSTOM_METRIC_SERIES_MAX} series of custom metrics; new ones are left out.",
            meta={"channel": "metrics", "count": count},
        )
        for instance_id, (task_name, count) in of_instance.items()
        if ids[instance_id] not in told
    )
