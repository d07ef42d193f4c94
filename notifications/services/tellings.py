"""What the engine tells becomes entries of the outbox."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from notifications.engine.machine import Told
from notifications.engine.telling import FACTS_MAX, Telling
from notifications.models import Channel
from notifications.selectors.alert_states import newest_facts, subjects_of
from notifications.selectors.covering import SUBJECTS_MAX, covers_by_service, covers_of_instances
from notifications.services.outbox import Entry, enqueue_all, event_key

_INSTANCES: Final = "instance_"
# Of members by (instance, service).
_Subjects = list[tuple[UUID | None, int | None]]


def hand_over(told: Sequence[Told], *, now: datetime) -> int:
    """Put what is told into the outbox; returns how many messages that were. Call it in the transaction that stored the
    alerts. Seven statements at most, whatever the number."""
    channels = Channel.objects.in_bulk({each for one in told for each in one.channel_ids}) if told else {}
    entries = [
        Entry(
            channels=[channels[each] for each in sorted(one.channel_ids) if each in channels],
            telling=telling,
            dedupe_key=_dedupe_key(one),
            rule_id=one.rule_id,
            alert_id=one.alert.id if one.alert is not None else None,
        )
        for one, telling in zip(told, tellings(told), strict=True)
    ]
    sent = [entry for entry in entries if entry.channels]
    if sent:
        enqueue_all(sent, now=now)
    return sum(len(entry.channels) for entry in sent)


def tellings(told: Sequence[Told]) -> list[Telling]:
    """What is told, with all that the database knows of it: facts of members that the engine did not know, and what
    covers them."""
    short = {
        one.alert.id
        for one in told
        if one.alert is not None
        and one.alert.id is not None
        and len(one.telling.facts) < min(FACTS_MAX, one.telling.subject_count)
    }
    facts = newest_facts(short) if short else {}
    covers = _covers(told)
    return [
        replace(
            one.telling,
            facts=(facts.get(one.alert.id or 0) if one.alert is not None else None) or one.telling.facts,
            cover=covers.get(number, ""),
        )
        for number, one in enumerate(told)
    ]


def _covers(told: Sequence[Told]) -> dict[int, str]:
    """By the place of what is told, what covers its subjects where they are several."""
    several = {number: one for number, one in enumerate(told) if one.telling.subject_count > 1}
    unknown = {
        one.alert.id
        for one in several.values()
        if one.alert is not None and one.alert.id is not None and len(one.members) < one.telling.subject_count
    }
    stored = subjects_of(unknown, limit=SUBJECTS_MAX) if unknown else {}
    instances: dict[int, list[UUID]] = {}
    services: dict[int, list[int]] = {}
    for number, one in several.items():
        of_alert = stored.get(one.alert.id or 0) if one.alert is not None else None
        subjects = of_alert or _known_subjects(one)
        if one.telling.event_type.startswith(_INSTANCES):
            instances[number] = [instance for instance, _service in subjects if instance is not None]
        else:
            services[number] = [service for _instance, service in subjects if service is not None]
    by_service = covers_by_service(services) if services else {}
    return by_service | (covers_of_instances(instances) if instances else {})


def _known_subjects(one: Told) -> _Subjects:
    return [(member.fact.instance_id, member.fact.service_id) for member in one.members]


def _dedupe_key(one: Told) -> str:
    """What tells a message apart from all others to its channel; of an event alone, as the contract has it (7.4)."""
    if one.silence_id is not None:
        return f"silence:{one.silence_id}:{one.at.isoformat()}"
    if one.alert is not None and one.is_alone:
        return event_key(one.telling.facts[0])
    alert = one.alert.id if one.alert is not None else 0
    return f"alert:{alert}:{one.number}:{one.telling.kind}"
