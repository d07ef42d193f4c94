"""Ordering commands, with the rules that only those who know the tasks can judge."""

from collections.abc import Sequence
from uuid import UUID

from django.utils.translation import gettext as _

from agents.models import Command, Instance, Service
from agents.models.command import TASK_KINDS
from agents.models.instance import Connectivity
from agents.services.actors import Actor
from agents.services.commands import FanOut, Refusal, Target, queue_commands, refused
from agents.services.errors import InstanceUnknown
from agents.services.orders import Order, validate_order
from tasks_app.models import TaskControls

__all__ = ["FanOut", "Target", "fan_out", "order_command"]


def order_command(instance_id: UUID, order: Order, *, actor: Actor) -> Command:
    """Make one command for one instance.

    Raises Invalid where the order can never be right, InstanceUnknown, or CommandRefused with the code of the rule
    that refuses it now. Source: contract 3.2.
    """
    order = validate_order(order)
    instance = Instance.objects.select_related("service").filter(pk=instance_id).first()
    if instance is None:
        raise InstanceUnknown(_("instance %s was not found") % instance_id)
    (target,) = queue_commands([instance], order, actor=actor, refusals=task_refusals([instance], order))
    if target.command is None:
        raise refused(target)
    return target.command


def fan_out(service: Service, order: Order, *, actor: Actor, instance_ids: Sequence[UUID] | None = None) -> FanOut:
    """Make the same command for many instances of a service: the named ones in their order, or all that are online.

    Raises Invalid, or InstanceUnknown where an id is not one of the service's; nothing is made then. The number of
    statements does not grow with the number of instances. Source: contract 3.3.
    """
    order = validate_order(order)
    instances = _online(service) if instance_ids is None else _named(service, instance_ids)
    refusals = task_refusals(instances, order)
    return FanOut(queue_commands(instances, order, actor=actor, refusals=refusals))


def _online(service: Service) -> list[Instance]:
    return list(
        service.instances.filter(connectivity=Connectivity.ONLINE).select_related("service").order_by("node_name", "id")
    )


def _named(service: Service, instance_ids: Sequence[UUID]) -> list[Instance]:
    found = {
        instance.pk: instance for instance in service.instances.filter(pk__in=instance_ids).select_related("service")
    }
    for instance_id in instance_ids:
        if instance_id not in found:
            raise InstanceUnknown(
                _("instance %(instance)s was not found for service %(service)s")
                % {"instance": instance_id, "service": f"{service.name}/{service.environment}"}
            )
    return [found[instance_id] for instance_id in instance_ids]


def task_refusals(instances: Sequence[Instance], order: Order) -> dict[UUID, Refusal]:
    """Why instances cannot take a task command, by what they last said of that task; one query.

    Empty for commands that are not about a task.
    """
    if order.kind not in TASK_KINDS:
        return {}
    stored = dict(
        TaskControls.objects.filter(pk__in=[instance.pk for instance in instances]).values_list("pk", "controls")
    )
    refusals = {}
    for instance in instances:
        control = next(
            (entry for entry in stored.get(instance.pk, ()) if entry.get("task_name") == order.task_name), None
        )
        if control is None:
            message = _("This instance has not reported the state of task %s.") % order.task_name
            refusals[instance.pk] = Refusal("task_state_unknown", message)
        elif order.kind not in control.get("supported_commands", ()):
            message = _("Task %(task)s does not support %(kind)s on this instance.") % {
                "task": order.task_name,
                "kind": order.kind,
            }
            refusals[instance.pk] = Refusal("task_command_unsupported", message)
    return refusals
