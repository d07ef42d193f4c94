"""Who may call the registry: the permission table and AUTH_MODE say. Source: argus contract, Environment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.http import HttpRequest

from agents.models.instance import Dialect
from agents.selectors.visibility import Environments
from agents.services.tokens import Credential, check_configured_token, check_stored_tokens, keep_awaited
from controlplane.access.actors import API, actor_of, address_of
from controlplane.access.origins import ensure_own_origin
from controlplane.access.policy import environments_of, role_of_request
from controlplane.access.roles import Role
from controlplane.access.services import SECRET_PREFIX, use_api_token
from controlplane.access.table import Door, Rule
from controlplane.common.actors import Actor
from controlplane.common.errors import Forbidden, Unauthorized
from controlplane.common.joining import Joiner

TOKEN: Final = "token"  # noqa: S105 -- a mode
NO_TOKEN: Final = "Authorization must be `Bearer` and a token, since AUTH_MODE is token."  # noqa: S105 -- a sentence
BAD_TOKEN: Final = "Authorization holds a token that is unknown, revoked, expired or not for this dialect."  # noqa: S105
NOT_FOR_PEOPLE: Final = "Authorization must hold an agent token: nodes alone register and report."
NOT_FOR_AGENTS: Final = (
    "Authorization must hold an API token of an operator with the scope command, or use the console: config and label "
    "are set by operators, never by agents."
)
NO_ROLE: Final = "Authorization is of somebody without a role."
NO_OPERATOR: Final = "Authorization is of somebody who is no operator, or has a token without the scope command."
# Tokens that one query asks for.
_BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, for history, and the environments that exist for them; None where all do.

    `credential` is that of an agent, where it showed a token.
    """

    actor: Actor
    environments: Environments = None
    credential: Credential | None = None

    def let_in(self) -> None:
        """What it asked for was done: a token that was waited for stays."""
        if self.credential is not None:
            keep_awaited([self.credential])


def caller_of(request: HttpRequest, rule: Rule | None) -> Caller:
    """Who makes a request that the permission table has `rule` for, once it is let in.

    No page of a foreign origin changes anything, in either mode: without it, any page that somebody opens could
    register nodes in a network that it cannot see. Raises Unauthorized and Forbidden.
    """
    ensure_own_origin(request)
    if settings.AUTH_MODE != TOKEN or rule is Door.ANYBODY:
        return Caller(_whoever(request) if rule is Door.NODE_OPERATOR else _nobody(request))
    secret = _bearer(request)
    if secret is None:
        return _person(request, rule, is_known=_has_session(request), otherwise=NO_TOKEN)
    if secret.startswith(SECRET_PREFIX):
        return _person(request, rule, is_known=_shows_api_token(request, secret), otherwise=BAD_TOKEN)
    credential = check_configured_token(secret) or _stored_joined(secret)
    if credential is None:
        raise Unauthorized(BAD_TOKEN)
    if rule is Door.NODE_OPERATOR:
        raise Forbidden(NOT_FOR_AGENTS)
    return Caller(_nobody(request), credential.environments or None, credential)


def _stored(secrets: Sequence[str]) -> list[Credential | None]:
    return check_stored_tokens(secrets, dialect=Dialect.ARGUS)


_stored_joined: Joiner[str, Credential | None] = Joiner(_stored, batch_size=_BATCH)


def _person(request: HttpRequest, rule: Rule | None, *, is_known: bool, otherwise: str) -> Caller:
    if not is_known:
        raise Unauthorized(otherwise)
    if rule is Door.NODE:
        raise Forbidden(NOT_FOR_PEOPLE)
    role = role_of_request(request)
    if role is None:
        raise Forbidden(NO_ROLE)
    if rule is not Door.NODE_READER and role.rank < Role.OPERATOR.rank:
        raise Forbidden(NO_OPERATOR)
    return Caller(actor_of(request), environments_of(request))


def _whoever(request: HttpRequest) -> Actor:
    """Whoever proves who they are, where nobody has to."""
    secret = _bearer(request) or ""
    is_known = _shows_api_token(request, secret) if secret else _has_session(request)
    return actor_of(request) if is_known else _nobody(request)


def _nobody(request: HttpRequest) -> Actor:
    return Actor("", address=address_of(request), via=API)


def _bearer(request: HttpRequest) -> str | None:
    """What is shown as a bearer; None where the header is absent or of another scheme."""
    scheme, _space, shown = request.headers.get("Authorization", "").partition(" ")
    return shown.strip() if scheme.lower() == "bearer" else None


def _has_session(request: HttpRequest) -> bool:
    user = getattr(request, "user", None)
    return user is not None and user.is_authenticated


def _shows_api_token(request: HttpRequest, secret: str) -> bool:
    """Whether the secret is a usable API token; the request then is its user's."""
    token = use_api_token(secret, address=address_of(request)) if secret.startswith(SECRET_PREFIX) else None
    if token is None:
        return False
    request.user = token.user
    request.auth = token  # type: ignore[attr-defined] # as DRF has it
    return True
