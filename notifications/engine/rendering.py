"""Cards of what is told. STAND-IN: to be replaced at merge."""

from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _
from django.utils.translation import override

from notifications.engine.cards import Card, Line
from notifications.engine.telling import Telling
from notifications.models.scope import EventType


def card_of(telling: Telling, *, language: str, zone: ZoneInfo, portal_url: str) -> Card:
    """The card in that language, with times of that zone."""
    with override(language):
        label = EventType(telling.event_type).label if telling.event_type in EventType.values else telling.kind
        fact = telling.facts[0] if telling.facts else None
        where = f"{fact.environment}/{fact.service_name} {fact.task_name or fact.node_name}".strip() if fact else ""
        lines = [Line(name=_("Message"), value=telling.message)] if telling.message else []
        if fact is not None:
            told = fact.occurred_at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
            lines += [
                Line(name=_("Environment"), value=fact.environment, is_code=True),
                Line(name=_("Service"), value=fact.service_name, is_code=True),
                Line(name=_("Time"), value=told),
                Line(name=_("Cause"), value=fact.message),
            ]
        if telling.cover:
            lines.append(Line(name=_("Who"), value=telling.cover))
        return Card(
            title=telling.message or f"[{label}] {where}".strip(),
            tone="bad" if telling.kind != "resolved" else "good",
            lines=tuple(line for line in lines if line.value),
            link=portal_url or "/admin/",
        )
