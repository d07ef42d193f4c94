"""The same order for many instances of any service: those that a selector finds, a group, or named ones."""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

from django.db import IntegrityError
from django.utils.translation import gettext as _

from agents.labels import Selector
from agents.models import FanOut, Instance, Service
from agents.models.command import CommandKind
from agents.models.instance import Connectivity
from agents.selectors.fan_outs import retriable
from agents.selectors.groups import selector_of
from agents.selectors.matches import matches
from agents.selectors.visibility import Environments, within
from agents.services.commands import Target, expected_targets, new_fan_out, queue_commands
from agents.services.errors import FanOutGiven, InstanceUnknown, TargetsChanged
from agents.services.orders import Order, validate_order
from controlplane.common.actors import Actor
from controlplane.common.errors import Invalid
from tasks_app.services.commands import FannedOut, limit_bytes, named_in, online_of, task_refusals

# One order goes to so many instances at most.
TARGETS_MAX: Final = 10_000
# Only somebody at its host can start an instance again: whom to shut down is said one by one.
NAMED_KINDS: Final = frozenset({CommandKind.SHUTDOWN})
# What it cannot do at all, whether or not it is connected.
LACKING: Final = frozenset({"missing_capability", "dialect_without_commands", "task_command_unsupported"})


@dataclass(frozen=True, slots=True)
class Aim:
    """Whom an order is for. `instance_ids` are None where the selector decides, which a group says by its name, or
    the service: then it is for all of its instances that are online.
    """

    mode: FanOut.Mode
    selector: Selector | None = None
    group_name: str = ""
    instance_ids: Sequence[UUID] | None = None
    retry_of: FanOut | None = None
    service: Service | None = None

    @classmethod
    def by_service(cls, service: Service, instance_ids: Sequence[UUID] | None = None) -> "Aim":
        """All of a service that are online when it is given, or those of its instances that are named."""
        mode = FanOut.Mode.ALL_ONLINE if instance_ids is None else FanOut.Mode.SELECTED
        return cls(mode, instance_ids=instance_ids, service=service)

    @classmethod
    def by_selector(cls, selector: Selector) -> "Aim":
        """Raises Invalid where it would be every instance."""
        if not selector:
            raise Invalid(
                _("An empty selector matches every instance. To mean all of a kind, say so: portal/dialect=onestep"),
                field="selector",
            )
        return cls(FanOut.Mode.SELECTOR, selector=selector)

    @classmethod
    def by_group(cls, name: str) -> "Aim":
        """Raises GroupUnknown."""
        return cls(FanOut.Mode.GROUP, selector=selector_of(name), group_name=name)

    @classmethod
    def by_ids(cls, instance_ids: Sequence[UUID]) -> "Aim":
        return cls(FanOut.Mode.SELECTED, instance_ids=instance_ids)

    @classmethod
    def again(cls, fan_out: FanOut, states: Collection[str] = ()) -> "Aim":
        """The instances at which a fan-out came to nothing and may still come to something; in these states alone,
        where some are named.
        """
        instance_ids = list(retriable(fan_out, states).values_list("instance_id", flat=True))
        return cls(FanOut.Mode.SELECTED, instance_ids=instance_ids, retry_of=fan_out)

    def instances(self, environments: Environments = None) -> list[UUID]:
        """The instances that are meant now: named ones in their order, others by name. One query.

        Raises InstanceUnknown where a named one does not exist for the requester, Invalid beyond TARGETS_MAX.
        """
        if self.service is not None:
            found = list(
                online_of(self.service) if self.instance_ids is None else named_in(self.service, self.instance_ids)
            )
        elif self.instance_ids is not None:
            found = _existing(self.instance_ids, environments)
        elif self.selector is not None:
            rows = matches(self.selector, environments=environments)
            found = list(rows.values_list("pk", flat=True)[: TARGETS_MAX + 1])
        else:
            found = []
        if len(found) > TARGETS_MAX:
            raise Invalid(
                _("One order goes to %d instances at most, and more are meant. Ask for more labels, or send in parts.")
                % TARGETS_MAX,
                field="instance_ids"
                if self.instance_ids is not None or self.service is not None
                else "group"
                if self.group_name
                else "selector",
            )
        return found


def _existing(instance_ids: Sequence[UUID], environments: Environments) -> list[UUID]:
    rows = Instance.objects.filter(within(environments, "service__environment"), pk__in=instance_ids[: TARGETS_MAX + 1])
    # In no order: that of instances is by their service, which would be joined and sorted by.
    known = set(rows.order_by().values_list("pk", flat=True))
    for instance_id in instance_ids[: TARGETS_MAX + 1]:
        if instance_id not in known:
            raise InstanceUnknown(_("instance %s was not found") % instance_id)
    return list(instance_ids)


