"""Reading and locking the rows that a delivery is about: many sessions in one statement, in SQL of both databases.

SQLite has no row locks, and needs none: its transactions begin with the lock of the whole database.
"""
# ruff: noqa: S608 -- statements are put together from this module's own text; every value is a parameter.

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from django.conf import settings
from django.db import connection, models

from agents.models import Command, Instance, Session
from agents.models.command import DESTRUCTIVE_KINDS, command_public_id
from agents.models.session import session_public_id
from agents.services.deadlines import TIMEOUT_CODE
from controlplane.common.database import any_of, typed_rows

Field: TypeAlias = "models.Field[Any, Any]"

# How many commands one claim hands to one session, and to all sessions together.
CLAIM_BATCH = 50
CLAIM_TOTAL = 500
# A claim ends with the command whose arguments bring it to so many bytes: it is held in memory as a whole.
CLAIM_BYTES = 8_000_000
# For how long after a timeout a result is still asked for.
REPLAY_WINDOW = timedelta(minutes=10)

_PROCESS = ("runtime_hostname", "runtime_pid", "runtime_started_at")
# The process that held the session `o` is the one that holds `s`. NULL equals NULL here, as in Session.process.
_SAME_PROCESS = " AND ".join(
    ["o.id IS NOT NULL"] + [f"(o.{name} = s.{name} OR (o.{name} IS NULL AND s.{name} IS NULL))" for name in _PROCESS]
)
_STOPS = ", ".join(f"'{kind}'" for kind in sorted(DESTRUCTIVE_KINDS))
# What arguments take as JSON, about. Reading what PostgreSQL has compressed would cost milliseconds each: that counts
# as ten times its size.
_ARGS_BYTES = {
    "postgresql": (
        "LEAST(pg_column_size({0}) * CASE WHEN pg_column_compression({0}) IS NULL THEN 1 ELSE 10 END"
        f"::bigint, {settings.COMMAND_ARGS_MAX_BYTES})"
    ),
    "sqlite": "length({0})",
}
_NOT_ON_THIS_SESSION = "(c.session_id IS NULL OR c.session_id <> s.id)"

# Read by claims: see the conditions of contract 3.5 in agents.services.delivery.
_WAITING = "c.status = 'pending' AND c.deadline_at > %s"
_UNANSWERED = f"""
    c.status IN ('pending', 'dispatched', 'accepted') AND c.deadline_at > %s AND {_NOT_ON_THIS_SESSION}
    AND (c.status = 'pending' OR (c.status = 'dispatched' AND c.kind NOT IN ({_STOPS})) OR ({_SAME_PROCESS}))
"""
# The bound of created_at lets the index of an instance's newest commands serve.
_TIMED_OUT = f"""
    c.status = 'timeout' AND c.error_code = '{TIMEOUT_CODE}' AND c.finished_at > %s AND c.created_at > %s
    AND {_NOT_ON_THIS_SESSION} AND {_SAME_PROCESS}
"""


def _fields(model: type[models.Model], names: Iterable[str]) -> tuple[Field, ...]:
    return tuple(field for name in names if isinstance(field := model._meta.get_field(name), models.Field))


@dataclass(frozen=True, slots=True)
class LockedSession:
    """A session as it is now; it cannot end before the transaction does."""

    pk: UUID
    instance_id: UUID
    status: str
    disconnected_at: datetime | None
    accepted_capabilities: list[str]
    service_id: int

    @property
    def public_id(self) -> str:
        return session_public_id(self.pk)


