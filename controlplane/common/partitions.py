"""Weekly partitions of big tables on PostgreSQL: making them ahead, dropping them, and what is there.

A partitioned table has one partition per ISO week (Monday 00:00 UTC to the next) and a DEFAULT one, which takes every
row outside them, so that no insert ever fails. Everything here is for PostgreSQL; other databases keep plain tables.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import OperationalError, connection, transaction
from psycopg import errors

logger = logging.getLogger(__name__)

WEEK = timedelta(weeks=1)
# The background job that calls `make_partition`; its page shows what there is.
PARTITIONS_JOB = "make-partitions"
# How long a change of partitions may wait for its lock. Ingest queues up behind it for that long and no longer; the
# background job comes again.
LOCK_TIMEOUT_MS = 300
# How long the last look into a partition before it is dropped may take: telemetry may wait for it.
LOOK_TIMEOUT_MS = 2000
# The two-key form of advisory locks: this number, then the table.
_ADVISORY_LOCK = 7_014_001
_BOUNDS = re.compile(r"FOR VALUES FROM \('([^']+)'\) TO \('([^']+)'\)")


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition as the catalogue knows it. The DEFAULT one has no bounds; `row_estimate` is of the last vacuum."""

    name: str
    starts_at: datetime | None
    ends_at: datetime | None
    size_bytes: int
    row_estimate: int

    @property
    def is_default(self) -> bool:
        return self.starts_at is None


class PartitionBusy(Exception):
    """Another worker changes this table's partitions, or its readers and writers left no gap within LOCK_TIMEOUT_MS."""


def are_supported() -> bool:
    return connection.vendor == "postgresql"


def week_of(moment: datetime) -> datetime:
    """The Monday 00:00 UTC at which the week of `moment` begins."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def partition_name(table: str, week: datetime) -> str:
    return f"{table}_w{week:%Y%m%d}"


def default_name(table: str) -> str:
    return f"{table}_default"


def partitions(table: str) -> list[Partition]:
    """The partitions of a table, the DEFAULT one first and then oldest first. One read of the catalogue."""
    with connection.cursor() as cursor:
        cursor.execute(_PARTITIONS, [connection.ops.quote_name(table)])
        found = [
            Partition(name, *_bounds(bounds), size_bytes, max(0, row_estimate))
            for name, bounds, size_bytes, row_estimate in cursor.fetchall()
            if bounds
        ]
    return sorted(found, key=lambda each: each.starts_at or datetime.min.replace(tzinfo=UTC))


def weeks_made(table: str) -> set[datetime]:
    """The weeks that have a partition. One read of the catalogue, cheaper than `partitions`: no file is looked at."""
    with connection.cursor() as cursor:
        cursor.execute(_WEEKS, [connection.ops.quote_name(table)])
        starts = (_bounds(bounds)[0] for (bounds,) in cursor.fetchall() if bounds)
        return {start for start in starts if start}


def partitioned_tables() -> list[str]:
    """The names of all partitioned tables in the portal's schema, sorted; none where the database has none."""
    if not are_supported():
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class "
            "WHERE relkind = 'p' AND relnamespace = current_schema()::regnamespace ORDER BY relname"
        )
        return [name for (name,) in cursor.fetchall()]


