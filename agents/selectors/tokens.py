"""Agent tokens."""

from django.db.models import QuerySet

from agents.models import AgentToken
from agents.selectors.visibility import Environments
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
