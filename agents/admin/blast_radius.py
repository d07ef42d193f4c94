"""What is shown before a command goes to many: whom it meets and how these are, and the last time that it was given."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext

from agents.admin.aiming import Asked
from agents.admin.columns import kind_label
from agents.admin.sending import KIND_HINTS
from agents.models import Instance
from agents.models.command import DESTRUCTIVE_KINDS
from agents.models.instance import Connectivity
from agents.selectors.fan_outs import LastTime, last_time
from agents.selectors.presence import Presence, presences
from agents.services.orders import Order
from tasks_app.services.fan_outs import Expected, Reach

SAMPLE = 20
TYPED_FIELD = "typed"


@dataclass(frozen=True, slots=True)
class Blast:
    """`left_out` are the instances of a service that are not meant, since they are not online."""

    order: Order
    asked: Asked
    expected: Expected
    reach: Reach
    last: LastTime | None
    left_out: int

    @property
    def kind_label(self) -> str:
        return kind_label(self.order.kind)

    @property
    def hint(self) -> Any:
        return KIND_HINTS.get(self.order.kind, "")

    @property
    def is_destructive(self) -> bool:
        return self.order.kind in DESTRUCTIVE_KINDS

    @property
    def takes(self) -> int:
        """How many commands will be made."""
        return self.reach.dispatched + self.reach.queued

    @property
    def interrupted(self) -> int:
        """At how many that would get it now work is in flight."""
        targets = self.expected.targets
        return sum(target.outcome == "dispatched" and bool(target.instance.inflight_tasks) for target in targets)

    @property
    def away(self) -> int:
        """How many are meant and cannot be reached at once, and could be otherwise."""
        return self.reach.queued + self.reach.skipped

    def problem_with(self, typed: str) -> str:
        """What is wrong with what was typed to confirm it, as a sentence; empty where nothing is asked or all is well.

        Asked is the number of commands, or the name of whom it is for, where it stops instances.
        """
        if not self.is_destructive or not self.takes:
            return ""
        typed = typed.strip()
        if not typed:
            return gettext("Type the number to confirm that you mean all of them.")
        if typed in {str(self.takes), self.asked.name}:
            return ""
        return gettext("That is not it: type %d.") % self.takes


def blast_of(asked: Asked, order: Order, expected: Expected) -> Blast:
    """What such an order would meet. Two queries, a third for all online of a service."""
    aim, left_out = asked.aim, 0
    if aim.service is not None and aim.instance_ids is None:
        here = aim.service.instances.filter(archived_at=None)
        left_out = here.exclude(connectivity=Connectivity.ONLINE).count()
    instance_ids = [target.instance.pk for target in expected.targets]
    return Blast(
        order=order,
        asked=asked,
        expected=expected,
        reach=Reach.of(expected.targets),
        last=last_time(order.kind, order.task_name, scope=asked.scope, instance_ids=instance_ids),
        left_out=left_out,
    )


def sample_of(instance_ids: list[Any]) -> list[Presence]:
    """The first of them as they are now."""
    found = Instance.objects.select_related("service").in_bulk(instance_ids[:SAMPLE])
    return presences([found[key] for key in instance_ids[:SAMPLE] if key in found])
