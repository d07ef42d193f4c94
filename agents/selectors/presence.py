"""Presence: what the portal knows of an instance beyond its stored verdict — who holds it, and who stopped it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from agents.models import Command, Instance, Session
from agents.models.command import DESTRUCTIVE_KINDS, CommandKind
from agents.models.instance import Connectivity, Dialect
from agents.selectors.targets import TargetState, target_states

# For so long after it was last seen, an identity conflict is told as something that goes on, and after that as past.
CONFLICT_GOES_ON_FOR = timedelta(minutes=2)
CONFLICT_SHOWN_FOR = timedelta(minutes=10)

# Agents of these call and hang up: they are never connected.
WITHOUT_SESSIONS = frozenset({Dialect.ARGUS})

PresenceState: TypeAlias = Literal["online", "unconnected", "offline", "never_reported"]
ConflictState: TypeAlias = Literal["", "now", "past"]


@dataclass(frozen=True, slots=True)
class Presence:
    """`session` is the active one; `drain` the command that drained this very process, `stop` the one that ended it."""

    instance: Instance
    session: Session | None
    last_session: Session | None
    drain: Command | None
    stop: Command | None

    @property
    def state(self) -> PresenceState:
        """The stored verdict, but `unconnected` where that is online and a session should be active and is not."""
        if self.instance.connectivity == Connectivity.ONLINE:
            return "online" if self.session or self.instance.dialect in WITHOUT_SESSIONS else "unconnected"
        return "offline" if self.instance.connectivity == Connectivity.OFFLINE else "never_reported"

    @property
    def is_current(self) -> bool:
        """Whether health and tasks are what is so now, rather than what was so when it was last seen."""
        return self.state == "online"

    @property
    def is_present(self) -> bool:
        """Whether it is online or connected: nobody archives or forgets it then."""
        return self.instance.connectivity == Connectivity.ONLINE or self.session is not None

    @property
    def left_at(self) -> datetime | None:
        """When the last session ended, or None while one is active and where there was none."""
        if self.session or self.last_session is None:
            return None
        return self.last_session.disconnected_at or self.last_session.superseded_at

    @property
    def since(self) -> datetime | None:
        return self.left_at if self.state == "unconnected" else self.instance.connectivity_changed_at

    @property
    def last_heard_at(self) -> datetime | None:
        """When anything came from it: telemetry, or any message of its active session."""
        moments = [self.instance.last_seen_at, self.session.last_message_at if self.session else None]
        return max((moment for moment in moments if moment), default=None)


def presences(instances: Iterable[Instance]) -> list[Presence]:
    """The presence of each instance, in the given order. Three queries at most, whatever the number."""
    states = target_states(instances)
    stops = _stops([state.instance.pk for state in states])
    return [_presence(state, stops.get(state.instance.pk, [])) for state in states]


def presence(instance: Instance) -> Presence:
    return presences([instance])[0]


def present_count(instances: QuerySet[Instance]) -> int:
    """How many of them are online or connected. One query."""
    active = Session.objects.filter(instance=OuterRef("pk"), status=Session.Status.ACTIVE)
    return instances.order_by().filter(Q(connectivity=Connectivity.ONLINE) | Exists(active)).count()


def conflict_state(instance: Instance, *, now: datetime) -> ConflictState:
    """`now` while two processes claim its identity, `past` for a while after, else empty."""
    if instance.conflict_seen_at is None or now - instance.conflict_seen_at > CONFLICT_SHOWN_FOR:
        return ""
    return "now" if now - instance.conflict_seen_at <= CONFLICT_GOES_ON_FOR else "past"


def _stops(instance_ids: list[UUID]) -> dict[UUID, list[Command]]:
    """The commands that stopped each, newest first."""
    if not instance_ids:
        return {}
    found: dict[UUID, list[Command]] = {}
    for command in (
        Command.objects.filter(
            instance__in=instance_ids,
            status=Command.Status.SUCCEEDED,
            kind__in=DESTRUCTIVE_KINDS,
            finished_at__isnull=False,
        )
        .select_related("session")
        .defer("args")
        .order_by("-finished_at")
    ):
        found.setdefault(command.instance_id, []).append(command)
    return found


def _presence(state: TargetState, stops: list[Command]) -> Presence:
    last = state.last_session
    drain = next(
        (
            command
            for command in stops
            if command.kind == CommandKind.DRAIN
            and _is_drained(command.result)
            and _same_process(command, state.instance, last)
        ),
        None,
    )
    stop = None
    if state.session is None and last is not None:
        ended_by = (command for command in stops if command.kind in {CommandKind.SHUTDOWN, CommandKind.RESTART})
        stop = next((each for each in ended_by if each.finished_at and each.finished_at >= last.connected_at), None)
    return Presence(instance=state.instance, session=state.session, last_session=last, drain=drain, stop=stop)


def _is_drained(result: object) -> bool:
    return isinstance(result, dict) and (result.get("drained") is True or result.get("accepting_new_work") is False)


def _same_process(command: Command, instance: Instance, session: Session | None) -> bool:
    """Whether the process that obeyed the command is the one that runs now (or ran last)."""
    if instance.started_at and command.finished_at and command.finished_at < instance.started_at:
        return False
    if command.session is None or session is None:
        return True
    return command.session.process == session.process
