"""What the tables of the database take: as it is now, and as it was measured over time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import OperationalError, connection

from agents.models import TableSize

WHOLE: Final = ""
# SQLite looks at every page to tell tables apart; of a larger file only the whole is measured.
TOLD_APART_MAX_BYTES: Final = 2 * 1024**3
# Growth is told over these days at most: what was there before says little about tomorrow.
GROWTH_OVER: Final = timedelta(days=7)
# Over less than this, growth per day would be a guess.
GROWTH_OVER_AT_LEAST: Final = timedelta(minutes=30)
DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Size:
    """`table` is WHOLE for the database; `rows` is an estimate, None where there is none."""

    table: str
    size_bytes: int
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Growth:
    """A table at `at`; `bytes_per_day` is from `since` on, both None where there is no second sample of it."""

    table: str
    size_bytes: int
    rows: int | None
    at: datetime
    since: datetime | None = None
    bytes_per_day: float | None = None


# Partitions count for the table that they are parts of.
_POSTGRESQL: Final = """
SELECT COALESCE(parent.relname, c.relname), SUM(pg_total_relation_size(c.oid)),
    SUM(CASE WHEN c.reltuples < 0 THEN pg_stat_get_live_tuples(c.oid) ELSE c.reltuples END)
FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class parent ON parent.oid = i.inhparent
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
GROUP BY 1
"""
_SQLITE: Final = """
SELECT m.tbl_name, SUM(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name
WHERE s.aggregate = TRUE AND m.tbl_name NOT LIKE 'sqlite~_%' ESCAPE '~' GROUP BY m.tbl_name
"""


def sizes_now() -> list[Size]:
    """The whole database and each of its tables. Cost: on PostgreSQL a look at each file; on SQLite one read of the
    whole file, and for each table of two of its rows."""
    return _sizes_of_postgresql() if connection.vendor == "postgresql" else _sizes_of_sqlite()


def _sizes_of_postgresql() -> list[Size]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        whole = Size(WHOLE, cursor.fetchone()[0])
        cursor.execute(_POSTGRESQL)
        # NULL where a partition was dropped meanwhile.
        return [whole, *(Size(table, int(size or 0), int(rows or 0)) for table, size, rows in cursor.fetchall())]


def _sizes_of_sqlite() -> list[Size]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        whole = Size(WHOLE, cursor.fetchone()[0])
        if whole.size_bytes > TOLD_APART_MAX_BYTES:
            return [whole]
        try:
            cursor.execute(_SQLITE)
        except OperationalError:
            # Built without the table that tells.
            return [whole]
        found = cursor.fetchall()
        return [whole, *(Size(table, size, _rows_of_sqlite(table)) for table, size in found)]


def _rows_of_sqlite(table: str) -> int:
    """By the first and the last number of its rows: what was deleted in between counts. Cost: two looks at an index."""
    quoted = connection.ops.quote_name(table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT (SELECT MAX(rowid) FROM {quoted}) - (SELECT MIN(rowid) FROM {quoted}) + 1"  # noqa: S608
        )
        rows: int | None = cursor.fetchone()[0]
    return rows or 0


def newest_measurement() -> datetime | None:
    """When sizes were measured last. One read of an index."""
    return TableSize.objects.order_by("-taken_at").values_list("taken_at", flat=True).first()


def growth(now: datetime) -> list[Growth]:
    """The newest sample, the largest first and the whole database before all, each with how it grew. Three queries."""
    newest = newest_measurement()
    if newest is None:
        return []
    old = TableSize.objects.filter(taken_at__gte=now - GROWTH_OVER, taken_at__lte=newest - GROWTH_OVER_AT_LEAST)
    since = old.order_by("taken_at").values_list("taken_at", flat=True).first()
    moments = {newest, since or newest}
    samples = TableSize.objects.filter(taken_at__in=moments)
    then = {each.table: each for each in samples if each.taken_at == since}
    found = [_growth(each, then.get(each.table)) for each in samples if each.taken_at == newest]
    return sorted(found, key=lambda each: (each.table != WHOLE, -each.size_bytes, each.table))


def _growth(now: TableSize, then: TableSize | None) -> Growth:
    if then is None:
        return Growth(now.table, now.size_bytes, now.row_estimate, now.taken_at)
    per_day = (now.size_bytes - then.size_bytes) / ((now.taken_at - then.taken_at) / DAY)
    return Growth(now.table, now.size_bytes, now.row_estimate, now.taken_at, then.taken_at, per_day)