class LockedCommand:
    """The columns of a command that a query read, of Command's names; any other is an AttributeError.

    They may be changed, and written back in the same transaction.
    """

    __slots__ = (
        "ack_status",
        "acked_at",
        "args",
        "args_bytes",
        "created_at",
        "dispatched_at",
        "duration_ms",
        "error_code",
        "error_message",
        "finished_at",
        "id",
        "instance_id",
        "kind",
        "result",
        "session_id",
        "status",
        "task_name",
        "timeout_s",
        "updated_at",
    )

    id: UUID
    instance_id: UUID
    session_id: UUID | None
    kind: str
    args: dict[str, object]
    args_bytes: int
    task_name: str
    timeout_s: int
    status: str
    ack_status: str
    result: object
    duration_ms: int | None
    error_code: str
    error_message: str
    created_at: datetime
    dispatched_at: datetime | None
    acked_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime

    def __init__(self, names: Sequence[str], values: Sequence[Any]) -> None:
        for name, value in zip(names, values, strict=True):
            setattr(self, name, value)

    @property
    def public_id(self) -> str:
        return command_public_id(self.id)

    @property
    def is_open(self) -> bool:
        return self.status in Command.OPEN


_SESSION_COLUMNS = ("id", "instance_id", "status", "disconnected_at", "accepted_capabilities")
_SESSION_FIELDS = (*_fields(Session, _SESSION_COLUMNS), *_fields(Instance, ["service"]))


def lock_sessions(session_ids: Iterable[UUID]) -> dict[UUID, LockedSession]:
    """These sessions, by id.

    KEY SHARE waits for nobody but those who end sessions, who must hold the rows FOR UPDATE, locked in order of id.
    """
    among, ids = _among("s.id", session_ids)
    rows = typed_rows(
        f"SELECT {_listed('s', _SESSION_COLUMNS)}, i.service_id "
        "FROM agents_session s JOIN agents_instance i ON i.id = s.instance_id "
        f"WHERE {among} ORDER BY s.id {_locking('FOR KEY SHARE OF s')}",
        ids,
        _SESSION_FIELDS,
    )
    return {row[0]: LockedSession(*row) for row in rows}


_ANSWERED = (
    "id",
    "instance_id",
    "kind",
    "task_name",
    "status",
    "ack_status",
    "acked_at",
    "created_at",
    "finished_at",
    "result",
    "duration_ms",
    "error_code",
    "error_message",
)


def lock_commands(command_ids: Iterable[UUID]) -> dict[UUID, LockedCommand]:
    """What an answer is judged by, of these commands; the rows stay locked. The arguments are left behind."""
    among, ids = _among("c.id", command_ids)
    found = _commands(
        f"SELECT {_listed('c', _ANSWERED)} FROM agents_command c "
        f"WHERE {among} ORDER BY c.id {_locking('FOR NO KEY UPDATE')}",
        ids,
        _ANSWERED,
    )
    return {command.id: command for command in found}


_DISPATCHED = ("id", "instance_id", "session_id", "kind", "args", "task_name", "timeout_s", "created_at")


def dispatch_waiting(session_ids: Iterable[UUID], now: datetime) -> list[LockedCommand]:
    """Mark what waits for these sessions as dispatched; returns what is to be sent, in no order."""
    columns = "c.id, c.created_at, c.args, s.id AS session_id"
    picked, parameters = _oldest_of_each(session_ids, columns, _WAITING, [_stored(now)])
    return _commands(
        "UPDATE agents_command SET status = 'dispatched', session_id = p.session_id, dispatched_at = %s, "
        f"updated_at = %s FROM ({picked}) AS p WHERE agents_command.id = p.id "
        f"RETURNING {_listed('agents_command', _DISPATCHED)}, {_args_bytes('agents_command.args')}",
        [_stored(now), _stored(now), *parameters],
        _DISPATCHED,
        "args_bytes",
    )


_SENT = (*_DISPATCHED, "status", "dispatched_at", "finished_at", "error_code", "error_message")


def is_full(claimed: Sequence[LockedCommand]) -> bool:
    """Whether these commands, of one claim, came to a bound of all sessions together, so that more may wait."""
    return len(claimed) >= CLAIM_TOTAL or sum(command.args_bytes for command in claimed) >= CLAIM_BYTES


def lock_unanswered(session_ids: Iterable[UUID], now: datetime) -> list[LockedCommand]:
    """What is open and was not sent on these sessions, of what may come again on them; locked, oldest first."""
    return _pick(session_ids, _UNANSWERED, [_stored(now)])


