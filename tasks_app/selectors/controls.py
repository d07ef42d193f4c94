"""What the instances of a service say of one task, and what each would obey."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import QuerySet

from agents.models import Instance, Service, Session
from agents.models.command import TASK_KINDS, CommandKind
from agents.models.instance import Connectivity
from agents.selectors.instances import with_active_session

# Offered while an instance has not yet said what its task supports: those that every agent knows.
UNKNOWN_STATE_KINDS: Final = frozenset({CommandKind.PAUSE_TASK, CommandKind.RESUME_TASK, CommandKind.RESTART_TASK})
TASK_KINDS_IN_ORDER: Final = tuple(kind for kind in CommandKind if kind in TASK_KINDS)


@dataclass(frozen=True, slots=True)
class TaskControl:
    """One instance and one task. `state` is the control entry of the last heartbeat, empty where it had none."""

    instance: Instance
    session: Session | None
    task_name: str
    state: Mapping[str, Any]

    @property
    def is_online(self) -> bool:
        return self.instance.connectivity == Connectivity.ONLINE

    @property
    def state_known(self) -> bool:
        return bool(self.state)

    @property
    def supported_commands(self) -> list[str]:
        """What an online instance with an active session would obey: the task's list within the session's."""
        if not self.is_online or self.session is None:
            return []
        offered = self.state.get("supported_commands", []) if self.state_known else UNKNOWN_STATE_KINDS
        accepted = set(self.session.accepted_capabilities)
        return [kind.value for kind in TASK_KINDS_IN_ORDER if kind in offered and f"command.{kind.value}" in accepted]


def instances_with_controls(service: Service, *, online_only: bool) -> list[Instance]:
    """The instances of a service with task_controls and active_sessions, by node name. Two queries."""
    rows: QuerySet[Instance] = service.instances.select_related("task_controls").order_by("node_name", "id")
    if online_only:
        rows = rows.filter(connectivity=Connectivity.ONLINE)
    return list(with_active_session(rows))


def task_controls(instances: Iterable[Instance], task_name: str) -> list[TaskControl]:
    """What each of these instances (from `instances_with_controls`) says of the task; no query."""
    return [
        TaskControl(
            instance,
            next(iter(getattr(instance, "active_sessions", [])), None),
            task_name,
            next((entry for entry in control_entries(instance) if entry.get("task_name") == task_name), {}),
        )
        for instance in instances
    ]


def control_entries(instance: Instance) -> list[dict[str, Any]]:
    """The control entries of the instance's last heartbeat; empty where it had none."""
    stored = getattr(instance, "task_controls", None)
    entries = stored.controls if stored is not None else []
    return [entry for entry in entries if isinstance(entry, dict)]
