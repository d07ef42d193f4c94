"""What the database holds: durable counts, and waiting until what was sent is among them."""

import time
from datetime import UTC, datetime, timedelta

import psycopg

from bench.fleet import Marks

_LOOK_EVERY_S = 0.02
# The clocks of load and database are one; this covers their rounding.
_CLOCK_SLACK = timedelta(seconds=1)


class NotDurable(Exception):
    """What was sent did not come into the database in time."""


class Database:
    """A connection of the bench's own; reads only, but for `empty`."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        self.connection.close()

    def wait_for(self, marks: Marks, *, within_s: float) -> float:
        """The wall-clock second at which everything up to the marks was seen; raises NotDurable.

        The portal keeps the order of one instance, so its newest record is stored after all others.
        """
        deadline = time.monotonic() + within_s
        while True:
            missing = self._missing(marks)
            now = time.time()
            if not missing:
                return now
            if time.monotonic() > deadline:
                raise NotDurable(f"after {within_s:g} s still missing: {missing}")
            time.sleep(_LOOK_EVERY_S)

    def _missing(self, marks: Marks) -> str:
        """Of how many instances the newest record is not there, by kind; empty when all are."""
        found: list[str] = []
        if marks.heartbeats:
            count = self._count(_HEARTBEATS, list(marks.heartbeats), list(marks.heartbeats.values()))
            found.append(f"{len(marks.heartbeats) - count} heartbeats" * (count < len(marks.heartbeats)))
        since = datetime.now(tz=UTC) - timedelta(hours=1)
        if marks.events:
            count = self._count(_EVENTS, since, list(marks.events.values()))
            found.append(f"{len(marks.events) - count} events" * (count < len(marks.events)))
        if marks.windows:
            count = self._count(_WINDOWS, list(marks.windows), list(marks.windows.values()), since)
            found.append(f"{len(marks.windows) - count} windows" * (count < len(marks.windows)))
        return ", ".join(filter(None, found))

    def task_events(self, since: float) -> int:
        """Rows of events that agents sent since then."""
        return self._count(
            "SELECT count(*) FROM agents_event WHERE occurred_at >= %s AND kind LIKE 'task.%%'", _at(since)
        )

    def windows(self, since: float) -> int:
        """Rows of metric windows that ended since then."""
        return self._count("SELECT count(*) FROM tasks_app_metricwindow WHERE window_ended_at >= %s", _at(since))

    def active_sessions(self) -> int:
        return self._count("SELECT count(*) FROM agents_session WHERE status = 'active'")

    def commands(self, status: str) -> int:
        return self._count("SELECT count(*) FROM agents_command WHERE status = %s", status)

    def open_commands(self) -> int:
        return self._count("SELECT count(*) FROM agents_command WHERE status IN ('pending', 'dispatched', 'accepted')")

    def empty(self, *tables: str) -> None:
        """Empty tables, so that every scenario begins with the same."""
        self.connection.execute(f"TRUNCATE {', '.join(tables)}")

    def version(self) -> str:
        row = self.connection.execute("SHOW server_version").fetchone()
        return str(row[0]) if row else ""

    def _count(self, statement: str, *parameters: object) -> int:
        row = self.connection.execute(statement, parameters).fetchone()
        return int(row[0]) if row else 0


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC) - _CLOCK_SLACK


_HEARTBEATS = """
    SELECT count(*) FROM agents_instance AS instance
    JOIN unnest(%s::uuid[], %s::bigint[]) AS mark (id, number) USING (id)
    WHERE instance.last_heartbeat_sequence >= mark.number
"""
_EVENTS = "SELECT count(*) FROM agents_event WHERE occurred_at >= %s AND event_id = ANY(%s::text[])"
# The newest window of an instance carries the number of its frame at the end of its id.
_WINDOWS = """
    SELECT count(*) FROM tasks_app_metricwindow AS w
    JOIN unnest(%s::uuid[], %s::bigint[]) AS mark (id, number)
      ON w.instance_id = mark.id AND w.task_name = 'task-0'
     AND w.window_id = 'task-0:2026-01-02T03:04:00.000000Z:' || mark.number
    WHERE w.window_ended_at >= %s
"""