@dataclass(frozen=True, slots=True)
class Reach:
    """How the instances that are meant are now, and what would become of an order. An instance may count as several."""

    matching: int = 0
    online: int = 0
    offline: int = 0
    never_reported: int = 0
    # Those with an open control session, which is what commands go through: heartbeats may come by another way.
    connected: int = 0
    lacking_capability: int = 0
    # Tasks were in flight with its last heartbeat: what stops it interrupts work.
    busy: int = 0
    dispatched: int = 0
    queued: int = 0
    skipped: int = 0
    rejected: int = 0

    @classmethod
    def of(cls, targets: Sequence[Target]) -> "Reach":
        connectivity = Counter(target.instance.connectivity for target in targets)
        outcomes: dict[str, int] = Counter(target.outcome for target in targets)
        return cls(
            matching=len(targets),
            online=connectivity[Connectivity.ONLINE],
            offline=connectivity[Connectivity.OFFLINE],
            never_reported=connectivity[Connectivity.NEVER_REPORTED],
            connected=sum(
                target.session_id is not None and target.reason_code != "no_live_connection" for target in targets
            ),
            lacking_capability=sum(target.reason_code in LACKING for target in targets),
            busy=sum(bool(target.instance.inflight_tasks) for target in targets),
            **outcomes,
        )


@dataclass(frozen=True, slots=True)
class Expected:
    """What an order would meet if it were given now. `fingerprint` changes with the instances that are meant."""

    targets: list[Target]
    fingerprint: str

    @property
    def reasons(self) -> list[tuple[str, str, int]]:
        """Why targets are not reached at once, as (outcome, sentence, how many), the most frequent first."""
        found = Counter((target.outcome, target.reason_message) for target in self.targets if target.refusal)
        return [(outcome, message or "", count) for (outcome, message), count in found.most_common()]


def expect_fan_out(aim: Aim, order: Order, *, actor: Actor, environments: Environments = None) -> Expected:
    """What `fan_out_to` would do now, with nothing made. Raises what that would raise."""
    order, instance_ids = _checked(aim, order, environments)
    refusals = task_refusals(instance_ids, order)
    targets = expected_targets(instance_ids, order, actor=actor, refusals=refusals)
    return Expected(targets, fingerprint_of(instance_ids))


def fan_out_to(
    aim: Aim,
    order: Order,
    *,
    actor: Actor,
    environments: Environments = None,
    fan_out_id: UUID | None = None,
    fingerprint: str = "",
) -> FannedOut:
    """Make the same command for all that are meant and can take it; kept as a fan-out, even where nobody is meant.

    `fan_out_id` becomes its id, so that the same request sent twice counts once: FanOutGiven is raised the second time.
    With a `fingerprint`, TargetsChanged is raised where others are meant by now. Raises InstanceUnknown and Invalid
    where nothing is made. The number of statements does not grow with the number of instances.
    """
    give = partial(
        _give,
        aim,
        order,
        actor=actor,
        environments=environments,
        fan_out_id=fan_out_id,
        fingerprint=fingerprint,
    )
    try:
        return give()
    except IntegrityError:
        # The same was given at this moment, or somebody who was meant has been removed. Now that is seen.
        return give()


def _give(
    aim: Aim, order: Order, *, actor: Actor, environments: Environments, fan_out_id: UUID | None, fingerprint: str
) -> FannedOut:
    order, instance_ids = _checked(aim, order, environments)
    if fan_out_id is not None and FanOut.objects.filter(pk=fan_out_id).exists():
        raise FanOutGiven
    if fingerprint and fingerprint != fingerprint_of(instance_ids):
        raise TargetsChanged
    kept = new_fan_out(
        order,
        actor=actor,
        mode=aim.mode,
        selector=str(aim.selector) if aim.selector is not None else "",
        group_name=aim.group_name,
        retry_of=aim.retry_of,
        service=aim.service,
        environments=[aim.service.environment] if aim.service is not None else sorted(environments or ()),
    )
    if fan_out_id is not None:
        kept.pk = fan_out_id
    made = queue_commands(instance_ids, order, actor=actor, refusals=task_refusals(instance_ids, order), fan_out=kept)
    return FannedOut(kept, made)


def _checked(aim: Aim, order: Order, environments: Environments) -> tuple[Order, list[UUID]]:
    order = validate_order(order)
    if order.kind in NAMED_KINDS and aim.mode != FanOut.Mode.SELECTED:
        raise Invalid(
            _("This command is given to instances one by one: only somebody at its host can start one again."),
            field="kind",
        )
    instance_ids = aim.instances(environments)
    limit_bytes(order, len(instance_ids))
    return order, instance_ids


def fingerprint_of(instance_ids: Sequence[UUID]) -> str:
    """The same for the same instances, in whatever order."""
    digest = hashlib.blake2b(digest_size=16)
    for instance_id in sorted(instance_ids):
        digest.update(instance_id.bytes)
    return digest.hexdigest()
