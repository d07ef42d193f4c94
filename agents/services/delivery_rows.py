"""Reading and locking the rows that a delivery is about: many sessions in one statement, in SQL of both databases.

SQLite has no row locks, and needs none: its transactions begin with the lock of the whole database.
"""
# ruff: noqa: S608 -- statements are put together from this module's own text; every value is a parameter.

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection

from agents.models import Command, Session
from agents.models.command import DESTRUCTIVE_KINDS
from agents.services.deadlines import TIMEOUT_CODE

# How many commands one claim hands to one session, and to all sessions together.
CLAIM_BATCH = 50
CLAIM_TOTAL = 500
# For how long after a timeout a result is still asked for.
REPLAY_WINDOW = timedelta(minutes=10)

_PROCESS = ("runtime_hostname", "runtime_pid", "runtime_started_at")
# The process that held the session `o` is the one that holds `s`. NULL equals NULL here, as in Session.process.
_SAME_PROCESS = " AND ".join(
    ["o.id IS NOT NULL"] + [f"(o.{name} = s.{name} OR (o.{name} IS NULL AND s.{name} IS NULL))" for name in _PROCESS]
)
_STOPS = ", ".join(f"'{kind}'" for kind in sorted(DESTRUCTIVE_KINDS))
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


@dataclass(frozen=True, slots=True)
class LockedSession:
    """A session as it is now; it cannot end before the transaction does."""

    pk: UUID
    instance_id: UUID
    service_id: int
    status: str
    disconnected_at: datetime | None
    accepted_capabilities: list[str]

    @property
    def public_id(self) -> str:
        return Session(id=self.pk).public_id


def lock_sessions(session_ids: Iterable[UUID]) -> dict[UUID, LockedSession]:
    """These sessions, by id.

    KEY SHARE waits for nobody but those who end sessions, who must hold the rows FOR UPDATE, locked in order of id.
    """
    among, ids = _among("s.id", session_ids)
    found = Session.objects.raw(
        "SELECT s.id, s.instance_id, s.status, s.disconnected_at, s.accepted_capabilities, i.service_id AS of_service "
        "FROM agents_session s JOIN agents_instance i ON i.id = s.instance_id "
        f"WHERE {among} ORDER BY s.id {_locking('FOR KEY SHARE OF s')}",
        ids,
    )
    return {
        session.pk: LockedSession(
            session.pk,
            session.instance_id,
            session.__dict__["of_service"],
            session.status,
            session.disconnected_at,
            session.accepted_capabilities,
        )
        for session in found
    }


def lock_commands(command_ids: Iterable[UUID]) -> dict[UUID, Command]:
    """What an answer is judged by, of these commands; the rows stay locked. The arguments are left behind."""
    among, ids = _among("c.id", command_ids)
    found = Command.objects.raw(
        "SELECT c.id, c.instance_id, c.kind, c.task_name, c.status, c.ack_status, c.acked_at, c.created_at, "
        "c.finished_at, c.result, c.duration_ms, c.error_code, c.error_message FROM agents_command c "
        f"WHERE {among} ORDER BY c.id {_locking('FOR NO KEY UPDATE')}",
        ids,
    )
    return {command.pk: command for command in found}


def dispatch_waiting(session_ids: Iterable[UUID], now: datetime) -> list[Command]:
    """Mark what waits for these sessions as dispatched; returns what is to be sent, in no order."""
    columns = "c.id, c.created_at, s.id AS session_id"
    picked, parameters = _oldest_of_each(session_ids, columns, _WAITING, [_stored(now)])
    claimed = Command.objects.raw(
        "UPDATE agents_command SET status = 'dispatched', session_id = p.session_id, dispatched_at = %s, "
        f"updated_at = %s FROM ({picked}) AS p WHERE agents_command.id = p.id "
        "RETURNING agents_command.id, instance_id, agents_command.session_id, kind, args, task_name, timeout_s, "
        "agents_command.created_at",
        [_stored(now), _stored(now), *parameters],
    )
    return list(claimed)


_SENT = (
    "c.id, c.instance_id, c.session_id, c.kind, c.args, c.task_name, c.timeout_s, c.created_at, c.status, "
    "c.dispatched_at, c.finished_at, c.error_code, c.error_message"
)


def lock_unanswered(session_ids: Iterable[UUID], now: datetime) -> list[Command]:
    """What is open and was not sent on these sessions, of what may come again on them; locked, oldest first."""
    return _pick(session_ids, _UNANSWERED, [_stored(now)])


def lock_timed_out(session_ids: Iterable[UUID], now: datetime) -> list[Command]:
    """What the same processes accepted and the portal lately gave up waiting for; locked, oldest first."""
    since = now - REPLAY_WINDOW
    created_since = since - timedelta(seconds=settings.COMMAND_TIMEOUT_MAX_S)
    return _pick(session_ids, _TIMED_OUT, [_stored(since), _stored(created_since)])


def _pick(session_ids: Iterable[UUID], condition: str, parameters: list[object]) -> list[Command]:
    return list(Command.objects.raw(*_oldest_of_each(session_ids, _SENT, condition, parameters)))


def _oldest_of_each(
    session_ids: Iterable[UUID], columns: str, condition: str, parameters: list[object]
) -> tuple[str, list[object]]:
    """A query for the oldest commands `c` of the instance of each session `s`, within the bounds of a claim.

    `columns` must hold `c.id` and `c.created_at`. `o` is the session that the command was last sent on. Rows that
    others have locked are passed over: they are being answered, cancelled or expired.
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
    return f"{found} ORDER BY w.created_at, w.id LIMIT {CLAIM_TOTAL}", [*ids, *parameters]


def _among(column: str, ids: Iterable[UUID]) -> tuple[str, list[object]]:
    """A condition for any of these ids, with its parameters."""
    if connection.vendor == "postgresql":
        return f"{column} = ANY(%s)", [list(ids)]
    stored = [found.hex for found in ids]
    return f"{column} IN ({', '.join(['%s'] * len(stored))})", [*stored]


def _locking(clause: str) -> str:
    return clause if connection.features.has_select_for_update else ""


def _stored(moment: datetime) -> object:
    return connection.ops.adapt_datetimefield_value(moment)
