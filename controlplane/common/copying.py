"""COPY, the cheapest way of rows into PostgreSQL, for rows that are expected to be new.

COPY knows no ON CONFLICT: one row that a unique constraint knows already fails all of them. Duplicates are rare, and an
event costs the server 15 µs by COPY where it costs 25 by INSERT … ON CONFLICT, so COPY is tried first; where it failed,
the table is left to INSERT for a while. Rows travel as CSV, which the standard library writes in C.
"""

import csv
import io
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from django.db import IntegrityError, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

# Below it, the savepoint and the longer way through Python cost more than COPY spares.
ROWS_MIN = 500
# Rows that are written out at a time: those of an order for many instances may be large.
_PORTION = 250
# For how long after a duplicate more of them are expected: an agent that repeats itself does so at once.
WARY_FOR_S = 30.0
_UNIQUE_VIOLATION = "23505"

Fields = Sequence["models.Field[Any, Any]"]
Rows = Sequence[Sequence[Any]]

_wary_until: dict[str, float] = {}


def copy_new(model: type[models.Model], fields: Fields, rows: Rows, connection: BaseDatabaseWrapper) -> bool:
    """Store all rows by COPY; False where it was not tried, or where one of them was known and none was stored.

    Runs in a savepoint of the caller's transaction. Raises what the database says of the values.
    """
    if connection.vendor != "postgresql" or len(rows) < ROWS_MIN or not all(map(_is_unambiguous, fields)):
        return False
    table = model._meta.db_table
    if time.monotonic() < _wary_until.get(table, 0.0):
        return False
    try:
        with transaction.atomic(using=connection.alias):
            _copy(connection, table, fields, rows)
    except IntegrityError as error:
        if getattr(error.__cause__, "sqlstate", None) != _UNIQUE_VIOLATION:
            raise
        _wary_until[table] = time.monotonic() + WARY_FOR_S
        return False
    return True


def _is_unambiguous(field: "models.Field[Any, Any]") -> bool:
    """Whether nothing but NULL is written as an empty value: the text of a column that takes NULL could be empty."""
    return not field.null or not isinstance(field, models.CharField | models.TextField)


def _copy(connection: BaseDatabaseWrapper, table: str, fields: Fields, rows: Rows) -> None:
    quoted = [connection.ops.quote_name(str(field.column)) for field in fields]
    filled = [name for name, field in zip(quoted, fields, strict=True) if not field.null]
    options = f"FORMAT csv, FORCE_NOT_NULL ({', '.join(filled)})" if filled else "FORMAT csv"
    statement = f"COPY {connection.ops.quote_name(table)} ({', '.join(quoted)}) FROM STDIN ({options})"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        for start in range(0, len(rows), _PORTION):
            copy.write(_csv(fields, rows[start : start + _PORTION]))


def _csv(fields: Fields, rows: Rows) -> str:
    encode = msgspec.json.Encoder().encode
    documents = [number for number, field in enumerate(fields) if isinstance(field, models.JSONField)]

    def written(row: list[Any]) -> list[Any]:
        for number in documents:
            if row[number] is not None:
                row[number] = encode(row[number]).decode()
        return row

    document = io.StringIO()
    # Times and UUIDs become text in C first, at a third of what the csv module takes for them.
    csv.writer(document).writerows(written(list(row)) for row in msgspec.to_builtins(rows))
    return document.getvalue()
