"""Many rows in one statement, where Django's ORM cannot say it or says it tens of times slower.

On PostgreSQL the rows travel as one JSON document, which the server takes apart. For 1,000 rows of the event table that
costs this process 2 ms; COPY into a staging table costs it 7, arrays for unnest 40, VALUES 70, and the server 25 to 30
each time. Many rows at once are first tried by COPY, straight into their table. SQLite gets VALUES. All store the same,
which a property test holds.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, TypeAlias

import msgspec
from django.db import connections, models, router
from django.db.backends.base.base import BaseDatabaseWrapper

from controlplane.common.copying import copy_new
from controlplane.common.database import typed_rows

# SQLite's default limit is 32,766 variables per statement.
_VARIABLES_MAX = 30_000
# How large a document one statement takes at most, unless a single row is larger: the server holds several copies.
DOCUMENT_MAX_BYTES = 16 * 1024 * 1024
_encode = msgspec.json.Encoder().encode
_TABLE = re.compile(r"\bt\.")
_POSITION = "position"
_POSITION_FIELD: "models.Field[Any, Any]" = models.BigIntegerField(db_column=_POSITION)
_POSITION_FIELD.set_attributes_from_name(_POSITION)

Fields = Sequence["models.Field[Any, Any]"]
Rows = Sequence[Sequence[Any]]
Column: TypeAlias = tuple[type[models.Model], str]


def insert_new(model: type[models.Model], columns: Sequence[str], rows: Rows) -> None:
    """Insert rows; those that a unique constraint knows already, and doubles among `rows`, are left out.

    `columns` are field names of the model; every column but the primary key that has no default in the database must
    be among them. Values must be of the type that the field stores. Runs inside the caller's transaction.
    """
    _insert(model, columns, rows, rule=_PASS)


def insert_new_positions(
    model: type[models.Model], columns: Sequence[str], rows: Rows, *, key: Sequence[str]
) -> Sequence[int]:
    """The same; returns the positions in `rows` of those that were inserted, ascending.

    `key` are the columns that the unique constraint is on. Of doubles among `rows` the first counts. Rows go in in the
    order of their keys: of two callers with the same rows one waits for the other, and neither is locked out.
    """
    places = [columns.index(name) for name in key]
    order = sorted(range(len(rows)), key=lambda number: [rows[number][place] for place in places])
    inserted = _insert(model, columns, [rows[number] for number in order], rule=_PASS, key=key)
    return sorted(order[position] for position in inserted)


def insert_all(model: type[models.Model], columns: Sequence[str], rows: Rows) -> None:
    """The same as `insert_new` for rows that must be new: IntegrityError where one of them is known already."""
    _insert(model, columns, rows, rule="")


def upsert(
    model: type[models.Model], columns: Sequence[str], rows: Rows, *, key: Sequence[str] = (), assignments: str = ""
) -> None:
    """The same, but a row whose `key` is known already takes the other columns' values, or what `assignments` say.

    `key` are the columns of a unique constraint, by default the first column. In `assignments`, which are code and
    never input, `t` is the stored row and `v` the given one: `"count = t.count + v.count"`. A key may occur once only.
    On PostgreSQL rows are locked in the order of their keys, so that two callers at once cannot lock each other out.
    """
    if not rows:
        return
    key = key or columns[:1]
    described = _described(_of(model, columns), connections[router.db_for_write(model)].alias)
    names = dict(zip(columns, described.quoted, strict=True))
    changed = assignments or ", ".join(f"{names[name]} = v.{names[name]}" for name in columns if name not in key)
    target = ", ".join(names[name] for name in key)
    rule = f"ON CONFLICT ({target}) DO UPDATE SET {_GIVEN.sub('excluded.', changed)}"
    _insert(model, columns, rows, rule=rule, order=f"ORDER BY {target}")


_PASS = "ON CONFLICT DO NOTHING"  # noqa: S105 -- no password
_GIVEN = re.compile(r"\bv\.")


def _insert(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Rows,
    *,
    rule: str,
    key: Sequence[str] = (),
    order: str = "",
) -> Sequence[int]:
    """Insert by one rule about conflicts; with `key` it returns which rows were inserted."""
    if not rows:
        return ()
    connection = connections[router.db_for_write(model)]
    described = _described(_of(model, columns), connection.alias)
    if rule in {"", _PASS} and copy_new(model, described.fields, rows, connection):
        return range(len(rows))
    names = ", ".join(described.quoted)
    places = [columns.index(name) for name in key]
    returned = f"RETURNING {', '.join(described.quoted[place] for place in places)}" if key else ""
    inserted: set[tuple[Any, ...]] = set()
    for source, parameters in _sources(described, rows, connection):
        # Only names of tables and columns are written into the statement; values are parameters. Without WHERE, SQLite
        # would take ON CONFLICT for the condition of a join.
        statement = (
            f"INSERT INTO {connection.ops.quote_name(model._meta.db_table)} AS t ({names}) "  # noqa: S608
            f"SELECT {names} FROM {source} WHERE TRUE {order} {rule} {returned}"
        )
        if key:
            inserted.update(typed_rows(statement, parameters, tuple(described.fields[place] for place in places)))
        else:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)
    found = []
    for position, row in enumerate(rows if key else ()):
        stored = tuple(row[place] for place in places)
        if stored in inserted:
            # Of doubles, the first.
            inserted.remove(stored)
            found.append(position)
    return found


def update_from_values(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Rows,
    *,
    assignments: str,
    condition: str = "",
) -> int:
    """Update the rows of `model` whose primary key is the first value of a row in `rows`; returns how many changed.

    `columns` are field names of the model and give the values their types; the first is the primary key. In
    `assignments` and `condition`, `t` is the table and `v` the values, both with the fields' column names:
    `"health = v.health"`, `"t.last_seen_at < v.last_seen_at"`. They are code, never input. Runs inside the caller's
    transaction. A key may occur once only. Rows are locked in the order of their keys, so that two callers at once
    cannot lock each other out; across DOCUMENT_MAX_BYTES, lock them before.
    """
    if not rows:
        return 0
    connection = connections[router.db_for_write(model)]
    described = _described(_of(model, columns), connection.alias)
    table = connection.ops.quote_name(model._meta.db_table)
    key = described.quoted[0]
    # `t.` is spelled out, since an alias of the updated table is not allowed on the left of an assignment.
    assignments, condition = (_TABLE.sub(f"{table}.", text) for text in (assignments, condition))
    updated = 0
    with connection.cursor() as cursor:
        for source, parameters in _sources(described, rows, connection):
            if connection.vendor == "postgresql":
                source = (  # noqa: PLW2901
                    f"(SELECT v.* FROM {source} JOIN {table} AS locked ON locked.{key} = v.{key} "  # noqa: S608
                    f"ORDER BY v.{key} FOR NO KEY UPDATE OF locked) AS v"
                )
            cursor.execute(
                f"UPDATE {table} SET {assignments} FROM {source} "  # noqa: S608
                f"WHERE {table}.{key} = v.{key} AND ({condition or 'TRUE'})",
                parameters,
            )
            updated += cursor.rowcount
    return updated


def rows_where(columns: Sequence[Column], rows: Rows, *, joins: str, condition: str) -> list[int]:
    """The positions in `rows` of those for which `condition` holds, ascending.

    `columns` are models and names of their fields; they give the values their types and their names in `v`. `joins`
    adds the tables that `condition` asks. Both are code, never input. What the transaction wrote is seen.
    """
    if not rows:
        return []
    connection = connections[router.db_for_write(columns[0][0])]
    described = _described((_POSITION, *columns), connection.alias)
    numbered = [(number, *row) for number, row in enumerate(rows)]
    found: list[int] = []
    with connection.cursor() as cursor:
        for source, parameters in _sources(described, numbered, connection):
            cursor.execute(f"SELECT v.{_POSITION} FROM {source} {joins} WHERE {condition}", parameters)  # noqa: S608
            found += (number for (number,) in cursor.fetchall())
    return sorted(found)


def _of(model: type[models.Model], names: Iterable[str]) -> tuple[Column, ...]:
    return tuple((model, name) for name in names)


class _Described:
    """What statements say of some columns."""

    __slots__ = ("fields", "names", "quoted", "typed")

    def __init__(self, fields: Fields, connection: BaseDatabaseWrapper) -> None:
        self.fields = fields
        self.names = [str(field.column) for field in fields]
        self.quoted = [connection.ops.quote_name(name) for name in self.names]
        types = [field.rel_db_type(connection) for field in fields]
        self.typed = ", ".join(f"{name} {kind}" for name, kind in zip(self.quoted, types, strict=True))


@cache
def _described(columns: tuple[Column | str, ...], alias: str) -> _Described:
    """The same, put together once: asking the fields costs as much as writing ten rows."""
    fields = [_POSITION_FIELD if column == _POSITION else _field(*column) for column in columns]
    return _Described(fields, connections[alias])


def _field(model: type[models.Model], name: str) -> "models.Field[Any, Any]":
    field = model._meta.get_field(name)
    if not isinstance(field, models.Field):
        raise TypeError(f"{name} is no column of {model.__name__}.")
    return field


def _sources(described: _Described, rows: Rows, connection: BaseDatabaseWrapper) -> Iterator[tuple[str, list[Any]]]:
    """Relations named `v` that together hold the rows, each with its parameters, for as many statements."""
    if connection.vendor == "postgresql":
        # Without a limit the planner takes it for a hundred rows, and reads the whole table that a few are joined with.
        rows_of = f"(SELECT * FROM json_to_recordset(%s::json) AS r({described.typed}) LIMIT %s) AS v"  # noqa: S608
        for parts in _documents(described.names, rows):
            yield rows_of, [f"[{','.join(parts)}]", len(parts)]
        return
    chunk_size = max(1, _VARIABLES_MAX // len(described.names))
    for start in range(0, len(rows), chunk_size):
        yield _values(described, rows[start : start + chunk_size], connection)


def _documents(names: Sequence[str], rows: Rows) -> Iterator[list[str]]:
    """The rows as JSON objects, in portions of at most DOCUMENT_MAX_BYTES or one row."""
    parts: list[str] = []
    size = 0
    for row in rows:
        part = _encode(dict(zip(names, row, strict=True)))
        if parts and size + len(part) > DOCUMENT_MAX_BYTES:
            yield parts
            parts, size = [], 0
        parts.append(part.decode())
        size += len(part)
    yield parts


def _values(described: _Described, rows: Rows, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
    # Nobody can name the columns of VALUES here; SQLite calls them column1, column2, ...
    named = ", ".join(f"column{number} AS {name}" for number, name in enumerate(described.quoted, 1))
    places = f"({', '.join(['%s'] * len(described.fields))})"
    parameters = [
        field.get_db_prep_save(value, connection)
        for row in rows
        for field, value in zip(described.fields, row, strict=True)
    ]
    values = ", ".join([places] * len(rows))
    return f"(SELECT {named} FROM (VALUES {values}) AS given) AS v", parameters  # noqa: S608
