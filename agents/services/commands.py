"""Commands: from the order to the result. Status moves by conditional update only; each move writes its event.

    pending → dispatched → accepted → succeeded | failed | timeout | cancelled
    pending, dispatched → expired | rejected;  pending → cancelled

The row is the truth: creating one hints the process that holds the session, and that process reads what is pending
from the database. Deadlines are one indexed column swept by a background job. Texts that are stored stay English and
are translated where they are shown.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Literal
from uuid import UUID

from django.db import transaction
from django.utils import timezone, translation
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from agents.models import Command, FanOut, FanOutTarget, Instance, Service
from agents.models.command import CommandKind
from agents.models.event import EventKind
from agents.models.instance import Dialect
from agents.selectors.targets import TargetState, order_states
from agents.services.errors import CommandNotPending, CommandRefused, CommandUnknown
from agents.services.events import NewEvent, command_event, record_events
from agents.services.orders import Order
from controlplane.common.actors import Actor
from controlplane.common.bulk import insert_all
from controlplane.common.hints import hint_replicas
from controlplane.common.joining import Joiner

Outcome = Literal["dispatched", "queued", "skipped", "rejected"]
Status = Command.Status

# Of the others no gateway carries any.
COMMANDED_DIALECTS = frozenset({Dialect.ONESTEP})
UNDELIVERED = (Status.PENDING, Status.DISPATCHED)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an instance cannot take an order: a stable code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Target:
    """What became of an order at one instance. `command` is None where none was made."""

    instance: Instance
    session_id: UUID | None
    outcome: Outcome
    refusal: Refusal | None = None
    command: Command | None = None

    @property
    def reason_code(self) -> str | None:
        return self.refusal.code if self.refusal else None

    @property
    def reason_message(self) -> str | None:
        return self.refusal.message if self.refusal else None


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order for instances. `refusals` are reasons of a higher layer against single ones.

    `language` is that of whoever reads why an instance cannot take it. `fan_out` is the unsaved row under which the
    order and its targets are kept; None for an order that is nothing but its command.
    """

    instance_ids: Sequence[UUID]
    order: Order
    actor: Actor
    refusals: Mapping[UUID, Refusal] = field(default_factory=dict)
    language: str | None = field(default_factory=get_language)
    fan_out: FanOut | None = None


def queue_commands(
    instance_ids: Sequence[UUID],
    order: Order,
    *,
    actor: Actor,
    refusals: Mapping[UUID, Refusal] | None = None,
    fan_out: FanOut | None = None,
) -> list[Target]:
    """Make one command per instance that can take the order now or, if the order may be held, later.

    The order must have been validated. Returns a target per instance that exists, in the given order. Orders of the
    same moment share their statements and their commit. `fan_out` is stored in the same transaction, see
    `new_fan_out`.
    """
    return _queue_joined(Ordered(instance_ids, order, actor, refusals or {}, fan_out=fan_out))


def expected_targets(
    instance_ids: Sequence[UUID], order: Order, *, actor: Actor, refusals: Mapping[UUID, Refusal] | None = None
) -> list[Target]:
    """What `queue_commands` would answer now, with nothing made: the targets are without commands."""
    ordered = Ordered(instance_ids, order, actor, refusals or {})
    return _targets(ordered, order_states(instance_ids, with_last_session=order.hold))


@transaction.atomic
def queue_orders(ordered: Sequence[Ordered]) -> list[list[Target]]:
    """The targets of each order, with their commands made: see `queue_commands`.

    Three statements, whatever the number of orders and instances; a fourth where an order may be held, and three more
    where a fan-out is kept.
    """
    now = timezone.now()
    instance_ids = dict.fromkeys(instance_id for each in ordered for instance_id in each.instance_ids)
    states = order_states(list(instance_ids), with_last_session=any(each.order.hold for each in ordered))
    queued = [_targets(each, states, now) for each in ordered]
    targets = [target for found in queued for target in found]
    # The keys of the instances are locked in one order, whoever asks for them.
    commands = sorted((target.command for target in targets if target.command), key=attrgetter("instance_id"))
    insert_all(Command, _COLUMNS, [_row(command) for command in commands])
    actors = {
        target.command.pk: each.actor
        for each, found in zip(ordered, queued, strict=True)
        for target in found
        if target.command
    }
    record_events(_act(command, EventKind.COMMAND_QUEUED, now, actors[command.pk]) for command in commands)
    _store_fan_outs([(each.fan_out, found) for each, found in zip(ordered, queued, strict=True) if each.fan_out], now)
    holders = {
        (session.replica_id, target.instance.pk)
        for target in targets
        if target.outcome == "dispatched"
        and (session := states[target.instance.pk].session) is not None
        and session.replica_id
    }
    transaction.on_commit(lambda: _hint_holders(holders), robust=True)
    return queued


