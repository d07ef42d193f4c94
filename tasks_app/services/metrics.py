"""Metric windows, stored and counted once however often they come."""

from collections.abc import Sequence
from operator import attrgetter

from agents.services.clocks import Claim, settled_times
from agents.services.reports import Window
from controlplane.common.bulk import insert_new_positions
from tasks_app.models import MetricWindow
from tasks_app.services.custom_metrics import store_samples
from tasks_app.services.rollups import roll_up
from tasks_app.services.totals import count_windows

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
_COLUMNS = (*_SHARED, "window_started_at", "window_ended_at")
_KEY = ("instance_id", "task_name", "window_id", "window_ended_at")


def store_windows(windows: Sequence[Window]) -> None:
    """Insert what is new, with its custom metrics, and add it to totals and rollups; what is stored is left as it is.

    Keys: (instance, task, window) and (instance, task, window, name, kind, labels). Source: contract 2.3.
    """
    ends = settled_times(
        [Claim(_name(window), window.ended_at, window.received_at, window.reported_at) for window in windows]
    )
    settled = list(zip(windows, ends, strict=True))
    rows = [(*_shared_values(window), window.started_at, ended_at) for window, ended_at in settled]
    new = [settled[position] for position in insert_new_positions(MetricWindow, _COLUMNS, rows, key=_KEY)]
    count_windows(new)
    store_samples(settled)
    roll_up(new)


def _name(window: Window) -> str:
    return f"window:{window.instance_id}:{window.task_name}:{window.window_id}"
