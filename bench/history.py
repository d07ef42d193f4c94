"""A fleet with a past, made by PostgreSQL itself: what lists and dashboards have to cope with.

The same seed makes the same fleet, at times that end now. Whatever is online stays so for STAYS_ONLINE, whoever sweeps
meanwhile: its rows say that they were seen that far ahead.
"""

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

STAYS_ONLINE = "2 hours"
# How far back the history of each partitioned table goes, in days.
_PARTITIONED = {"agents_event": 30, "tasks_app_metricwindow": 7}


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is of everything."""

    services: int = 500
    instances: int = 50_000
    sessions: int = 100_000
    commands: int = 200_000
    events: int = 5_000_000
    windows: int = 2_000_000


_STEPS = re.compile(r"^-- step: (.+)$", re.MULTILINE).split((Path(__file__).with_suffix(".sql")).read_text())[1:]
_TABLES = (
    "agents_event, tasks_app_metricwindow, tasks_app_custommetric, agents_command, agents_session, "
    "tasks_app_workrollup, tasks_app_taskcontrols, tasks_app_appsnapshot, tasks_app_task, agents_instance, "
    "agents_service, agents_replica"
)


def fill(database_url: str, size: Size, *, seed: float = 0.42) -> dict[str, float]:
    """Replace the fleet of a migrated database by one of that size; returns the seconds of each step.

    The weeks of the past get their partitions, as those of a portal that has run for so long.
    """
    took: dict[str, float] = {}
    parameters = {name: getattr(size, name) for name in size.__slots__} | {"ahead": STAYS_ONLINE}
    with psycopg.connect(database_url, autocommit=True) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(f"TRUNCATE {_TABLES} CASCADE")
        for table, days in _PARTITIONED.items():
            _make_weeks(cursor, table, days)
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("SET work_mem = '512MB'")
        cursor.execute("SET maintenance_work_mem = '512MB'")
        cursor.execute("SELECT setseed(%s)", [seed])
        for name, statement in zip(_STEPS[::2], _STEPS[1::2], strict=True):
            began = time.monotonic()
            cursor.execute(statement, parameters)
            took[name] = time.monotonic() - began
        began = time.monotonic()
        # What autovacuum would have done in thirty days.
        cursor.execute("VACUUM ANALYZE")
        took["vacuum"] = time.monotonic() - began
    return took


def _make_weeks(cursor: "psycopg.ClientCursor[tuple[object, ...]]", table: str, days: int) -> None:
    """A partition for each week of the last `days`, by the names that the portal gives them."""
    now = datetime.now(tz=UTC)
    week = (now - timedelta(days=days + now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    week -= timedelta(days=week.weekday())
    while week <= now:
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {table}_w{week:%Y%m%d} PARTITION OF {table} "
            f"FOR VALUES FROM ('{week.isoformat()}') TO ('{(week + timedelta(weeks=1)).isoformat()}')"
        )
        week += timedelta(weeks=1)
