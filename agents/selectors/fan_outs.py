"""Fan-outs: orders for many instances, and how they fare."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import (
    BooleanField,
    Case,
    CharField,
    Count,
    Exists,
    F,
    Func,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce
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
        FanOutTarget.objects.filter(fan_out__in=found)
        .order_by()
        .annotate(status=_status_now())
        .values_list("fan_out", "status")
        .annotate(count=Count("pk"))
    )
    for fan_out_id, status, count in rows:
        if status is not None:
            counts[fan_out_id][status] = count
    return counts


# What became of a target by now, in one word: the status of its command, or why there is none. Of GONE ones retention
# took the command, and with it what became of it.
SKIPPED: Final = "skipped"
REJECTED: Final = "rejected"
GONE: Final = "gone"
# In the order in which they are shown.
STATES: Final = (*Command.Status.values, SKIPPED, GONE)
RETRIABLE_STATES: Final = (*(status.value for status in FAILED), SKIPPED)


def state_of(outcome: str, status: str | None) -> str:
    """The state of a target, by its outcome and the status of its command (None where there is none)."""
    if status is not None:
        return status
    return outcome if outcome in {SKIPPED, REJECTED} else GONE


@dataclass(frozen=True, slots=True)
class Standing:
    """How many targets of a fan-out are in which state now, and how many of these may be given the order again."""

    states: Counter[str] = field(default_factory=Counter)
    retriable: Counter[str] = field(default_factory=Counter)

    def count_of(self, shown: str) -> int:
        """How many a list narrowed to this state, or group of states, has."""
        return sum(self.states[state] for state in STATE_GROUPS.get(shown, (shown,)))

    @property
    def open(self) -> int:
        return self.count_of("open")


STATE_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "": STATES,
    "open": tuple(status.value for status in Command.OPEN),
    "failed": RETRIABLE_STATES,
    "done": (Command.Status.SUCCEEDED.value,),
}


def _status_now() -> Subquery:
    """The status of the command of a target; None where there is none. One probe of a key for each target.

    A join, and PostgreSQL may read all commands there are to count those of one order.
    """
    return Subquery(Command.objects.filter(pk=OuterRef("command")).order_by().values("status"))


def _state_now() -> Coalesce:
    """The state of a target: `state_of` in SQL."""
    without = Case(When(outcome__in=(SKIPPED, REJECTED), then=F("outcome")), default=Value(GONE))
    return Coalesce(_status_now(), without, output_field=CharField())


def targets_in(fan_out: FanOut, shown: str = "") -> QuerySet[FanOutTarget]:
    """The targets of a fan-out in this state or group of states, in the order in which they were given; bare rows."""
    rows = FanOutTarget.objects.filter(fan_out=fan_out).order_by("id")
    return rows.alias(state=_state_now()).filter(state__in=STATE_GROUPS.get(shown, (shown,))) if shown else rows


def standing(fan_out: FanOut) -> Standing:
    """How the targets of a fan-out stand now. One query, which reads its targets and their commands by their keys."""
    found = Standing()
    rows = (
        FanOutTarget.objects.filter(fan_out=fan_out)
        .order_by()
        .annotate(
            state=_state_now(), may_again=Case(When(_may_again(), then=Value(value=True)), default=Value(value=False))
        )
        .values_list("state", "may_again")
        .annotate(count=Count("pk"))
    )
    for state, may_again, count in rows:
        found.states[state] += count
        if may_again and state in RETRIABLE_STATES:
            found.retriable[state] += count
    return found


def _may_again() -> Q:
    """Matches targets that are neither archived nor being forgotten, and whose dialect takes commands."""
    return Q(instance__archived_at=None, instance__forget_requested_at=None) & ~Q(reason_code=DIALECT_WITHOUT_COMMANDS)


def retriable(fan_out: FanOut, states: Collection[str] = ()) -> QuerySet[FanOutTarget]:
    """The targets at which the order came to nothing and may still come to something, in their order.

    Left out are instances that are archived or being forgotten, and those whose dialect takes no commands at all.
    With `states`, which are of RETRIABLE_STATES, only those in one of these.
    """
    rows = FanOutTarget.objects.filter(_may_again(), fan_out=fan_out)
    return rows.alias(state=_state_now()).filter(state__in=tuple(states) or RETRIABLE_STATES).order_by("id")


def running(among: QuerySet[FanOut] | None = None) -> QuerySet[FanOut]:
    """Fan-outs of which a command is still under way, newest first; read from the open commands, which are few."""
    rows = FanOut.objects.all() if among is None else among
    open_ids = Command.objects.filter(status__in=Command.OPEN).order_by().values("pk")
    of_open = FanOutTarget.objects.filter(command__in=open_ids).order_by().values("fan_out")
    return rows.filter(pk__in=of_open)


@dataclass(frozen=True, slots=True)
class LastTime:
    """The newest fan-out of the same command to the same scope, and how its targets stand now."""

    fan_out: FanOut
    standing: Standing

    @property
    def succeeded(self) -> int:
        return self.standing.count_of("done")

    @property
    def failed(self) -> int:
        return self.standing.count_of("failed")

    @property
    def open(self) -> int:
        return self.standing.open


# Whoever chose instances by hand meant few: the last time is looked for at so many of them.
LAST_TIME_INSTANCES: Final = 100


def last_time(
    kind: str, task_name: str, *, scope: Mapping[str, object], instance_ids: Sequence[UUID]
) -> LastTime | None:
    """When the same command was last given to the same scope. `scope` are columns of FanOut, as in service=row; where
    it is empty, the last one that any of these instances was meant by. Two queries.
    """
    rows = FanOut.objects.filter(kind=kind, task_name=task_name)
    if scope:
        rows = rows.filter(**scope)
    else:
        met = FanOutTarget.objects.filter(instance__in=list(instance_ids[:LAST_TIME_INSTANCES]))
        rows = rows.filter(pk__in=met.order_by().values("fan_out"))
    found = rows.defer("args").order_by("-created_at", "-id").first()
    return LastTime(found, standing(found)) if found is not None else None
