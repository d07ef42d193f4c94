"""What the database holds: durable counts, and waiting until what was sent is among them."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg

from bench.fleet import Marks

_LOOK_EVERY_S = 0.02
# No drive lasts longer.
_NEWEST_WITHIN = timedelta(hours=1)
# The clocks of load and database are one; this covers their rounding.
_CLOCK_SLACK = timedelta(seconds=1)


class NotDurable(Exception):
    """What was sent did not come into the database in time."""


class Database:
    """A connection of the bench's own; reads only, but for `empty`."""

    def __init__(self, url: str) -> None:
        # Tables grow from nothing under its eyes: a plan that was kept, or one by statistics, reads all of them.
        self.connection = psycopg.connect(
            url, autocommit=True, prepare_threshold=None, options="-c enable_seqscan=off -c enable_bitmapscan=off"
        )

    def close(self) -> None:
        self.connection.close()

    def wait_for(self, marks: Marks, *, within_s: float) -> float:
        """The wall-clock second at which everything up to the marks was seen; raises NotDurable.

        The portal keeps the order of one instance, so its newest record is stored after all others. One mark is looked
        for again and again, and all others only once that one was seen: the server must not work for the bench
        instead of for the portal.
        """
        deadline = time.monotonic() + within_s
        for what, statement, wanted in (
            ("heartbeats", _HEARTBEATS, marks.heartbeats),
            ("events", _EVENTS, marks.events),
            ("windows", _WINDOWS, marks.windows),
        ):
            missing: dict[UUID, int | str] = dict(wanted)
            while missing:
                first = next(iter(missing.items()))
                if self._stored(statement, dict([first])):
                    for found in self._stored(statement, missing):
                        del missing[found]
                elif time.monotonic() > deadline:
                    raise NotDurable(f"after {within_s:g} s still missing: {len(missing)} {what}")
                else:
                    time.sleep(_LOOK_EVERY_S)
        return time.time()

    def _stored(self, statement: str, marks: Mapping[UUID, int | str]) -> list[UUID]:
        """The instances whose mark, or a later one, is in the database."""
        since = datetime.now(tz=UTC) - _NEWEST_WITHIN
        rows = self.connection.execute(statement, {"ids": list(marks), "marks": list(marks.values()), "since": since})
        return [row[0] for row in rows.fetchall()]

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
    SELECT id FROM agents_instance AS instance
    JOIN unnest(%(ids)s::uuid[], %(marks)s::bigint[]) AS mark (id, number) USING (id)
    WHERE instance.last_heartbeat_sequence >= mark.number
"""
# Through the index that tells the newest of an instance; there is none that begins with the id of an event.
_EVENTS = """
    SELECT mark.id FROM unnest(%(ids)s::uuid[], %(marks)s::text[]) AS mark (id, event_id)
    CROSS JOIN LATERAL (
        SELECT event_id FROM agents_event AS e
        WHERE e.instance_id = mark.id AND e.occurred_at >= %(since)s
        ORDER BY e.occurred_at DESC, e.id DESC LIMIT 64
    ) AS newest
    WHERE newest.event_id = mark.event_id
"""
# The newest window of an instance carries the number of its frame at the end of its id.
_WINDOWS = """
    SELECT mark.id FROM unnest(%(ids)s::uuid[], %(marks)s::bigint[]) AS mark (id, number)
    CROSS JOIN LATERAL (
        SELECT FROM tasks_app_metricwindow AS w
        WHERE w.instance_id = mark.id AND w.task_name = 'task-0'
          AND w.window_id = 'task-0:2026-01-02T03:04:00.000000Z:' || mark.number AND w.window_ended_at >= %(since)s
        LIMIT 1
    ) AS stored
"""
