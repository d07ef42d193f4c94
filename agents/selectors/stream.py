"""The history as a stream: each notable event once, in an order in which nothing comes up behind a reader.

Ids are given before a transaction commits, so that on PostgreSQL the row of a lower id may appear after that of a
higher one, and a reader that goes on from the highest id it saw would lose it. There the order is that of transactions,
and no event is shown before every transaction of this database that began to write earlier has ended. SQLite's writers
commit one after the other, in the order of their ids. See docs/adr/0008-cursor-of-the-live-stream.md.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection

from agents.models import Event, Service
from agents.models.event import ROUTINE_KINDS
from controlplane.common.clean import BIGINT_MAX
from controlplane.common.database import typed_rows

MESSAGE_MAX_CHARACTERS: Final = 500
_ROUTINE: Final = ", ".join(f"'{kind}'" for kind in ROUTINE_KINDS)
# Spelled as the index `event_stream` has it.
STREAMED_SQL: Final = f"NOT (kind IN ({_ROUTINE}))"
CURSOR_PATTERN: Final = "([0-9a-f]{8})-([0-9]{1,19})-([0-9]{1,19})-([0-9]{1,12})"
_CURSOR = re.compile(CURSOR_PATTERN)


class Position(NamedTuple):
    """A place in the stream, behind the event with this transaction and id; SQLite's transactions are all 0."""

    transaction: int
    id: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position that outlives its reader, with the life of the database that it is in, and when it was read.

    `read_at` is in epoch seconds.
    """

    life: str
    position: Position
    read_at: int

    def __str__(self) -> str:
        return f"{self.life}-{self.position.transaction}-{self.position.id}-{self.read_at}"

    @classmethod
    def parse(cls, text: str) -> "Cursor | None":
        """None where the text is no cursor."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            return None
        transaction, row_id, read_at = (int(digits) for digits in match.groups()[1:])
        if max(transaction, row_id) > BIGINT_MAX:
            return None
        return cls(match[1], Position(transaction, row_id), read_at)


@dataclass(frozen=True, slots=True)
class StreamedEvent:
    """What the stream tells of an event; `message` is cut to MESSAGE_MAX_CHARACTERS."""

    position: Position
    event_id: str
    kind: str
    level: str
    occurred_at: datetime
    instance_id: UUID | None
    command_id: UUID | None
    task_name: str
    message: str
    subject: str
    service_name: str | None
    environment: str | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was read at once. Nothing else comes up before `end`, now or later; `is_whole` says that none is left.

    `withheld` is the first event that is stored and not shown, because a transaction that began before its own is open.
    `is_lost` says that this database has never been at the position that was asked for.
    """

    life: str
    events: list[StreamedEvent]
    end: Position
    is_whole: bool = True
    withheld: Position | None = None
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """How far the stream has come: everything before `settled` can be shown, and nothing is behind `latest`.

    A life ends with a restore or a failover: what a cursor of an earlier one has seen is not certain. It is told by the
    server's identity, its timeline and the database, as eight hex digits.
    """

    life: str
    settled: Position
    latest: Position


def stream_end() -> End:
    """One query. Transactions of other databases on the same server hold nothing back."""
    is_postgres = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        cursor.execute(_END_POSTGRES if is_postgres else _END_SQLITE)
        found = cursor.fetchone()
    if not is_postgres:
        position = Position(0, found[0] if found else 0)
        return End("0" * 8, position, position)
    settled, latest, *identity = found
    return End(_life(*identity), Position(settled, 0), Position(latest, 0))


def _life(*identity: object) -> str:
    return hashlib.sha256("/".join(map(str, identity)).encode()).hexdigest()[:8]


def is_of_this_server(life: str) -> bool:
    """Whether a life is that of this database, or one that it had before a failover or a recovery to some moment.

    The numbers of transactions go on over these. A position that is stored in the same database was taken back with it,
    and means what it meant; what a client remembers of such a life may never have happened. At most one query.
    """
    if connection.vendor != "postgresql":
        return life == "0" * 8
    with connection.cursor() as cursor:
        cursor.execute(_IDENTITY)
        system, timeline, own = cursor.fetchone()
    return any(life == _life(system, each, own) for each in range(timeline, max(0, timeline - _TIMELINES_MAX), -1))


def read_since(received_after: datetime, *, occurred_after: datetime, limit: int) -> tuple[list[StreamedEvent], End]:
    """The first notable events that were received after a moment, for who has lost its place; and where it goes on.

    What is at or behind the `settled` end is left to the stream. Events of another server, which a restored dump
    brings, are among them; take them out of the stream first (agents.services.stream).
    """
    end = stream_end()
    is_postgres = connection.vendor == "postgresql"
    moments = [connection.ops.adapt_datetimefield_value(each) for each in (received_after, occurred_after)]
    if is_postgres:
        rows = typed_rows(_SINCE_POSTGRES, [*moments, str(end.settled.transaction), limit], _FIELDS)
    else:
        rows = typed_rows(_SINCE_SQLITE, [*moments, limit], _FIELDS)
    return [StreamedEvent(Position(transaction, row_id), *columns) for transaction, row_id, *columns in rows], end


def read_stretch(after: Position, *, limit: int) -> Stretch:
    """Up to `limit` events behind a position, oldest first. Two queries, whatever the size of the history."""
    end = stream_end()
    if end.latest < after:
        return Stretch(end.life, [], end.settled, is_lost=True)
    # Read after the end was: whatever is before it was committed by then, and is seen here.
    events = list(_events(after, limit))
    shown = [event for event in events if event.position <= end.settled]
    if len(shown) == limit:
        return Stretch(end.life, shown, shown[-1].position, is_whole=False)
    withheld = events[len(shown)].position if len(shown) < len(events) else None
    # What was settled for an earlier look may not be for this one, which was less sure of whose a transaction is.
    return Stretch(end.life, shown, max(after, end.settled), withheld=withheld)


def _events(after: Position, limit: int) -> Iterator[StreamedEvent]:
    is_postgres = connection.vendor == "postgresql"
    statement = _EVENTS_POSTGRES if is_postgres else _EVENTS_SQLITE
    place: list[Any] = [str(after.transaction), after.id] if is_postgres else [after.id]
    for transaction, row_id, *columns in typed_rows(statement, [*place, limit], _FIELDS):
        yield StreamedEvent(Position(transaction, row_id), *columns)


# The oldest transaction that runs, where it is not known to be one of another database. Those that ended since the
# snapshot are not among the activities any more: they count as ours, and are settled for the next look.
_END_POSTGRES = """
WITH seen AS MATERIALIZED (
    SELECT pg_current_snapshot() AS snapshot, oid AS own FROM pg_database WHERE datname = current_database()
)
SELECT
    COALESCE(
        (
            SELECT min(running::text::bigint) FROM pg_snapshot_xip(snapshot) AS running
            WHERE NOT EXISTS (
                SELECT FROM pg_stat_get_activity(NULL) AS other
                WHERE other.backend_xid = running::xid AND other.datid <> own
            )
        ),
        pg_snapshot_xmax(snapshot)::text::bigint
    ),
    pg_snapshot_xmax(snapshot)::text::bigint, system_identifier, timeline_id, own
