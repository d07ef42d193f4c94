"""Fan-outs: orders for many instances, and how they fare."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, Count, Exists, F, Func, OuterRef, Q, QuerySet
from django.db.models.sql.compiler import SQLCompiler

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
    """Fan-outs with their service. Narrowed, those alone that were for these environments and no other.

    What they were for stands in `FanOut.environments`: their targets and their service may be forgotten, and then say
    nothing any more. Nor is one shown that has a target which moved to another environment since.
    """
    rows = FanOut.objects.select_related("service")
    if environments is None:
        return rows
    elsewhere = FanOutTarget.objects.filter(fan_out=OuterRef("pk")).exclude(
        within(environments, "instance__service__environment")
    )
    return rows.filter(~Q(environments=[]), _AreAmong(F("environments"), environments)).exclude(Exists(elsewhere))


class _AreAmong(Func):
    """Whether each text of a JSON array is one of these."""

    output_field = BooleanField()

    def __init__(self, array: F, texts: Collection[str]) -> None:
        super().__init__(array)
        self.texts = json.dumps(sorted(texts))

    def as_postgresql(
        self,
        compiler: SQLCompiler,
        connection: BaseDatabaseWrapper,  # noqa: ARG002 -- Django's
        **_extra: Any,
    ) -> tuple[str, tuple[Any, ...]]:
        array, parameters = compiler.compile(self.source_expressions[0])
        return f"({array} <@ %s::jsonb)", (*parameters, self.texts)

    def as_sqlite(
        self,
        compiler: SQLCompiler,
        connection: BaseDatabaseWrapper,  # noqa: ARG002 -- Django's
        **_extra: Any,
    ) -> tuple[str, tuple[Any, ...]]:
        array, parameters = compiler.compile(self.source_expressions[0])
        others = f"SELECT 1 FROM json_each({array}) WHERE value NOT IN (SELECT value FROM json_each(%s))"  # noqa: S608 -- a column
        return f"(NOT EXISTS ({others}))", (*parameters, self.texts)


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
