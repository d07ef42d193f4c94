"""Replay: what a rule or a silence would have told of the past, by the very engine that tells of the present."""

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from typing import Final
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from django.utils.translation import get_language

from notifications.engine.cards import Card
from notifications.engine.facts import Fact
from notifications.engine.machine import Machine, Told
from notifications.engine.matching import RuleSpec, SilenceSpec
from notifications.engine.rendering import card_of
from notifications.engine.telling import Telling
from notifications.models import Channel, Rule, Silence
from notifications.selectors.covering import covers_by_service, covers_of_instances
from notifications.selectors.past import past_facts
from notifications.selectors.specs import rule_spec, rule_specs, silence_spec, silence_specs
from notifications.services.checks import check_scope

# So many events are read, the newest ones.
READ_MAX: Final = 20_000
# So many messages are written out, the newest ones; the others are counted.
WRITTEN_MAX: Final = 500
READ_FOR_S: Final = 10.0
RUN_FOR_S: Final = 10.0
# So many facts are taken between two looks at the clock.
_PORTION: Final = 500
_INSTANCES: Final = "instance_"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedMessage:
    """One message that would have been sent, to these channels. `card` and `title` are in the language of the reader,
    and there for the newest WRITTEN_MAX messages."""

    at: datetime
    kind: str
    event_type: str
    title: str
    event_count: int
    subject_count: int
    channel_ids: tuple[int, ...] = ()
    card: Card | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCount:
    """So many messages one channel would have got on one day, by the clock of the reader; `channel_id` is None for a
    draft that has no channel yet."""

    day: date
    channel_id: int | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """`event_count` matched; `silenced_count` of them would have been counted only.

    `since` is from when on events were read: later than asked for where there were too many (`is_cut`).
    `stopped_at` is set where the time for it was over before the end: nothing later was looked at. `messages_without`
    says, of a silence, how many messages there would have been without it.
    """

    since: datetime
    until: datetime
    event_count: int
    silenced_count: int
    messages: tuple[ReplayedMessage, ...]
    by_day: tuple[DayCount, ...] = ()
    is_cut: bool = False
    stopped_at: datetime | None = None
    messages_without: int | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    told: list[Told]
    event_count: int
    silenced_count: int
    stopped_at: datetime | None


def replay(
    draft: Rule | Silence, since: datetime, until: datetime, *, channels: Collection[Channel] | None = None
) -> Replay:
    """Run a rule or a silence, stored or a draft, over the events that are stored from `since` to `until`.

    Nothing is stored or sent. A rule runs alone, beside the silences that there are; a silence runs beside all rules
    that are enabled. `channels` are those of a draft of a rule. Scopes go by the labels that instances have now.
    Raises Invalid where the scope of a draft cannot be.
    """
    check_scope(draft)
    rules = _rules(draft, channels)
    others = [_anew(each) for each in silence_specs(since=since) if not _is_same(each, draft)]
    own = [_anew(silence_spec(draft))] if isinstance(draft, Silence) else []
    past = past_facts(rules, since, until, rows_max=READ_MAX, deadline=time.monotonic() + READ_FOR_S)
    ran = _run(rules, [*others, *own], past.facts, past.since, until)
    without = len(_run(rules, others, past.facts, past.since, until).told) if own else None
    return Replay(
        since=past.since,
        until=until,
        event_count=ran.event_count,
        silenced_count=ran.silenced_count,
        messages=_messages(ran.told),
        by_day=_by_day(ran.told),
        is_cut=past.is_cut,
        stopped_at=ran.stopped_at,
        messages_without=without,
    )


def _rules(draft: Rule | Silence, channels: Collection[Channel] | None) -> list[RuleSpec]:
    if isinstance(draft, Silence):
        return rule_specs()
    if channels is None:
        channels = list(draft.channels.filter(enabled=True)) if draft.pk is not None else []
    return [rule_spec(draft, [channel.pk for channel in channels])]


def _is_same(silence: SilenceSpec, draft: Rule | Silence) -> bool:
    return isinstance(draft, Silence) and silence.id == draft.pk


def _anew(silence: SilenceSpec) -> SilenceSpec:
    """As if nothing of it had been told yet."""
    return replace(silence, applied_at=None, told_until=None)


def _run(
    rules: Sequence[RuleSpec], silences: Sequence[SilenceSpec], facts: Sequence[Fact], since: datetime, until: datetime
) -> _Run:
    """The engine over all facts, as far as RUN_FOR_S allows."""
    begin = min([since, *(fact.received_at for fact in facts[:1])])
    machine = Machine(rules, silences, clock=begin)
    steps = machine.plan(facts, until=until)
    deadline = time.monotonic() + RUN_FOR_S
    told: list[Told] = []
    taken = 0
    stopped_at: datetime | None = None
    while taken < len(steps):
        portion = steps[taken : taken + _PORTION]
        taken += len(portion)
        told += machine.run(portion, until=portion[-1].at, is_whole=False)
        if time.monotonic() >= deadline:
            stopped_at = portion[-1].at
            break
    else:
        told += machine.run([], until=until)
    joins = [join for step in steps[:taken] for join in step.joins]
    return _Run(told, len(joins), sum(join.in_force is not None for join in joins), stopped_at)


# --- what comes of it


def _messages(told: Sequence[Told]) -> tuple[ReplayedMessage, ...]:
    start = max(0, len(told) - WRITTEN_MAX)
    covers = _covers(told, start)
    language, zone = get_language() or settings.LANGUAGE_CODE, timezone.get_current_timezone()
    messages = []
    for number, one in enumerate(told):
        telling = replace(one.telling, cover=covers.get(number, ""))
        card = _card(telling, language, zone) if number >= start else None
        messages.append(
            ReplayedMessage(
                at=one.at,
                kind=telling.kind,
                event_type=telling.event_type,
                title=card.title if card is not None else "",
                event_count=telling.event_count,
                subject_count=telling.subject_count,
                channel_ids=tuple(sorted(one.channel_ids)),
                card=card,
            )
        )
    return tuple(messages)


def _card(telling: Telling, language: str, zone: tzinfo) -> Card:
    return card_of(telling, language=language, zone=zone, portal_url="")


def _covers(told: Sequence[Told], start: int) -> dict[int, str]:
    """What covers the subjects of the messages that are written out, as the fleet is now."""
    instances: dict[int, list[UUID]] = {}
    services: dict[int, list[int]] = {}
    for number, one in enumerate(told[start:], start):
        if one.telling.subject_count < 2:
            continue
        facts = [member.fact for member in one.members]
        if one.telling.event_type.startswith(_INSTANCES):
            instances[number] = [fact.instance_id for fact in facts if fact.instance_id is not None]
        else:
            services[number] = [fact.service_id for fact in facts if fact.service_id is not None]
    return (covers_by_service(services) if services else {}) | (covers_of_instances(instances) if instances else {})


def _by_day(told: Sequence[Told]) -> tuple[DayCount, ...]:
    zone = timezone.get_current_timezone()
    counts: Counter[tuple[date, int | None]] = Counter()
    for one in told:
        day = one.at.astimezone(zone).date()
        counts.update((day, channel) for channel in one.channel_ids or (None,))
    ordered = sorted(counts.items(), key=lambda pair: (pair[0][0], pair[0][1] or 0))
    return tuple(DayCount(day=day, channel_id=channel, count=count) for (day, channel), count in ordered)