FROM seen, pg_control_system(), pg_control_checkpoint()
"""
_IDENTITY = """
SELECT system_identifier, timeline_id, (SELECT oid FROM pg_database WHERE datname = current_database())
FROM pg_control_system(), pg_control_checkpoint()
"""
# Each failover and each recovery begins another.
_TIMELINES_MAX: Final = 1000
# The highest id that was ever given, also where its row is gone.
_END_SQLITE = f"SELECT seq FROM sqlite_sequence WHERE name = '{Event._meta.db_table}'"  # noqa: S608 -- names of our own

_COLUMNS = ("event_id", "kind", "level", "occurred_at", "instance_id", "command_id", "task_name", "message", "subject")
_SERVICE_COLUMNS = ("name", "environment")
_FIELD_BY_COLUMN = {field.attname: field for field in Event._meta.concrete_fields}
_FIELDS = (
    None,
    None,
    *(_FIELD_BY_COLUMN[name] for name in _COLUMNS),
    *(each for each in Service._meta.concrete_fields if each.name in _SERVICE_COLUMNS),
)
_SELECTED = ", ".join(
    f"substr(e.message, 1, {MESSAGE_MAX_CHARACTERS})" if name == "message" else f"e.{name}" for name in _COLUMNS
)
_FROM = (
    f"e.id, {_SELECTED}, s.name, s.environment "
    f"FROM {Event._meta.db_table} e LEFT JOIN {Service._meta.db_table} s ON s.id = e.service_id "
    f"WHERE {STREAMED_SQL.replace('kind', 'e.kind')}"
)
_EVENTS_POSTGRES = (
    f"SELECT e.txid::text::bigint, {_FROM} AND e.txid IS NOT NULL AND (e.txid, e.id) > (CAST(%s AS xid8), %s) "
    "ORDER BY e.txid, e.id LIMIT %s"
)
_EVENTS_SQLITE = f"SELECT 0, {_FROM} AND e.id > %s ORDER BY e.id LIMIT %s"
_SINCE = "AND e.received_at > %s AND e.occurred_at > %s"
_SINCE_POSTGRES = (
    f"SELECT COALESCE(e.txid::text::bigint, 0), {_FROM} {_SINCE} AND (e.txid IS NULL OR e.txid < CAST(%s AS xid8)) "
    "ORDER BY e.received_at, e.id LIMIT %s"
)
_SINCE_SQLITE = f"SELECT 0, {_FROM} {_SINCE} ORDER BY e.received_at, e.id LIMIT %s"
