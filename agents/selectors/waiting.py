"""Why a command that is under way is not finished: one answer, from what the rows say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias
from uuid import UUID

from django.conf import settings

from agents.models import Command, Replica, Session
from agents.models.command import DESTRUCTIVE_KINDS
from agents.selectors.targets import TargetState, target_states

# Of the commands of one page that wait for the same instances, so many are looked at to find who comes first.
AHEAD_MAX: Final = 1000

WaitCause: TypeAlias = Literal[
    "overdue",
    "leaving",
    "no_session",
    "holder_stopped",
    "holder_silent",
    "behind_others",
    "not_taken",
    "not_claimed",
    "no_answer",
    "sent_and_gone",
    "stop_and_gone",
    "running",
    "running_unseen",
]


@dataclass(frozen=True, slots=True)
class Wait:
    """`since` is when this cause began, `ahead` how many commands go first; `replica` holds the session, if one does.

    `last_session` is the one that ended, where none is active.
    """

    cause: WaitCause
    since: datetime
    until: datetime
    replica: Replica | None = None
    last_session: Session | None = None
    ahead: int = 0


def why_waiting(command: Command, *, now: datetime) -> Wait | None:
    """Why the command, which comes with its instance, is not finished; None for one that is. Four queries at most."""
    return waits([command], now=now).get(command.pk)


def waits(
    commands: Iterable[Command], *, now: datetime, states: Mapping[UUID, TargetState] | None = None
) -> dict[UUID, Wait]:
    """The same for many, by command; finished ones are left out. Four queries at most, none where all are finished.

    `states` spares the two or three for the instances, by instance. Without it commands come with theirs.
    """
    found = [command for command in commands if command.is_open]
    if not found:
        return {}
    if states is None:
        instances = {command.instance_id: command.instance for command in found}
        states = {state.instance.pk: state for state in target_states(instances.values())}
    ahead = _ahead([command for command in found if command.status == Command.Status.PENDING], states)
    return {
        command.pk: _wait(command, states[command.instance_id], ahead.get(command.pk, 0), now)
        for command in found
        if command.instance_id in states
    }


def _ahead(pending: list[Command], states: Mapping[UUID, TargetState]) -> dict[UUID, int]:
    """How many pending commands of the same instance are older, where the instance could take them."""
    connected = {command.instance_id for command in pending if states[command.instance_id].session}
    if not connected:
        return {}
    counts: dict[UUID, int] = {}
    seen: dict[UUID, int] = {}
    waiting = Command.objects.filter(instance__in=connected, status=Command.Status.PENDING)
    for pk, instance_id in waiting.order_by("created_at", "pk").values_list("pk", "instance_id")[:AHEAD_MAX]:
        counts[pk] = seen.get(instance_id, 0)
        seen[instance_id] = counts[pk] + 1
    # What is not among them has at least all of these before it.
    return {command.pk: counts.get(command.pk, seen.get(command.instance_id, 0)) for command in pending}


def _wait(command: Command, state: TargetState, ahead: int, now: datetime) -> Wait:
    until, session = command.deadline_at, state.session
    if until <= now:
        return Wait("overdue", until, until)
    replica = session.replica if session else None
    gone = None if session else state.last_session
    if command.status == Command.Status.ACCEPTED:
        at = command.acked_at or command.updated_at
        if session is not None and session.pk == command.session_id:
            return Wait("running", at, until, replica)
        return Wait("running_unseen", _left(command, state), until, replica, gone)
    if command.status == Command.Status.DISPATCHED:
        if session is not None and session.pk == command.session_id:
            return Wait("no_answer", command.dispatched_at or command.updated_at, until, replica)
        cause: WaitCause = "stop_and_gone" if command.kind in DESTRUCTIVE_KINDS else "sent_and_gone"
        return Wait(cause, _left(command, state), until, replica, gone)
    if state.is_leaving:
        return Wait("leaving", state.instance.forget_requested_at or command.created_at, until)
    if session is None:
        return Wait("no_session", _left(command, state), until, None, gone)
    return _unclaimed(command, replica, ahead, now)


def _unclaimed(command: Command, replica: Replica | None, ahead: int, now: datetime) -> Wait:
    until = command.deadline_at
    if replica is None or replica.stopped_at is not None:
        stopped_at = replica.stopped_at if replica else None
        return Wait("holder_stopped", max(command.created_at, stopped_at or command.created_at), until, replica)
    if now - replica.last_seen_at > timedelta(seconds=settings.REPLICA_DEAD_AFTER_S):
        return Wait("holder_silent", replica.last_seen_at, until, replica)
    if ahead:
        return Wait("behind_others", command.created_at, until, replica, ahead=ahead)
    # A hint or the poll has come by then: the holder claims nothing for a socket that does not take what it got.
    is_late = now - command.created_at > timedelta(seconds=3 * settings.HINT_POLL_S)
    return Wait("not_taken" if is_late else "not_claimed", command.created_at, until, replica)


def _left(command: Command, state: TargetState) -> datetime:
    """Since when the session that mattered is gone; not before the command was there."""
    last = state.last_session
    ended_at = (last.disconnected_at or last.superseded_at) if last and not state.session else None
    return max(command.created_at, ended_at or command.dispatched_at or command.created_at)
