"""What is newest of each of some tasks, ever: one index probe each, however far back that lies."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db import connection

from agents.models import Event, Service
from agents.models.event import TASK_EVENT_PREFIX
from agents.selectors.events import latest_possible
from controlplane.common.database import typed_rows
from tasks_app.models import MetricWindow

# Where the names stand, by vendor, as relation `n` of one column.
_NAMES = {
    "postgresql": "unnest(%s::text[]) AS n(name)",
    "sqlite": "(SELECT value AS name FROM json_each(%s)) AS n",
}
_NEWEST_WINDOW = """
    SELECT {column} FROM tasks_app_metricwindow
    WHERE service_id = %s AND task_name = n.name AND window_ended_at <= %s
    ORDER BY window_ended_at DESC LIMIT 1
"""
# The second condition on the name is what the index is limited to.
_NEWEST_EVENT = """
    SELECT occurred_at FROM agents_event
    WHERE service_id = %s AND task_name = n.name AND NOT task_name = '' AND kind LIKE %s AND occurred_at <= %s
    ORDER BY occurred_at DESC LIMIT 1
"""
_WINDOW_FIELDS = (None, *(MetricWindow._meta.get_field(name) for name in ("window_started_at", "window_ended_at")))
_EVENT_FIELDS = (None, Event._meta.get_field("occurred_at"))


def newest_windows(service: Service, names: Collection[str]) -> dict[str, tuple[datetime, datetime]]:
    """Start and end of the newest window of each of these tasks that has one. One query."""
    columns = ", ".join(f"({_NEWEST_WINDOW.format(column=name)})" for name in ("window_started_at", "window_ended_at"))
    rows = _rows(columns, [service.pk, _latest()] * 2, names, _WINDOW_FIELDS)
    return {name: (started_at, ended_at) for name, started_at, ended_at in rows if ended_at is not None}


def newest_events(service: Service, names: Collection[str]) -> dict[str, datetime]:
    """Time of the newest event of each of these tasks that has one. One query."""
    rows = _rows(f"({_NEWEST_EVENT})", [service.pk, f"{TASK_EVENT_PREFIX}%", _latest()], names, _EVENT_FIELDS)
    return {name: occurred_at for name, occurred_at in rows if occurred_at is not None}


def _rows(columns: str, parameters: list[Any], names: Collection[str], fields: Any) -> list[tuple[Any, ...]]:
    if not names:
        return []
    given = sorted(names)
    stored = given if connection.vendor == "postgresql" else connection.ops.adapt_json_value(given, None)
    statement = f"SELECT n.name, {columns} FROM {_NAMES[connection.vendor]}"  # noqa: S608 -- names of columns only
    return list(typed_rows(statement, [*parameters, stored], fields))


def _latest() -> Any:
    return connection.ops.adapt_datetimefield_value(latest_possible())
