"""Into the outbox: what is to be told is written in the transaction that decides it. Source: contract 7.4."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import transaction

from controlplane.common.changes import subject_of
from controlplane.common.clean import clean_text
from notifications.engine.facts import Fact
from notifications.engine.telling import Telling
from notifications.models import Alert, Channel, Delivery, EventType, Rule
from notifications.services.bell import ring
from notifications.services.ledger import frozen_card, next_delivery_id

KEY_MAX_CHARS: Final = 1000


def event_key(fact: Fact) -> str:
    """What makes a message about one event alone the same message. Source: contract 7.4.

    An event has an id of its own, and so has a start that is missed: by task and planned time. What is worked out by
    looking at instances is told apart by instance, time and type.
    """
    scheduled = fact.scheduled_at
    if fact.event_type == EventType.TASK_MISSED_START and scheduled is not None:
        place = f"{fact.environment}:{fact.service_name}:{fact.task_name}"
        return f"{place}:{scheduled.isoformat()}:{fact.event_type}"
    if fact.event_type in (EventType.INSTANCE_ONLINE, EventType.INSTANCE_OFFLINE) and fact.instance_id is not None:
        place = f"{fact.environment}:{fact.service_name}:{fact.instance_id}"
        return f"{place}:{fact.occurred_at.isoformat()}:{fact.event_type}"
    return fact.event_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One telling, and the channels that it goes to. `dedupe_key` tells it apart from all others to the same one."""

    channels: Collection[Channel]
    telling: Telling
    dedupe_key: str
    rule_id: int | None = None
    alert_id: int | None = None


def enqueue(
    channels: Iterable[Channel],
    telling: Telling,
    *,
    rule: Rule | None,
    alert: Alert | None,
    dedupe_key: str,
    now: datetime,
) -> list[Delivery]:
    """Have each of these channels told; returns the deliveries that are new. As `enqueue_all`."""
    entry = Entry(
        channels=list(channels),
        telling=telling,
        dedupe_key=dedupe_key,
        rule_id=rule.pk if rule is not None else None,
        alert_id=alert.pk if alert is not None else None,
    )
    return enqueue_all([entry], now=now)


def enqueue_all(entries: Sequence[Entry], *, now: datetime) -> list[Delivery]:
    """Have the channels of each entry told; returns the deliveries that are new.

    Call it inside the transaction of what decides it. What a channel was told under a `dedupe_key` before, it is not
    told again; channels that are off are not told, nor is a channel of its own failure. Cost: a card for each telling,
    language and zone, and two statements for all.
    """
    rows = [row for entry in entries for row in _rows(entry, now)]
    Delivery.objects.bulk_create(rows, ignore_conflicts=True)
    new = set(Delivery.objects.filter(pk__in=[row.pk for row in rows]).values_list("pk", flat=True)) if rows else set()
    if new:
        transaction.on_commit(ring, robust=True)
    return [row for row in rows if row.pk in new]


def _rows(entry: Entry, now: datetime) -> Iterator[Delivery]:
    telling = entry.telling
    cards: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for channel in entry.channels:
        if not channel.enabled or _is_about(telling, channel):
            continue
        place = (channel.language, channel.time_zone)
        if place not in cards:
            cards[place] = frozen_card(telling, language=channel.language, time_zone=channel.time_zone)
        title, card = cards[place]
        yield Delivery(
            id=next_delivery_id(),
            dedupe_key=_key(channel, entry.dedupe_key),
            channel=channel,
            channel_name=channel.name,
            provider=channel.provider,
            rule_id=entry.rule_id,
            alert_id=entry.alert_id,
            kind=telling.kind,
            event_type=telling.event_type,
            event_count=telling.event_count,
            title=title,
            card=card,
            event_at=telling.facts[0].occurred_at if telling.facts else telling.since,
            created_at=now,
        )


def _is_about(telling: Telling, channel: Channel) -> bool:
    """Whether nothing is told but that this very channel fails."""
    if telling.event_type != EventType.CHANNEL_FAILING or not telling.facts:
        return False
    own = subject_of(channel)
    return all(fact.portal_subject == own for fact in telling.facts)


def _key(channel: Channel, dedupe_key: str) -> str:
    key = clean_text(f"{channel.pk}:{dedupe_key}")
    if len(key) <= KEY_MAX_CHARS:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{key[: KEY_MAX_CHARS - len(digest) - 1]}:{digest}"