_queue_joined = Joiner(queue_orders, batch_size=100)


def _targets(ordered: Ordered, states: Mapping[UUID, TargetState], now: datetime | None = None) -> list[Target]:
    """With a time, those that take the order have a command of that time; it is not stored."""
    targets = []
    with translation.override(ordered.language):
        for instance_id in ordered.instance_ids:
            if (state := states.get(instance_id)) is None:
                continue
            outcome, refusal = _decide(state, ordered.order, ordered.refusals.get(instance_id))
            takes = outcome in {"dispatched", "queued"}
            command = _new_command(state.instance, ordered.order, ordered.actor, now) if takes and now else None
            session_id = state.session.pk if state.session else None
            targets.append(Target(state.instance, session_id, outcome, refusal, command))
    return targets


_COLUMNS = tuple(field.attname for field in Command._meta.concrete_fields)
_row = attrgetter(*_COLUMNS)
_FAN_OUT_COLUMNS = tuple(field.attname for field in FanOut._meta.concrete_fields)
_fan_out_row = attrgetter(*_FAN_OUT_COLUMNS)
_TARGET_COLUMNS = ("fan_out_id", "instance_id", "outcome", "reason_code", "command_id")


def new_fan_out(order: Order, *, actor: Actor, mode: str, **fields: Any) -> FanOut:
    """An unsaved FanOut of this order; `fields` say what its targets were chosen by.

    Its `environments` hold where nobody is meant: those of its targets take their place when it is stored.
    """
    return FanOut(
        kind=order.kind,
        args=order.args,
        task_name=order.task_name,
        target_mode=mode,
        reason=order.reason,
        holds=order.hold,
        timeout_s=order.timeout_s,
        created_by_id=actor.user_id,
        created_by_name=actor.name,
        **fields,
    )


def _store_fan_outs(made: Sequence[tuple[FanOut, Sequence[Target]]], now: datetime) -> None:
    rows = []
    service_ids = {target.instance.service_id for _fan_out, targets in made for target in targets}
    environments = dict(Service.objects.filter(pk__in=service_ids).values_list("pk", "environment"))
    for fan_out, targets in made:
        fan_out.created_at = now
        if targets:
            fan_out.environments = sorted({environments[target.instance.service_id] for target in targets})
        for outcome, count in Counter(target.outcome for target in targets).items():
            setattr(fan_out, outcome, count)
        rows += [
            (
                fan_out.pk,
                target.instance.pk,
                target.outcome,
                target.reason_code or "",
                target.command.pk if target.command else None,
            )
            for target in targets
        ]
    insert_all(FanOut, _FAN_OUT_COLUMNS, [_fan_out_row(fan_out) for fan_out, _targets_of in made])
    insert_all(FanOutTarget, _TARGET_COLUMNS, rows)


def _hint_holders(holders: Iterable[tuple[UUID, UUID]]) -> None:
    by_replica: dict[UUID, list[UUID]] = {}
    for replica_id, instance_id in holders:
        by_replica.setdefault(replica_id, []).append(instance_id)
    for replica_id, instance_ids in by_replica.items():
        hint_replicas([replica_id], instance_ids)


def refused(target: Target) -> CommandRefused:
    """The error that a single-instance request answers with where no command was made."""
    refusal = target.refusal or Refusal("command_refused", "")
    return CommandRefused(refusal.message, code=refusal.code)


