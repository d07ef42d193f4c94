"""Cards of what is told. STAND-IN: to be replaced at merge."""

from zoneinfo import ZoneInfo

from django.utils.translation import override

from notifications.engine.cards import Card
from notifications.engine.telling import Telling


def card_of(telling: Telling, *, language: str, zone: ZoneInfo, portal_url: str) -> Card:  # noqa: ARG001 -- the real one's
    """The card in that language, with times of that zone."""
    with override(language):
        fact = telling.facts[0] if telling.facts else None
        where = f"{fact.environment}/{fact.service_name} {fact.task_name or fact.node_name}".strip() if fact else ""
        about = telling.cover or where
        title = f"[{telling.event_type or telling.kind}] {about}"
        return Card(title=title, tone="good" if telling.kind == "resolved" else "bad", link=portal_url)
