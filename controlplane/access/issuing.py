"""Which API tokens a requester of the API sees, makes and revokes: never a stronger one than itself.

The console asks Django's permissions instead, in controlplane.access.admin.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from controlplane.access.models import ApiToken
from controlplane.access.policy import ADMIN_TOKEN_NEEDS_RECENT_LOGIN, SCOPE_CAP
from controlplane.access.roles import Role
from controlplane.access.services import create_api_token, revoke_api_token
from controlplane.common.actors import Actor
from controlplane.common.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from controlplane.common.tokens import narrowed_to


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks: a user in the role that counts for this request, by a token or in a session (None).

    `environments` are those that the token is narrowed to, None where it is not. `logged_in_recently` is about a
    session, and False for a token.
    """

    user: User
    role: Role
    actor: Actor
    token: ApiToken | None
    environments: frozenset[str] | None
    logged_in_recently: bool = False


@dataclass(frozen=True, slots=True)
class TokenWish:
    """A token as it is asked for; what is None is as the requester has it."""

    name: str
    scope: str
    username: str | None = None
    environments: Sequence[str] | None = None
    expires_at: datetime | None = None


def visible_tokens(requester: Requester) -> QuerySet[ApiToken]:
    """Tokens with their users: all for an admin, one's own for others; within the environments of the requester."""
    rows = ApiToken.objects.select_related("user").filter(narrowed_to(requester.environments))
    return rows if requester.role == Role.ADMIN else rows.filter(user=requester.user)


def get_visible_token(requester: Requester, token_id: int) -> ApiToken:
    """One of `visible_tokens`, or NotFound."""
    token = visible_tokens(requester).filter(pk=token_id).first()
    if token is None:
        raise NotFound(f"token {token_id} was not found", code="token_not_found")
    return token


def issue_token(requester: Requester, wish: TokenWish) -> tuple[ApiToken, str]:
    """The stored token and its secret, which cannot be had again.

    Raises Forbidden where the requester may not have it, Unauthorized where the login is too old for it, Invalid where
    there is no such user, and Conflict where the name is taken.
    """
    if SCOPE_CAP[ApiToken.Scope(wish.scope)].rank > requester.role.rank:
        raise Forbidden("a token may not do more than who makes it")
    # Such a token stops instances without a login: made with an old one, it would be a way around.
    if wish.scope == ApiToken.Scope.ADMIN and requester.token is None and not requester.logged_in_recently:
        raise Unauthorized(ADMIN_TOKEN_NEEDS_RECENT_LOGIN)
    user = _user_for(requester, wish.username)
    environments = environments_for(requester.environments, wish.environments)
    expires_at = _end_for(requester, wish.expires_at)
    try:
        with transaction.atomic():
            return create_api_token(
                name=wish.name,
                user=user,
                actor=requester.actor,
                scope=wish.scope,
                environments=environments,
                expires_at=expires_at,
            )
    except IntegrityError as exc:
        raise Conflict(f"a token named {wish.name} exists already", code="name_taken") from exc


def withdraw_token(requester: Requester, token_id: int) -> ApiToken:
    """The token, revoked now or before. Raises NotFound, and Forbidden for one that may do more than the requester's.

    A person may revoke all that one sees: what is lost is to be made useless, whatever it may do.
    """
    token = get_visible_token(requester, token_id)
    is_stronger = SCOPE_CAP[ApiToken.Scope(token.scope)].rank > requester.role.rank
    if requester.token is not None and is_stronger:
        raise Forbidden("a token may not revoke one that may do more than itself")
    revoke_api_token(token, actor=requester.actor)
    return token


def environments_for(allowed: frozenset[str] | None, wanted: Sequence[str] | None) -> list[str]:
    """The environments of a new token, of any kind: those that are wanted, within the allowed ones of its maker.

    None of either means that nothing was said or narrowed. Raises Forbidden for more than is allowed.
    """
    if allowed is None:
        return sorted(set(wanted or ()))
    if wanted is None:
        return sorted(allowed)
    if not wanted or not allowed.issuperset(wanted):
        raise Forbidden("a token makes others for its own environments only")
    return sorted(set(wanted))


def _user_for(requester: Requester, username: str | None) -> User:
    if username is None or username == requester.user.get_username():
        return requester.user
    if requester.role != Role.ADMIN:
        raise Forbidden("only administrators make tokens for others")
    user = User.objects.filter(username=username, is_active=True).first()
    if user is None:
        raise Invalid("there is no active user of this name", field="user", code="unknown_user")
    if user.is_superuser and not requester.user.is_superuser:
        raise Forbidden("only superusers make tokens for superusers")
    return user


def _end_for(requester: Requester, wanted: datetime | None) -> datetime | None:
    latest = requester.token.expires_at if requester.token is not None else None
    if wanted is not None and latest is not None and wanted > latest:
        raise Forbidden("a token makes no others that outlive it")
    return wanted or latest
