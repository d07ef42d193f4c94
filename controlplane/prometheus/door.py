"""Who may scrape: agents' tokens, as the contract has it, and API tokens. Source: contract 8."""

from django.http import HttpRequest

from agents.models.instance import Dialect
from agents.selectors.visibility import Environments
from agents.services.tokens import check_agent_token, has_agent_tokens
from controlplane.access.actors import address_of
from controlplane.access.roles import role_of
from controlplane.access.services import SECRET_PREFIX, has_api_tokens, use_api_token
from controlplane.common.errors import ControlPlaneError, Forbidden, Unauthorized

BAD_TOKEN = "the bearer token is missing, unknown, revoked or expired"  # noqa: S105 -- a sentence, no secret


class NoTokens(ControlPlaneError):
    """No token of any kind is configured: nobody could scrape."""

    code = "no_tokens"


def environments_of_bearer(request: HttpRequest) -> Environments:
    """The environments whose series exist for whoever shows this bearer; None where all do.

    Raises Unauthorized for a bearer that is missing or bad, NoTokens where none could be good, and Forbidden for an
    API token whose user has no role. Of agents' tokens those count that speak the dialect of the series.
    """
    scheme, _space, shown = request.headers.get("Authorization", "").partition(" ")
    secret = shown.strip() if scheme.lower() == "bearer" else ""
    if secret.startswith(SECRET_PREFIX) and (token := use_api_token(secret, address=address_of(request))) is not None:
        if role_of(token.user) is None:
            raise Forbidden("insufficient role")
        return frozenset(token.environments) or None
    credential = check_agent_token(secret, dialect=Dialect.ONESTEP)
    if credential is not None:
        return frozenset(credential.environments) or None
    if has_agent_tokens() or has_api_tokens():
        raise Unauthorized(BAD_TOKEN)
    raise NoTokens("no token is configured")
