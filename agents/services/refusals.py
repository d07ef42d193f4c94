"""Agents that were not let in: without a trace, nobody could tell a wrong token from an agent that never started."""

from django.utils import timezone

from agents.models.event import EventKind
from agents.services.events import portal_event, record_events


def record_refusal(*, dialect: str, peer_address: str, reason: str, token_id: int | None = None) -> None:
    """Note that an agent was refused; `reason` is a sentence. Callers damp it: agents try again for ever."""
    meta: dict[str, object] = {"dialect": dialect, "peer_address": peer_address}
    if token_id is not None:
        meta["token_id"] = token_id
    record_events([portal_event(EventKind.AGENT_REFUSED, at=timezone.now(), message=reason, meta=meta)])