def lock_timed_out(session_ids: Iterable[UUID], now: datetime) -> list[LockedCommand]:
    """What the same processes accepted and the portal lately gave up waiting for; locked, oldest first."""
    since = now - REPLAY_WINDOW
    created_since = since - timedelta(seconds=settings.COMMAND_TIMEOUT_MAX_S)
    return _pick(session_ids, _TIMED_OUT, [_stored(since), _stored(created_since)])


def _pick(session_ids: Iterable[UUID], condition: str, parameters: list[object]) -> list[LockedCommand]:
    oldest, parameters = _oldest_of_each(session_ids, _listed("c", _SENT), condition, parameters)
    statement = f"SELECT {', '.join(_SENT)}, args_bytes FROM ({oldest}) AS p ORDER BY created_at, id"
    return _commands(statement, parameters, _SENT, "args_bytes")


def _commands(
    statement: str, parameters: Sequence[object], columns: tuple[str, ...], *computed: str
) -> list[LockedCommand]:
    """The commands of a statement that gives these columns of theirs, and then computed numbers."""
    names = (*columns, *computed)
    fields = _fields(Command, columns) + (None,) * len(computed)
    return [LockedCommand(names, row) for row in typed_rows(statement, parameters, fields)]


def _oldest_of_each(
    session_ids: Iterable[UUID], columns: str, condition: str, parameters: list[object]
) -> tuple[str, list[object]]:
    """A query for the oldest commands `c` of the instance of each session `s`, within the bounds of a claim.

    `columns` must hold `c.id`, `c.created_at` and `c.args`; `args_bytes` is added. `o` is the session that the command
    was last sent on. Rows that others have locked are passed over: they are being answered, cancelled or expired.
    """
    among, ids = _among("id", session_ids)
    sessions = f"(SELECT * FROM agents_session WHERE {among}) AS s"
    last_sent = "LEFT JOIN agents_session o ON o.id = c.session_id"
    if connection.vendor == "postgresql":
        # One short index scan per session, which stops at the limit.
        each = (
            f"SELECT {columns} FROM agents_command c {last_sent} WHERE c.instance_id = s.instance_id AND {condition} "
            f"ORDER BY c.created_at, c.id LIMIT {CLAIM_BATCH} FOR NO KEY UPDATE OF c SKIP LOCKED"
        )
        found = f"SELECT w.* FROM {sessions} CROSS JOIN LATERAL ({each}) AS w"
    else:
        ranked = (
            f"SELECT {columns}, ROW_NUMBER() OVER (PARTITION BY s.id ORDER BY c.created_at, c.id) AS place "
            f"FROM {sessions} JOIN agents_command c ON c.instance_id = s.instance_id {last_sent} WHERE {condition}"
        )
        found = f"SELECT * FROM ({ranked}) AS w WHERE w.place <= {CLAIM_BATCH}"
    oldest = f"{found} ORDER BY w.created_at, w.id LIMIT {CLAIM_TOTAL}"
    taken = _args_bytes("args")
    summed = (
        f"SELECT f.*, {taken} AS args_bytes, SUM({taken}) OVER (ORDER BY created_at, id ROWS UNBOUNDED PRECEDING) "
        f"AS bytes_so_far FROM ({oldest}) AS f"
    )
    # The oldest is always among them, whatever it takes.
    within = f"SELECT * FROM ({summed}) AS b WHERE bytes_so_far - args_bytes < {CLAIM_BYTES}"
    return within, [*ids, *parameters]


def _listed(table: str, columns: Iterable[str]) -> str:
    return ", ".join(f"{table}.{name}" for name in columns)


def _args_bytes(column: str) -> str:
    return _ARGS_BYTES[connection.vendor].format(column)


def _among(column: str, ids: Iterable[UUID]) -> tuple[str, list[Any]]:
    """A condition for any of these ids, with its parameters."""
    condition, parameters = any_of(list(ids))
    return f"{column} {condition}", parameters


def _locking(clause: str) -> str:
    return clause if connection.features.has_select_for_update else ""


def _stored(moment: datetime) -> object:
    return connection.ops.adapt_datetimefield_value(moment)
