"""Whether a requester is let in, and asking that again long after: a stream or a file outlives its login."""

from collections.abc import Collection
from dataclasses import dataclass
from importlib import import_module

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rest_framework.request import Request

from controlplane.access.models import ApiToken
from controlplane.access.policy import environments_of, may_administer, role_of_request, token_of
from controlplane.access.roles import Role
from controlplane.access.table import rule_for


@dataclass(frozen=True, slots=True)
class Login:
    """By what a requester was let in: an API token, or a console session."""

    user_id: int
    token_id: int | None
    session_key: str | None


@dataclass(frozen=True, slots=True)
class Admission:
    """What a requester who is let in may see: these environments, or all where it is None.

    Only an administrator is told what was done to people, their roles and their tokens.
    """

    environments: frozenset[str] | None
    is_administrator: bool = False


def is_let_in(request: HttpRequest | Request, route: str, method: str) -> bool:
    """Whether whoever makes the request has the role that the table asks for."""
    rule = rule_for(route, method)
    role = role_of_request(request)
    return isinstance(rule, Role) and role is not None and role.rank >= rule.rank


def admission_of(request: HttpRequest | Request) -> Admission:
    """Of a request that was let in."""
    return Admission(environments_of(request), may_administer(request))


def login_of(request: Request) -> Login:
    """Of a request that was let in. Raises TypeError for an anonymous one."""
    if not isinstance(request.user, User):
        raise TypeError("An anonymous request has no login.")
    token = token_of(request)
    if token is not None:
        return Login(request.user.pk, token.pk, None)
    return Login(request.user.pk, None, request.session.session_key)


def admissions(logins: Collection[Login], *, route: str) -> dict[Login, Admission | None]:
    """What each would now be admitted to by GET on a route of the permission table; None where it would be refused.

    A token must not be revoked or expired, a session not be logged out, expired or older than the password, and the
    user must be active and have the role. Two or three queries for each login.
    """
    return {login: _admission(login, route) for login in logins}


def _admission(login: Login, route: str) -> Admission | None:
    request = _request_of_session(login) if login.token_id is None else _request_of_token(login.token_id)
    if request is None or not is_let_in(request, route, "GET"):
        return None
    return admission_of(request)


def _request_of_token(token_id: int) -> HttpRequest | None:
    unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    usable = ApiToken.objects.filter(unexpired, revoked_at=None, user__is_active=True)
    token = usable.select_related("user").filter(pk=token_id).first()
    if token is None:
        return None
    request = HttpRequest()
    request.user = token.user
    request.auth = token  # type: ignore[attr-defined] # as DRF has it
    return request


def _request_of_session(login: Login) -> HttpRequest | None:
    """The look of Django's own check, which may give a session a new key: that would log the browser out."""
    session = import_module(settings.SESSION_ENGINE).SessionStore(login.session_key)
    user = User.objects.filter(pk=login.user_id, is_active=True).first()
    if user is None or session.get(SESSION_KEY) != str(login.user_id):
        return None
    shown = session.get(HASH_SESSION_KEY, "")
    known = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    if not any(constant_time_compare(shown, each) for each in known):
        return None
    request = HttpRequest()
    request.user = user
    return request
