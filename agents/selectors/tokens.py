"""Agent tokens."""

from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import Count, OuterRef, QuerySet, Subquery

from agents.models import AgentToken, Session
from agents.selectors.visibility import Environments
from controlplane.common.database import TookTooLong, statements_within
from controlplane.common.errors import NotFound
from controlplane.common.tokens import narrowed_to


def agent_tokens(*, environments: Environments = None) -> QuerySet[AgentToken]:
    """Tokens with who made them; those for all environments exist for none that is narrowed."""
    return AgentToken.objects.select_related("created_by").filter(narrowed_to(environments))


def get_agent_token(token_id: int, *, environments: Environments = None) -> AgentToken:
    """The token with who made it, or NotFound."""
    token = agent_tokens(environments=environments).filter(pk=token_id).first()
    if token is None:
        raise NotFound(f"token {token_id} was not found", code="token_not_found")
    return token


# A token of long ago may have had very many sessions; who used it last is not worth more.
_LAST_USE_WITHIN_MS = 1500


def open_sessions_by_token(tokens: Collection[AgentToken] | None = None) -> dict[int | None, int]:
    """How many sessions each token holds open, by its id; of all tokens where none are named, None for those of the
    environment. One read of an index."""
    rows = Session.objects.filter(status=Session.Status.ACTIVE)
    if tokens is not None:
        rows = rows.filter(token__in=[token.pk for token in tokens])
    return dict(rows.order_by().values_list("token").annotate(session_count=Count("pk")))


@dataclass(frozen=True, slots=True)
class LastUse:
    """From where a token opened its newest session, and the agent that did."""

    address: str
    agent_version: str
    session: Session


def last_uses(tokens: Collection[AgentToken]) -> dict[int, LastUse]:
    """By the id of the token; those without a session are left out, and all of them where that takes too long.

    Two queries.
    """
    newest = Session.objects.filter(token=OuterRef("pk")).order_by("-connected_at", "-id").values("pk")[:1]
    chosen = AgentToken.objects.filter(pk__in=[token.pk for token in tokens])
    try:
        with statements_within(_LAST_USE_WITHIN_MS):
            found = dict(chosen.order_by().values_list("pk").annotate(session=Subquery(newest)))
            sessions = Session.objects.select_related("instance").defer("capabilities", "accepted_capabilities")
            by_id = sessions.in_bulk([session_id for session_id in found.values() if session_id])
    except TookTooLong:
        return {}
    return {
        token_id: LastUse(session.peer_address, session.instance.agent_version, session)
        for token_id, session_id in found.items()
        if (session := by_id.get(session_id)) is not None
    }
