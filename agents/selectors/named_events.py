"""Events by their names, whole or as far as somebody tells of them, and the first that ended trouble of a task."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection

from agents.models import Event, Service
from controlplane.common.database import typed_rows

MESSAGE_MAX_CHARACTERS: Final = 500


class ToldEvent(NamedTuple):
    """What can be told of an event; `message` is cut to MESSAGE_MAX_CHARACTERS. Its trace is left where it is."""

    event_id: str
    kind: str
    occurred_at: datetime
    received_at: datetime
    service_id: int | None
    instance_id: UUID | None
    command_id: UUID | None
    subject: str
    task_name: str
    message: str
    attempts: int | None
    duration_ms: int | None
    failure_kind: str
    exception_type: str
    meta: dict[str, Any]
    service_name: str | None
    environment: str | None


class Named(NamedTuple):
    """What an event is found by: on PostgreSQL its time leads to the partition."""

    event_id: str
    occurred_at: datetime


class Probe(NamedTuple):
    """A question: the first event of this kind of a task after a moment."""

    service_id: int
    task_name: str
    kind: str
    after: datetime


class Found(NamedTuple):
    """The answer to the probe of that number."""

    number: int
    event_id: str
    occurred_at: datetime
    received_at: datetime


# Columns of ToldEvent, in its order: those of the event first, then those of its service.
EVENT_COLUMNS: Final = ToldEvent._fields[:-2]
_SERVICE_COLUMNS: Final = ("name", "environment")
# SQLite takes so many variables in a statement.
_VARIABLES_MAX: Final = 30_000


def events_named(wanted: Sequence[Named]) -> list[ToldEvent]:
    """Those of the events that are there, in no order. One query; on SQLite one for some thousands."""
    if not wanted:
        return []
    names, times = [each.event_id for each in wanted], [each.occurred_at for each in wanted]
    if connection.vendor == "postgresql":
        rows = list(typed_rows(_NAMED_POSTGRES, [times, names], _FIELDS))
    else:
        portions = [names[start : start + _VARIABLES_MAX] for start in range(0, len(names), _VARIABLES_MAX)]
        rows = [
            row
            for portion in portions
            for row in typed_rows(_NAMED_SQLITE.format(", ".join(["%s"] * len(portion))), portion, _FIELDS)
        ]
    return [ToldEvent(*row) for row in rows]


def first_after(probes: Sequence[Probe]) -> list[Found]:
    """For each probe that has an answer, the first such event. One query, a search of an index for each probe."""
    if not probes:
        return []
    if connection.vendor == "postgresql":
        columns = [list(column) for column in zip(*probes, strict=True)]
        rows = typed_rows(_FIRST_POSTGRES, [list(range(len(probes))), *columns], _FOUND_FIELDS)
        return [Found(*row) for row in rows]
    adapt = connection.ops.adapt_datetimefield_value
    found: list[Found] = []
    chunk = _VARIABLES_MAX // 5
    for start in range(0, len(probes), chunk):
        part = probes[start : start + chunk]
        values = ", ".join(["(%s, %s, %s, %s, %s)"] * len(part))
        parameters = [
            value
            for number, each in enumerate(part, start)
            for value in (number, each.service_id, each.task_name, each.kind, adapt(each.after))
        ]
        found += (Found(*row) for row in typed_rows(_FIRST_SQLITE.format(values), parameters, _FOUND_FIELDS))
    return found


_TABLE: Final = Event._meta.db_table
_FIELD_BY_COLUMN: Final = {field.attname: field for field in Event._meta.concrete_fields}
_FIELDS: Final = (
    *(_FIELD_BY_COLUMN[name] for name in EVENT_COLUMNS),
    *(each for each in Service._meta.concrete_fields if each.name in _SERVICE_COLUMNS),
)
_SELECTED: Final = ", ".join(
    f"substr(e.message, 1, {MESSAGE_MAX_CHARACTERS})" if name == "message" else f"e.{name}" for name in EVENT_COLUMNS
)
_OF_SERVICE: Final = f"LEFT JOIN {Service._meta.db_table} s ON s.id = e.service_id"
_NAMED_POSTGRES: Final = (
    f"SELECT {_SELECTED}, s.name, s.environment "  # noqa: S608 -- names of our own, as below
    f"FROM unnest(%s::timestamptz[], %s::text[]) AS w(at, name) "
    f"JOIN {_TABLE} e ON e.occurred_at = w.at AND e.event_id = w.name {_OF_SERVICE}"
)
_NAMED_SQLITE: Final = (
    f"SELECT {_SELECTED}, s.name, s.environment FROM {_TABLE} e {_OF_SERVICE} WHERE e.event_id IN ({{}})"  # noqa: S608
)
_FOUND_FIELDS: Final = (None, *(_FIELD_BY_COLUMN[name] for name in Found._fields[1:]))
# Spelled so that the index of tasks is known to have what is sought; it is read backwards from the moment on.
_SOUGHT: Final = (
    f"FROM {_TABLE} x WHERE x.service_id = p.service_id AND x.task_name = p.task_name AND NOT (x.task_name = '') "
    "AND x.kind = p.kind AND x.occurred_at > p.after ORDER BY x.occurred_at, x.id LIMIT 1"
)
_FIRST_POSTGRES: Final = (
    "SELECT p.number, f.event_id, f.occurred_at, f.received_at "  # noqa: S608
    "FROM unnest(%s::int[], %s::bigint[], %s::text[], %s::text[], %s::timestamptz[]) "
    "AS p(number, service_id, task_name, kind, after) "
    f"CROSS JOIN LATERAL (SELECT x.event_id, x.occurred_at, x.received_at {_SOUGHT}) AS f"
)
_FIRST_SQLITE: Final = (
    "SELECT p.number, e.event_id, e.occurred_at, e.received_at FROM ("  # noqa: S608
    "SELECT column1 AS number, column2 AS service_id, column3 AS task_name, column4 AS kind, column5 AS after "
    f"FROM (VALUES {{}})) AS p JOIN {_TABLE} e ON e.id = (SELECT x.id {_SOUGHT})"
)
