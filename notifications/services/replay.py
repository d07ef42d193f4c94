"""Replay: what a rule would have told. STAND-IN: to be replaced at merge. It knows neither thresholds nor silences."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from agents.labels import parse
from agents.models import Event
from agents.selectors.events import events_so_far
from agents.selectors.labels import of_matching
from notifications.engine.cards import Card
from notifications.kinds import KIND_OF_TYPE, TYPE_OF_KIND
from notifications.models import EventType, Rule

READ_MAX: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedMessage:
    """One message that would have been sent. `card` is in the language of the reader."""

    at: datetime
    kind: str
    event_type: str
    title: str
    event_count: int
    subject_count: int
    card: Card | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """`event_count` matched; `silenced_count` of them would have been counted only. `is_cut` says that there was more
    than is read at once, and that the newest part was."""

    since: datetime
    until: datetime
    event_count: int
    silenced_count: int
    messages: tuple[ReplayedMessage, ...]
    is_cut: bool = False


def replay(rule: Rule, since: datetime, until: datetime) -> Replay:
    """Run a rule, stored or a draft, over the stored events from `since` to `until`."""
    kinds = [KIND_OF_TYPE[EventType(each)] for each in rule.event_types]
    rows: Any = events_so_far().filter(kind__in=kinds, occurred_at__gte=since, occurred_at__lt=until)
    if rule.selector:
        rows = rows.filter(of_matching(parse(rule.selector)))
    rows = rows.select_related("service").defer("traceback", "meta").order_by("-occurred_at", "-id")
    found = list(rows[: READ_MAX + 1])
    events = [event for event in reversed(found[:READ_MAX]) if _is_meant(rule, event)]
    return Replay(
        since=since,
        until=until,
        event_count=len(events),
        silenced_count=0,
        messages=tuple(_messages(rule, events)),
        is_cut=len(found) > READ_MAX,
    )


def _is_meant(rule: Rule, event: Event) -> bool:
    service = event.service
    here = {"name": service.name, "environment": service.environment} if service else None
    if rule.service_scopes and here not in rule.service_scopes:
        return False
    if rule.environments and (service is None or service.environment not in rule.environments):
        return False
    patterns = [part.strip() for part in rule.task_pattern.split(",") if part.strip()]
    return not patterns or any(_fits(pattern, event.task_name) for pattern in patterns)


def _fits(pattern: str, name: str) -> bool:
    return re.fullmatch("".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern), name) is not None


def _messages(rule: Rule, events: list[Event]) -> Iterator[ReplayedMessage]:
    groups: dict[tuple[object, ...], list[Event]] = {}
    for event in events:
        key = _key(rule, event)
        begun = groups.get(key)
        if begun and event.occurred_at > begun[0].occurred_at + timedelta(seconds=max(rule.wait_s, rule.update_s)):
            yield _message(groups.pop(key))
        groups.setdefault(key, []).append(event)
    for each in groups.values():
        yield _message(each)


def _key(rule: Rule, event: Event) -> tuple[object, ...]:
    return {
        Rule.GroupBy.EVENT: (event.pk,),
        Rule.GroupBy.TYPE: (event.kind,),
        Rule.GroupBy.SERVICE: (event.kind, event.service_id),
        Rule.GroupBy.TASK: (event.kind, event.service_id, event.task_name),
    }[Rule.GroupBy(rule.group_by)]


def _message(events: list[Event]) -> ReplayedMessage:
    first = events[0]
    subjects = {(event.service_id, event.task_name, event.instance_id) for event in events}
    return ReplayedMessage(
        at=events[-1].occurred_at,
        kind="alert",
        event_type=TYPE_OF_KIND[first.kind].value,
        title=f"{TYPE_OF_KIND[first.kind].label}: {first.service or ''} {first.task_name}".strip(),
        event_count=len(events),
        subject_count=len(subjects),
    )
