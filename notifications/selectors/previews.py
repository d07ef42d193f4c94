"""What a message would look like, before any is sent."""

import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import override

from notifications.engine.cards import Card
from notifications.engine.facts import Fact
from notifications.engine.rendering import card_of
from notifications.engine.telling import Telling
from notifications.models import Channel, EventType
from notifications.providers.registry import provider_of
from notifications.selectors.targets import target_of, zone_of


@dataclass(frozen=True, slots=True)
class Preview:
    """A message in one language: its card, and what the provider would be sent, as text without secrets."""

    language: str
    card: Card
    text: str


def preview_of_test(channel: Channel, message: str) -> Preview:
    """What the test of a channel sends."""
    return _preview(channel, _test(message, channel.language), channel.language)


def previews_of(channel: Channel, event_type: str, *, now: datetime) -> list[Preview]:
    """A made-up message about an event of that type in each language of the portal."""
    return [_preview(channel, _sample(event_type, code, now), code) for code, _name in settings.LANGUAGES]


def _preview(channel: Channel, telling: Telling, language: str) -> Preview:
    card = card_of(telling, language=language, zone=zone_of(channel.time_zone), portal_url=settings.PORTAL_URL)
    target = replace(target_of(channel), language=language)
    return Preview(language, card, provider_of(channel.provider).preview(target, card))


def _test(message: str, language: str) -> Telling:
    with override(language):
        return Telling(kind="test", message=message or _("This is a test of the channel."), since=timezone.now())


def _sample(event_type: str, language: str, now: datetime) -> Telling:
    with override(language):
        fact = _fact(EventType(event_type), now)
    return Telling(
        kind="alert",
        event_type=event_type,
        facts=(fact,),
        event_count=1,
        subject_count=1,
        since=fact.occurred_at,
        rule_name=_("on call"),
    )


def _fact(event_type: EventType, now: datetime) -> Fact:
    """One of a shop that does not exist."""
    at = now - timedelta(minutes=2)
    of_task = event_type.value.startswith("task_")
    of_portal = event_type in (EventType.CHANNEL_FAILING, EventType.PORTAL_LAGGING)
    goes_wrong = event_type in (EventType.TASK_FAILED, EventType.TASK_RETRIED, EventType.TASK_DEAD_LETTERED)
    return Fact(
        event_id="example",
        event_type=event_type.value,
        occurred_at=at,
        received_at=at,
        service_name="" if of_portal else "web/shop",
        environment="" if of_portal else "prod",
        instance_id=None if of_portal else uuid.UUID(int=7),
        node_name="" if of_portal else "shop-7",
        task_name="sync" if of_task else "",
        command_kind="restart" if event_type.value.startswith("command_") else "",
        portal_subject="on call" if of_portal else "",
        message=_("connection refused") if goes_wrong else "",
        failure_kind="error" if goes_wrong else "",
        exception_type="ConnectionError" if goes_wrong else "",
        attempts=3 if goes_wrong else None,
        duration_ms=1500 if of_task else None,
        scheduled_at=at if of_task else None,
        grace_s=300 if event_type == EventType.TASK_MISSED_START else None,
        last_seen_at=at - timedelta(seconds=90),
        summary=_("42 orders") if event_type == EventType.TASK_SUCCEEDED else "",
    )

