"""The outbox: what is told waits here to be sent. STAND-IN: to be replaced at merge."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from django.conf import settings

from notifications.engine.rendering import card_of
from notifications.engine.telling import Telling
from notifications.models import Alert, Channel, Delivery, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One telling, and the channels that it goes to. `dedupe_key` tells it apart from all others to the same one."""

    channels: Collection[Channel]
    telling: Telling
    dedupe_key: str
    rule_id: int | None = None
    alert_id: int | None = None


def enqueue(
    channels: Collection[Channel],
    telling: Telling,
    *,
    rule: Rule | None,
    alert: Alert | None,
    dedupe_key: str,
    now: datetime,
) -> list[Delivery]:
    """Put one telling into the outbox of each channel; what is there already is left as it is."""
    entry = Entry(
        channels=channels,
        telling=telling,
        dedupe_key=dedupe_key,
        rule_id=rule.pk if rule is not None else None,
        alert_id=alert.pk if alert is not None else None,
    )
    return enqueue_all([entry], now=now)


def enqueue_all(entries: Sequence[Entry], *, now: datetime) -> list[Delivery]:
    """The same for many, in one statement; what they have in common with what is there is left out."""
    rows = [_delivery(channel, entry, now) for entry in entries for channel in entry.channels]
    return list(Delivery.objects.bulk_create(rows, ignore_conflicts=True))


def _delivery(channel: Channel, entry: Entry, now: datetime) -> Delivery:
    telling = entry.telling
    zone = ZoneInfo(channel.time_zone or settings.TIME_ZONE)
    card = card_of(telling, language=channel.language, zone=zone, portal_url="")
    return Delivery(
        dedupe_key=f"{channel.pk}:{entry.dedupe_key}",
        channel=channel,
        channel_name=channel.name,
        provider=channel.provider,
        rule_id=entry.rule_id,
        alert_id=entry.alert_id,
        kind=telling.kind,
        event_type=telling.event_type,
        event_count=telling.event_count,
        title=card.title[:500],
        card=msgspec.to_builtins(card),
        next_attempt_at=now,
        event_at=telling.since,
        created_at=now,
    )