# Bounds are written in the session's time zone, which is UTC in every connection of Django's. They are NULL where the
# partition was dropped while this reads.
_PARTITIONS = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), pg_total_relation_size(c.oid), c.reltuples::bigint
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(%s)
"""


_WEEKS = """
SELECT pg_get_expr(c.relpartbound, c.oid)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(%s)
"""


def _bounds(expression: str) -> tuple[datetime | None, datetime | None]:
    match = _BOUNDS.fullmatch(expression)
    if match is None:
        return None, None
    start, end = (datetime.fromisoformat(text).astimezone(UTC) for text in match.groups())
    return start, end


def make_partition(table: str, column: str, week: datetime) -> bool:
    """Make the partition of one week and move the rows of that week out of the DEFAULT partition; False if it is there.

    ATTACH takes a lock on the table that lets inserts and reads pass, where CREATE ... PARTITION OF would stop both.
    Only the DEFAULT partition is locked, for as long as the move takes. Raises PartitionBusy. One transaction.
    """
    name, quote = partition_name(table, week), connection.ops.quote_name
    partition, default, moment = quote(name), quote(default_name(table)), quote(column)
    bounds = [week, week + WEEK]
    with _maintenance(table), connection.cursor() as cursor:
        if week in weeks_made(table):
            return False
        # Not the identity: new rows get their id from the partitioned table.
        cursor.execute(
            f"CREATE TABLE {partition} (LIKE {quote(table)} INCLUDING DEFAULTS INCLUDING CONSTRAINTS "
            f"INCLUDING INDEXES INCLUDING STORAGE)"
        )
        # Nothing may enter the DEFAULT partition between the move and the ATTACH, which would then be refused.
        cursor.execute(f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(
            f"WITH moved AS (DELETE FROM {default} WHERE {moment} >= %s AND {moment} < %s RETURNING *) "  # noqa: S608
            f"INSERT INTO {partition} SELECT * FROM moved",
            bounds,
        )
        moved = cursor.rowcount
        cursor.execute(f"ALTER TABLE {quote(table)} ATTACH PARTITION {partition} FOR VALUES FROM (%s) TO (%s)", bounds)
    logger.info("partition.made table=%s partition=%s moved_rows=%s", table, name, moved)
    return True


def drop_partition(table: str, partition: Partition, *, unless: tuple[str, datetime] | None = None) -> bool:
    """Drop one partition with all its rows; False if it is gone already. Raises PartitionBusy.

    `unless` names a column and a moment: where a row has that moment there or a later one, the partition stays (False).
    There are two looks, for which the column wants an index: one beside all others, and one that is the last word, when
    nobody can write there any more. Whoever brings a row of that very week waits for the second, LOOK_TIMEOUT_MS at
    most; the drop then ends as PartitionBusy, or, where PostgreSQL finds the two in a deadlock, the row is tried again.

    DETACH CONCURRENTLY would let readers pass, but PostgreSQL refuses it beside a DEFAULT partition. A plain DROP holds
    the table for milliseconds, since it only unlinks files, and LOCK_TIMEOUT_MS bounds how long it waits for that.
    """
    if partition.is_default:
        raise ValueError(f"{partition.name} is the DEFAULT partition.")
    quoted = connection.ops.quote_name(partition.name)
    with _maintenance(table), connection.cursor() as cursor:
        if partition.starts_at not in weeks_made(table):
            return False
        if unless:
            if _has_since(partition, *unless):
                return False
            # Waits for rows that are not committed yet, which the look has not seen; readers pass.
            cursor.execute(f"LOCK TABLE {quoted} IN SHARE MODE")
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{LOOK_TIMEOUT_MS}ms"])
            if _has_since(partition, *unless):
                return False
        cursor.execute(f"DROP TABLE {quoted}")
    logger.info("partition.dropped table=%s partition=%s bytes=%s", table, partition.name, partition.size_bytes)
    return True


def _has_since(partition: Partition, column: str, since: datetime) -> bool:
    moment, name = connection.ops.quote_name(column), connection.ops.quote_name(partition.name)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {name} WHERE {moment} >= %s)", [since])  # noqa: S608
        found: bool = cursor.fetchone()[0]
    return found


def oldest_in_default(table: str, column: str, *, since: datetime, before: datetime) -> datetime | None:
    """The oldest moment of that stretch in the DEFAULT partition. One index probe."""
    moment, default = connection.ops.quote_name(column), connection.ops.quote_name(default_name(table))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT min({moment}) FROM {default} WHERE {moment} >= %s AND {moment} < %s",  # noqa: S608
            [since, before],
        )
        oldest: datetime | None = cursor.fetchone()[0]
    return oldest


@contextmanager
def _maintenance(table: str) -> Iterator[None]:
    """A transaction in which nobody else changes the partitions of `table`, and no lock is waited for long."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_TIMEOUT_MS}ms"])
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))", [_ADVISORY_LOCK, table])
            if not cursor.fetchone()[0]:
                raise PartitionBusy(f"another worker changes the partitions of {table}")
            yield
    except OperationalError as error:
        if isinstance(error.__cause__, errors.LockNotAvailable | errors.DeadlockDetected | errors.QueryCanceled):
            raise PartitionBusy(f"the partitions of {table} were in use") from error
        raise