def _decide(state: TargetState, order: Order, refusal: Refusal | None) -> tuple[Outcome, Refusal | None]:
    """Source: contract 3.2 and 3.3."""
    dialect = state.instance.dialect
    if dialect not in COMMANDED_DIALECTS:
        message = _("Instances of the dialect %s take no commands.") % Dialect(dialect).label
        return "rejected", Refusal("dialect_without_commands", message)
    if state.is_leaving:
        return "rejected", Refusal("instance_being_forgotten", _("This instance is being forgotten."))
    session = state.session or (state.last_session if order.hold else None)
    if session is None:
        if order.hold:
            return "rejected", Refusal(
                "no_known_session", _("This instance never had a session, so what it can do is unknown.")
            )
        return "skipped", Refusal("no_active_session", _("There is no active control session for this instance."))
    if not accepts(session.accepted_capabilities, order.kind):
        capability = f"command.{order.kind}"
        message = _("The session of this instance did not offer the capability %s.") % capability
        return "rejected", Refusal("missing_capability", message)
    if refusal is not None:
        return "rejected", refusal
    if state.session is None:
        return "queued", Refusal("no_active_session", _("Waits until the instance connects again."))
    if state.is_live:
        return "dispatched", None
    no_live = Refusal("no_live_connection", _("There is no live control connection to this instance."))
    return ("queued" if order.hold else "skipped"), no_live


def accepts(capabilities: Container[str], kind: str) -> bool:
    """Whether these capabilities of a session hold the one that the kind needs."""
    return f"command.{kind}" in capabilities


def _new_command(instance: Instance, order: Order, actor: Actor, now: datetime) -> Command:
    return Command(
        instance=instance,
        service_id=instance.service_id,
        kind=order.kind,
        args=order.args,
        task_name=order.task_name,
        timeout_s=order.timeout_s,
        delivery_mode=Command.DeliveryMode.HOLD if order.hold else Command.DeliveryMode.NOW_ONLY,
        deadline_at=now + timedelta(seconds=order.timeout_s),
        reason=order.reason,
        source_surface=order.surface,
        created_by_id=actor.user_id,
        created_by_name=actor.name,
        created_at=now,
        updated_at=now,
    )


@transaction.atomic
def cancel_command(command_id: UUID, *, actor: Actor) -> Command:
    """Cancel a command that was not sent yet. Raises CommandUnknown, or CommandNotPending once it was sent."""
    now = timezone.now()
    changed = Command.objects.filter(pk=command_id, status=Status.PENDING).update(
        status=Status.CANCELLED, finished_at=now, updated_at=now, error_code="command_cancelled"
    )
    command = Command.objects.select_related("instance", "session").filter(pk=command_id).first()
    if command is None:
        raise CommandUnknown
    if not changed:
        raise CommandNotPending(
            _("This command is %s; only a pending command can be cancelled.") % command.get_status_display()
        )
    record_events([_act(command, EventKind.COMMAND_CANCELLED, now, actor)])
    return command


@transaction.atomic
def cancel_waiting(fan_out: FanOut, *, actor: Actor) -> int:
    """Cancel those commands of a fan-out that were not sent yet; returns how many. Four statements, however many."""
    now = timezone.now()
    waiting = (
        Command.objects.select_for_update(of=("self",), no_key=True)
        .filter(targets__fan_out=fan_out, status=Status.PENDING)
        .select_related("instance")
        .defer("args", "result")
        .order_by("pk")
    )
    commands = list(waiting)
    Command.objects.filter(pk__in=[command.pk for command in commands], status=Status.PENDING).update(
        status=Status.CANCELLED, finished_at=now, updated_at=now, error_code="command_cancelled"
    )
    record_events([_act(command, EventKind.COMMAND_CANCELLED, now, actor) for command in commands])
    return len(commands)


def _act(command: Command, kind: EventKind, at: datetime, actor: Actor) -> NewEvent:
    """The event of what somebody did with a command: who, and from where."""
    return command_event(command, kind, at, actor=actor.name, meta=actor.origin())


def push_sync(instance_ids: Sequence[UUID], *, actor: Actor) -> None:
    """Ask instances for their topology, of which the portal holds none. Cost as of `queue_orders`, however many."""
    queue_commands(instance_ids, Order(kind=CommandKind.SYNC_NOW, timeout_s=60), actor=actor)


def parse_public_id(public_id: str) -> UUID:
    """The row id behind `cmd_<32 hex digits>`; raises CommandUnknown for anything else."""
    prefix, _separator, digits = public_id.partition("_")
    try:
        if prefix != "cmd" or len(digits) != 32:
            raise ValueError
        return UUID(hex=digits)
    except ValueError:
        raise CommandUnknown from None
