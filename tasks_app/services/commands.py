"""Ordering commands, with the rules that only those who know the tasks can judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
from django.conf import settings
from django.utils.translation import gettext as _

from agents.models import Command, FanOut, Service
from agents.models.command import TASK_KINDS
from agents.models.instance import Connectivity
from agents.services.commands import Refusal, Target, new_fan_out, queue_commands, refused
from agents.services.errors import InstanceUnknown
from agents.services.orders import Order, validate_order
from controlplane.common.actors import Actor
from controlplane.common.errors import Invalid
from tasks_app.models import TaskControls

__all__ = ["FannedOut", "Target", "fan_out", "order_command"]


@dataclass(frozen=True, slots=True)
class FannedOut:
    """What became of an order at each of its targets, in their order, and the row under which that is kept."""

    kept: FanOut
    targets: list[Target]


def order_command(instance_id: UUID, order: Order, *, actor: Actor) -> Command:
    """Make one command for one instance.

    Raises Invalid where the order can never be right, InstanceUnknown, or CommandRefused with the code of the rule
    that refuses it now. Source: contract 3.2.
    """
    order = validate_order(order)
    made = queue_commands([instance_id], order, actor=actor, refusals=task_refusals([instance_id], order))
    if not made:
        raise InstanceUnknown(_("instance %s was not found") % instance_id)
    if made[0].command is None:
        raise refused(made[0])
    return made[0].command


def fan_out(service: Service, order: Order, *, actor: Actor, instance_ids: Sequence[UUID] | None = None) -> FannedOut:
    """Make the same command for many instances of a service: the named ones in their order, or all that are online.

    Raises Invalid, or InstanceUnknown where an id is not one of the service's; nothing is made then. Invalid is also
    what takes more than FAN_OUT_MAX_BYTES with its arguments, which are stored for each instance. The number of
    statements does not grow with the number of instances, unless the arguments are large. Source: contract 3.3.
    """
    order = validate_order(order)
    targets = online_of(service) if instance_ids is None else named_in(service, instance_ids)
    limit_bytes(order, len(targets))
    mode = FanOut.Mode.ALL_ONLINE if instance_ids is None else FanOut.Mode.SELECTED
    kept = new_fan_out(order, actor=actor, mode=mode, service=service, environments=[service.environment])
    made = queue_commands(targets, order, actor=actor, refusals=task_refusals(targets, order), fan_out=kept)
    return FannedOut(kept, made)


def limit_bytes(order: Order, number: int) -> None:
    """Raise Invalid where the order with its arguments takes more than FAN_OUT_MAX_BYTES for so many instances."""
    most = settings.FAN_OUT_MAX_BYTES // max(1, len(msgspec.json.encode(order.args)))
    if number > most:
        raise Invalid(
            _(
                "With arguments of this size, one order may go to %(most)d instances, not to %(number)d. "
                "Name fewer of them at a time, or make the arguments smaller."
            )
            % {"most": most, "number": number},
            field="args",
        )


def online_of(service: Service) -> list[UUID]:
    """The instances of a service that are online, by name."""
    online = service.instances.filter(connectivity=Connectivity.ONLINE, archived_at=None)
    return list(online.order_by("node_name", "id").values_list("pk", flat=True))


def named_in(service: Service, instance_ids: Sequence[UUID]) -> Sequence[UUID]:
    """These instances, or InstanceUnknown where one is not of the service."""
    found = set(service.instances.filter(pk__in=instance_ids).values_list("pk", flat=True))
    for instance_id in instance_ids:
        if instance_id not in found:
            raise InstanceUnknown(
                _("instance %(instance)s was not found for service %(service)s")
                % {"instance": instance_id, "service": f"{service.name}/{service.environment}"}
            )
    return instance_ids


def task_refusals(instance_ids: Sequence[UUID], order: Order) -> dict[UUID, Refusal]:
    """Why instances cannot take a task command, by what they last said of that task; one query.

    Empty for commands that are not about a task.
    """
    if order.kind not in TASK_KINDS:
        return {}
    stored = dict(TaskControls.objects.filter(pk__in=instance_ids).values_list("pk", "controls"))
    refusals = {}
    for instance_id in instance_ids:
        control = next(
            (entry for entry in stored.get(instance_id, ()) if entry.get("task_name") == order.task_name), None
        )
        if control is None:
            message = _("This instance has not reported the state of task %s.") % order.task_name
            refusals[instance_id] = Refusal("task_state_unknown", message)
        elif order.kind not in control.get("supported_commands", ()):
            message = _("Task %(task)s does not support %(kind)s on this instance.") % {
                "task": order.task_name,
                "kind": order.kind,
            }
            refusals[instance_id] = Refusal("task_command_unsupported", message)
    return refusals
