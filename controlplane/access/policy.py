"""Whether a requester may do what the role table cannot say by route alone, and how requesters are told apart.

A requester is a person with a console session or a program with an API token; both come as a request.
"""

import time
from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest
from rest_framework.request import Request

from controlplane.access.models import ApiToken
from controlplane.access.roles import Role, role_of
from controlplane.common.errors import Forbidden, Unauthorized
from controlplane.common.rest.errors import AUTHENTICATION_REQUIRED

# Literals that clients of the reference control plane compare. Source: contract, Annex A.
COMMANDS_NEED_OPERATOR = "insufficient role for command execution"
DESTRUCTIVE_NEEDS_ADMIN = "admin role required for destructive commands"
DESTRUCTIVE_NEEDS_RECENT_LOGIN = "recent authentication required for destructive commands"
ADMIN_TOKEN_NEEDS_RECENT_LOGIN = "recent authentication required to make a token with scope admin"  # noqa: S105 -- a sentence

LOGGED_IN_AT_KEY = "access_logged_in_at"
_ROLE_ATTRIBUTE = "_access_role"
SCOPE_CAP = {
    ApiToken.Scope.READ: Role.VIEWER,
    ApiToken.Scope.COMMAND: Role.OPERATOR,
    ApiToken.Scope.ADMIN: Role.ADMIN,
}


@receiver(user_logged_in)
def remember_login(sender: object, request: HttpRequest, **kwargs: Any) -> None:  # noqa: ARG001 -- a receiver
    """Keep the time of this login in its own session: `User.last_login` moves when another device logs in."""
    session = getattr(request, "session", None)
    if session is not None:
        session[LOGGED_IN_AT_KEY] = time.time()


def role_of_request(request: HttpRequest | Request) -> Role | None:
    """The role that counts for this request: the user's, capped by the scope of the token. Asked once per request."""
    http = request._request if isinstance(request, Request) else request  # noqa: SLF001 -- lives as long as both
    if not hasattr(http, _ROLE_ATTRIBUTE):
        setattr(http, _ROLE_ATTRIBUTE, _effective_role(request))
    role: Role | None = getattr(http, _ROLE_ATTRIBUTE)
    return role


def _effective_role(request: HttpRequest | Request) -> Role | None:
    role = role_of(request.user)
    token = token_of(request)
    if role is None or token is None:
        return role
    return min(role, SCOPE_CAP[ApiToken.Scope(token.scope)], key=lambda each: each.rank)


def token_of(request: HttpRequest | Request) -> ApiToken | None:
    """The API token that made this request, or None for a console session."""
    auth = getattr(request, "auth", None)
    return auth if isinstance(auth, ApiToken) else None


def environments_of(request: HttpRequest | Request) -> frozenset[str] | None:
    """The environments that exist for this requester; None where all do. Only tokens are narrowed."""
    token = token_of(request)
    return frozenset(token.environments) if token is not None and token.environments else None


def may_command(request: HttpRequest | Request, *, destructive: bool) -> bool:
    """Whether the role allows it, for what a page shows; the age of the login is asked when the command is sent."""
    role = role_of_request(request)
    return role is not None and role.rank >= (Role.ADMIN if destructive else Role.OPERATOR).rank


def may_administer(request: HttpRequest | Request) -> bool:
    """Whether the role lets one look after people, their roles and tokens, and read what was done to these."""
    role = role_of_request(request)
    return role is not None and role.rank >= Role.ADMIN.rank


def ensure_may_command(request: HttpRequest | Request, *, destructive: bool) -> None:
    """Let an operator command, and only an admin who logged in lately stop an instance.

    An admin-scoped token of an admin may stop instances without a login: it was made by an admin after a recent login
    for unattended use, can be revoked, expires if its maker said so, and no program can type a password. Narrower
    tokens never may.

    Raises Unauthorized where nobody is logged in or the login is too old, Forbidden where the role does not suffice.
    """
    if not request.user.is_authenticated:
        raise Unauthorized(AUTHENTICATION_REQUIRED)
    if not may_command(request, destructive=False):
        raise Forbidden(COMMANDS_NEED_OPERATOR)
    if not destructive:
        return
    if not may_command(request, destructive=True):
        raise Forbidden(DESTRUCTIVE_NEEDS_ADMIN)
    if token_of(request) is None and not logged_in_recently(request):
        raise Unauthorized(DESTRUCTIVE_NEEDS_RECENT_LOGIN)


def logged_in_recently(request: HttpRequest | Request) -> bool:
    """Whether this session's login is younger than CONSOLE_SENSITIVE_AUTH_WINDOW_S."""
    session = getattr(request, "session", None)
    logged_in_at = session.get(LOGGED_IN_AT_KEY) if session is not None else None
    if not isinstance(logged_in_at, (int, float)):
        return False
    return time.time() - logged_in_at < settings.CONSOLE_SENSITIVE_AUTH_WINDOW_S
