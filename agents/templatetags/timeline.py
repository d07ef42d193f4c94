"""What the templates of timelines ask of sessions and commands."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from django import template

from agents.models import Session
from controlplane.console.formatting import duration

register = template.Library()


@register.filter
def ended_at(session: Session) -> datetime | None:
    """When a session ended, or None while it is active."""
    return session.disconnected_at or session.superseded_at


@register.filter
def lasted(session: Session) -> str:
    """How long a session that ended was; empty while it is active."""
    ended = ended_at(session)
    return duration((ended - session.connected_at).total_seconds() * 1000) if ended else ""


@register.filter
def reason_of(reasons: Mapping[UUID, str], key: UUID) -> str:
    """What is told of the command, if anything."""
    return reasons.get(key, "")
