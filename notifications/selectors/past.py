"""The past as facts: stored events that rules ask for, as many as can be read at once."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Q

from agents.models import Event, Service
from agents.selectors.named_events import EVENT_COLUMNS, MESSAGE_MAX_CHARACTERS, ToldEvent
from notifications.engine.facts import Fact
from notifications.engine.matching import RuleSpec
from notifications.selectors.news import ends_of, facts_of, kinds_asked, trouble_of

# So many facts are made at once.
PORTION: Final = 2000
# Services that are named in a query; of more all are read.
_SERVICES_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Past:
    """`facts` in the order in which they were received. Read were the newest events from `since` on; where that is
    later than was asked for, there were more than can be read."""

    facts: list[Fact]
    since: datetime
    is_cut: bool


def past_facts(rules: Sequence[RuleSpec], since: datetime, until: datetime, *, rows_max: int, deadline: float) -> Past:
    """What rules would have seen. A constant number of queries for each PORTION events.

    Read are `rows_max` events at most, and none after `deadline` by the monotonic clock: the newest ones.
    """
    asked = frozenset().union(*(rule.event_types for rule in rules))
    portions: list[list[Fact]] = []
    count, oldest, is_cut = 0, until, False
    for read in _portions(_rows(rules, asked, since, until), rows_max + 1):
        is_cut = count + len(read) > rows_max or time.monotonic() >= deadline
        portion = read[max(0, count + len(read) - rows_max) :]
        count += len(portion)
        oldest = min([oldest, *(event.occurred_at for event in portion)])
        portions.append([fact for fact in facts_of(portion) if fact.event_type in asked])
        if is_cut:
            break
    facts = [fact for portion in reversed(portions) for fact in portion]
    facts += [fact for fact in ends_of(trouble_of(facts)) if fact.received_at <= until]
    facts.sort(key=lambda fact: fact.received_at)
    return Past(facts, oldest if is_cut else since, is_cut)


def _portions(rows: Any, limit: int) -> Iterator[list[ToldEvent]]:
    """The rows from the newest on, PORTION at a time, each in the order in which they came."""
    for start in range(0, limit, PORTION):
        found = [_told(row) for row in rows[start : min(start + PORTION, limit)]]
        if not found:
            return
        yield found[::-1]
        if len(found) < PORTION:
            return


def _told(row: Sequence[Any]) -> ToldEvent:
    event = ToldEvent(*row)
    return event._replace(message=event.message[:MESSAGE_MAX_CHARACTERS])


def _rows(rules: Sequence[RuleSpec], asked: frozenset[str], since: datetime, until: datetime) -> Any:
    rows = Event.objects.filter(
        _of_services(rules), kind__in=kinds_asked(asked), occurred_at__gte=since, occurred_at__lt=until
    )
    return rows.order_by("-occurred_at", "-id").values_list(*EVENT_COLUMNS, "service__name", "service__environment")


def _of_services(rules: Sequence[RuleSpec]) -> Q:
    """Leaves out services that no rule means, where there are few that some does."""
    if not rules or any(not rule.scope.services and not rule.scope.environments for rule in rules):
        return Q()
    named = Q()
    for rule in rules:
        each = Q(environment__in=rule.scope.environments) if rule.scope.environments else Q()
        if rule.scope.services:
            services = Q()
            for name, environment in rule.scope.services:
                services |= Q(name=name, environment=environment)
            each &= services
        named |= each
    found = list(Service.objects.filter(named).order_by().values_list("pk", flat=True)[: _SERVICES_MAX + 1])
    return Q(service__in=found) if len(found) <= _SERVICES_MAX else Q()
