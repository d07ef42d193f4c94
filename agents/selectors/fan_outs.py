"""Fan-outs: orders for many instances, and how they fare."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from agents.models import Command, FanOut, FanOutTarget
from agents.selectors.visibility import Environments, within
from controlplane.common.errors import NotFound

# A target whose command ended so, or that got none, may be given the order again.
FAILED: Final = (
    Command.Status.FAILED,
    Command.Status.TIMEOUT,
    Command.Status.EXPIRED,
    Command.Status.REJECTED,
    Command.Status.CANCELLED,
)

# Why a target was rejected that no repetition can change.
DIALECT_WITHOUT_COMMANDS: Final = "dialect_without_commands"


class FanOutUnknown(NotFound):
    """There is no such fan-out."""

    code = "fan_out_not_found"


def fan_outs(*, environments: Environments = None) -> QuerySet[FanOut]:
    """Fan-outs with their service. Narrowed, those alone that went to no instance of another environment."""
    rows = FanOut.objects.select_related("service")
    if environments is None:
        return rows
    elsewhere = FanOutTarget.objects.filter(fan_out=OuterRef("pk")).exclude(
        within(environments, "instance__service__environment")
    )
    return rows.filter(Q(service=None) | within(environments, "service__environment")).exclude(Exists(elsewhere))


def get_fan_out(fan_out_id: UUID, *, environments: Environments = None, without: Collection[str] = ()) -> FanOut:
    """The fan-out with its service, or FanOutUnknown; columns in `without` are not read."""
    found = fan_outs(environments=environments).filter(pk=fan_out_id).defer(*without).first()
    if found is None:
        raise FanOutUnknown(f"fan-out fan_{fan_out_id.hex} was not found")
    return found


def targets_of(fan_out: FanOut) -> QuerySet[FanOutTarget]:
    """Its targets in the order in which they were given, with instance, service and command; no wide columns."""
    return (
        FanOutTarget.objects.filter(fan_out=fan_out)
        .select_related("instance__service", "command")
        .defer("command__args", "command__result")
        .order_by("id")
    )


def command_counts(found: Sequence[FanOut]) -> dict[UUID, Counter[str]]:
    """How many commands of each fan-out have which status now; those that retention took are missing. One query."""
    counts: dict[UUID, Counter[str]] = {fan_out.pk: Counter() for fan_out in found}
    rows = (
        FanOutTarget.objects.filter(fan_out__in=found, command__status__isnull=False)
        .order_by()
        .values_list("fan_out", "command__status")
        .annotate(count=Count("pk"))
    )
    for fan_out_id, status, count in rows:
        counts[fan_out_id][status] = count
    return counts


def failed_q() -> Q:
    """Matches targets at which the order came to nothing: no command was made, or it ended badly."""
    return Q(outcome__in=(FanOutTarget.Outcome.SKIPPED, FanOutTarget.Outcome.REJECTED)) | Q(command__status__in=FAILED)


def retriable(fan_out: FanOut) -> QuerySet[FanOutTarget]:
    """The targets of `failed_q` at which the same order may still come to something, in their order.

    Left out are instances that are archived or being forgotten, and those whose dialect takes no commands at all.
    """
    return (
        FanOutTarget.objects.filter(failed_q(), fan_out=fan_out)
        .filter(instance__archived_at=None, instance__forget_requested_at=None)
        .exclude(reason_code=DIALECT_WITHOUT_COMMANDS)
        .order_by("id")
    )
