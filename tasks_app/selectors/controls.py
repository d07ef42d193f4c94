"""What the instances of a service say of their tasks, and what each would obey.

A service may have thousands of instances, and each page of its tasks reads all of them: rows are plain, and JSON is
decoded only as far as it is used.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Func, OuterRef, Subquery, TextField
from django.db.models.functions import Cast
from django.db.models.sql.compiler import SQLCompiler

from agents.models import Instance, Service, Session
from agents.models.command import TASK_KINDS, CommandKind
from agents.models.instance import Connectivity
from agents.selectors.instances import kept

# Offered while an instance has not yet said what its task supports: those that every agent knows.
UNKNOWN_STATE_KINDS: Final = frozenset({CommandKind.PAUSE_TASK, CommandKind.RESUME_TASK, CommandKind.RESTART_TASK})
TASK_KINDS_IN_ORDER: Final = tuple(kind for kind in CommandKind if kind in TASK_KINDS)


class ControlState(msgspec.Struct, frozen=True, gc=False):
    """What one instance said of one of its tasks with its last heartbeat. Source: contract 2.2."""

    task_name: str
    supported_commands: tuple[str, ...] = ()
    pause_requested: bool | None = None
    paused: bool | None = None
    accepting_new_work: bool | None = None
    runner_count: int | None = None
    parked_runner_count: int | None = None
    fetching_runner_count: int | None = None
    inflight_task_count: int | None = None


_decode_states = msgspec.json.Decoder(list[ControlState]).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode


@dataclass(frozen=True, slots=True)
class Controls:
    """One instance and what it says of its tasks, by name. `accepted` is None where no session is active."""

    instance_id: UUID
    node_name: str
    connectivity: str
    health: str
    last_seen_at: datetime | None
    states: Mapping[str, ControlState]
    accepted: frozenset[str] | None

    def supported(self, task_name: str) -> tuple[str, ...]:
        """What it would obey if it is online with an active session: the task's list within the session's."""
        if self.connectivity != Connectivity.ONLINE or self.accepted is None:
            return ()
        state = self.states.get(task_name)
        offered = UNKNOWN_STATE_KINDS if state is None else state.supported_commands
        return _obeyed(offered, self.accepted)


@lru_cache(maxsize=1024)
def _obeyed(offered: frozenset[CommandKind] | tuple[str, ...], accepted: frozenset[str]) -> tuple[str, ...]:
    """Most instances of a service offer and accept the same: thousands share one answer."""
    return tuple(kind.value for kind in TASK_KINDS_IN_ORDER if kind in offered and f"command.{kind.value}" in accepted)


@dataclass(frozen=True, slots=True)
class ControlSummary:
    """What all online instances say of one task. `pause_requested` is None where none said anything."""

    pause_requested: bool | None
    supported_commands: list[str]


class _EntriesOf(Func):
    """Of what an instance said of its tasks, as text: no more than what it said of one of them, where that is cheap."""

    output_field = TextField()
    template = "CAST(%(expressions)s AS text)"

    def __init__(self, task_name: str) -> None:
        super().__init__(F("task_controls__controls"))
        self._task_name = task_name

    def as_postgresql(
        self,
        compiler: SQLCompiler,
        connection: BaseDatabaseWrapper,  # noqa: ARG002 -- Django gives it
        **context: Any,  # noqa: ARG002
    ) -> tuple[str, Any]:
        said, parameters = compiler.compile(self.source_expressions[0])
        path = "$[*] ? (@.task_name == $name)"
        return (
            f"jsonb_path_query_array({said}, %s, jsonb_build_object('name', %s::text))::text",
            (*parameters, path, self._task_name),
        )


def instance_controls(service: Service, *, online_only: bool, task_name: str | None = None) -> list[Controls]:
    """What each instance of a service that is not archived says, by node name. One query.

    With a `task_name` at least what it says of that: most of what thousands say is of other tasks, and would take
    longer to arrive than all the rest.
    """
    rows = kept().filter(service=service)
    if online_only:
        rows = rows.filter(connectivity=Connectivity.ONLINE)
    # One look into an index for each: to join them, PostgreSQL would read the active sessions of the whole fleet.
    active = Session.objects.filter(instance=OuterRef("pk"), status=Session.Status.ACTIVE)
    found = rows.order_by("node_name", "id").values_list(
        "id",
        "node_name",
        "connectivity",
        "health",
        # As text too: psycopg takes ten times as long to make an aware datetime as the parser of Python.
        Cast("last_seen_at", TextField()),
        Cast("task_controls__controls", TextField()) if task_name is None else _EntriesOf(task_name),
        Subquery(active.values(accepted=Cast("accepted_capabilities", TextField()))[:1]),
    )
    # Instances of one service accept the same, mostly, and say the same while they are idle.
    accepted: dict[str, frozenset[str]] = {}
    said: dict[str, Mapping[str, ControlState]] = {}
    made = []
    for instance_id, node_name, connectivity, health, last_seen_at, states, capabilities in found:
        if capabilities is not None and capabilities not in accepted:
            accepted[capabilities] = frozenset(_decode_texts(capabilities))
        if states is not None and states not in said:
            said[states] = _states(states)
        known, allowed = said.get(states, {}), accepted.get(capabilities)
        seen_at = None if last_seen_at is None else _moment(last_seen_at)
        made.append(Controls(instance_id, node_name, connectivity, health, seen_at, known, allowed))
    return made


def _moment(stored: str) -> datetime:
    """A stored time; SQLite keeps UTC without saying so, as PostgreSQL says it within a connection of Django."""
    moment = datetime.fromisoformat(stored)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _states(stored: str) -> dict[str, ControlState]:
    try:
        return {state.task_name: state for state in _decode_states(stored)}
    except msgspec.ValidationError:
        # Of an agent of long ago, or by another hand: as if it had said nothing.
        return {}


def control_summary(online: Iterable[Controls], task_name: str) -> ControlSummary:
    """What these online instances say of the task together. Source: contract 4.3."""
    known = [state for each in online if (state := each.states.get(task_name)) is not None]
    supported = {kind for each in online for kind in each.supported(task_name)}
    return ControlSummary(
        any(state.pause_requested for state in known) if known else None,
        [kind.value for kind in TASK_KINDS_IN_ORDER if kind.value in supported],
    )


def control_entries(instance: Instance) -> list[dict[str, Any]]:
    """The control entries of the instance's last heartbeat, as they came; empty where it had none."""
    stored = getattr(instance, "task_controls", None)
    entries = stored.controls if stored is not None else []
    return [entry for entry in entries if isinstance(entry, dict)]
