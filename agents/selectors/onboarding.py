"""What was seen of an agent that somebody is connecting for the first time."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from agents.models import AgentToken, Event, Instance, Session
from agents.models.event import EventKind
from agents.models.instance import Connectivity, Dialect
from agents.selectors.events import latest_possible

REFUSALS_READ = 50
REFUSALS_SHOWN = 5

Stage: TypeAlias = Literal["green", "silent", "left", "waiting"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An agent that was not let in; `is_own` where it showed the token in question, or the beginning of it."""

    cause: str
    reason: str
    peer_address: str
    at: datetime
    is_own: bool


@dataclass(frozen=True, slots=True)
class Sight:
    """`green` has reported; `silent` is connected and sent no heartbeat; `left` is gone again; else nobody came."""

    stage: Stage
    instance: Instance | None
    session: Session | None
    refusals: list[Refusal]


def sight(*, dialect: str, token: AgentToken | None, name: str, since: datetime) -> Sight:
    """Two queries: who came, and who was refused."""
    refusals = _refusals(dialect, token, since)
    if dialect == Dialect.ARGUS:
        node = Instance.objects.select_related("service").filter(dialect=dialect, node__name=name).first()
        if node is None:
            return Sight("waiting", None, None, refusals)
        is_green = node.connectivity == Connectivity.ONLINE and bool(node.last_seen_at and node.last_seen_at >= since)
        return Sight("green" if is_green else "silent", node, None, refusals)
    session = (
        Session.objects.filter(token=token).select_related("instance__service").order_by("-connected_at").first()
        if token
        else None
    )
    if session is None:
        return Sight("waiting", None, None, refusals)
    stage: Stage = "green" if session.instance.last_heartbeat_started_at else "silent"
    if session.status != Session.Status.ACTIVE:
        stage = "left"
    return Sight(stage, session.instance, session, refusals)


def _refusals(dialect: str, token: AgentToken | None, since: datetime) -> list[Refusal]:
    rows = Event.objects.filter(
        kind=EventKind.AGENT_REFUSED, occurred_at__gte=since, occurred_at__lte=latest_possible()
    ).order_by("-occurred_at", "-id")[:REFUSALS_READ]
    found = []
    for row in rows:
        is_own = token is not None and (row.meta.get("token_id") == token.pk or row.meta.get("shown") == token.prefix)
        # Those who showed the token of somebody else are no concern of whoever looks.
        if is_own or (row.meta.get("token_id") is None and row.meta.get("dialect") == dialect):
            cause, peer = row.meta.get("cause", ""), row.meta.get("peer_address", "")
            found.append(Refusal(str(cause), row.message, str(peer), row.occurred_at, is_own))
    found.sort(key=lambda each: not each.is_own)
    return found[:REFUSALS_SHOWN]
