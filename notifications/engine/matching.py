"""Of whom and of what rules and silences speak, and which facts they mean."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from agents.labels import Selector, SelectorInvalid, parse
from notifications.engine.facts import Fact
from notifications.engine.kinds import TASK_MISSED_START
from notifications.engine.quiet import Quiet
from notifications.engine.rounds import Round

GroupBy: TypeAlias = Literal["event", "type", "service", "task"]
_SIGNS: Final = {"*": ".*", "?": "."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What narrows; what is empty narrows nothing. `services` are (name, environment)."""

    services: frozenset[tuple[str, str]] = frozenset()
    environments: frozenset[str] = frozenset()
    selector: Selector | None = None
    patterns: tuple[re.Pattern[str], ...] = ()
    # Its selector cannot be read any more: it means nobody.
    is_broken: bool = False

    def holds(self, fact: Fact) -> bool:
        """A fact of no instance fails a selector, and one of no task a pattern."""
        if self.is_broken:
            return False
        if self.services and (fact.service_name, fact.environment) not in self.services:
            return False
        if self.environments and fact.environment not in self.environments:
            return False
        if self.patterns and not (fact.task_name and any(each.fullmatch(fact.task_name) for each in self.patterns)):
            return False
        return self.selector is None or (fact.instance_id is not None and self.selector.matches(fact.labels))


def scope_of(
    *, services: Iterable[Mapping[str, str]], environments: Iterable[str], selector: str, task_pattern: str
) -> Scope:
    """The scope that a row of the model has."""
    try:
        asked = _selector(selector) if selector.strip() else None
    except SelectorInvalid:
        return Scope(is_broken=True)
    return Scope(
        services=frozenset((each["name"], each["environment"]) for each in services),
        environments=frozenset(environments),
        selector=asked,
        patterns=_patterns(task_pattern),
    )


@lru_cache(maxsize=1024)
def _selector(text: str) -> Selector:
    return parse(text)


@lru_cache(maxsize=1024)
def _patterns(text: str) -> tuple[re.Pattern[str], ...]:
    """The patterns of names with `*` and `?`, several by commas."""
    named = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(
        re.compile("".join(_SIGNS.get(sign, re.escape(sign)) for sign in pattern), re.DOTALL) for pattern in named
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSpec:
    """A rule as the engine has it; `channel_ids` are those that are enabled.

    `is_alone` tells each event alone and at once: there is no waiting, no threshold, no reminder and no end.
    """

    id: int
    name: str
    event_types: frozenset[str]
    scope: Scope = field(default_factory=Scope)
    channel_ids: frozenset[int] = frozenset()
    group_by: GroupBy = "type"
    is_alone: bool = False
    wait: timedelta = timedelta(0)
    update: timedelta = timedelta(0)
    repeat: timedelta | None = None
    tells_resolved: bool = True
    threshold_count: int = 1
    threshold_window: timedelta = timedelta(minutes=5)
    grace_s: int = 300
    quiet: Quiet | None = None

    def asks(self, fact: Fact) -> bool:
        """Whether the rule is about this; a missed start is told by the rules of its own grace."""
        if fact.event_type not in self.event_types:
            return False
        if fact.event_type == TASK_MISSED_START and fact.grace_s is not None and fact.grace_s != self.grace_s:
            return False
        return self.scope.holds(fact)

    def held(self, moment: datetime) -> datetime:
        """When something may be told that is due at this moment."""
        return moment if self.quiet is None else self.quiet.held(moment)


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceSpec:
    """A silence as the engine has it. `applied_at` is the beginning of the round that was applied last, `told_until`
    the end of the one whose summary was told last."""

    id: int
    reason: str
    starts_at: datetime
    ends_at: datetime | None
    scope: Scope = field(default_factory=Scope)
    event_types: frozenset[str] = frozenset()
    weekdays: frozenset[int] = frozenset()
    start_time: time | None = None
    duration_min: int | None = None
    time_zone: str = ""
    cancelled_at: datetime | None = None
    applied_at: datetime | None = None
    told_until: datetime | None = None

    def means(self, fact: Fact) -> bool:
        """Whether it is about this, at whatever time."""
        return (not self.event_types or fact.event_type in self.event_types) and self.scope.holds(fact)


@dataclass(frozen=True, slots=True)
class InForce:
    """A silence, and the round of it that counts."""

    silence: SilenceSpec
    round: Round


def group_key(rule: RuleSpec, fact: Fact) -> str:
    """What a rule groups by: facts of one key make one alert."""
    match "event" if rule.is_alone else rule.group_by:
        case "event":
            return f"{fact.event_type}:{fact.event_id}"
        case "service":
            return f"{fact.event_type}:{fact.service_id or ''}"
        case "task":
            return f"{fact.event_type}:{fact.service_id or ''}:{fact.task_name}"
    return fact.event_type


def rules_asking(rules: Sequence[RuleSpec]) -> dict[str, list[RuleSpec]]:
    """The rules by the types that they ask for."""
    found: dict[str, list[RuleSpec]] = {}
    for rule in rules:
        for event_type in rule.event_types:
            found.setdefault(event_type, []).append(rule)
    return found
