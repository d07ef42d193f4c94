"""Users and tokens: who may come in and should perhaps not, and what will stop to work."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.utils.translation import gettext, ngettext

from agents.models import AgentToken
from controlplane.access.models import ApiToken
from controlplane.access.roles import Role
from controlplane.common.tokens import in_state
from controlplane.console.tokens import EXPIRES_WITHIN
from controlplane.system.findings import Finding, named

UNUSED_FOR = timedelta(days=30)
IDLE_AFTER = timedelta(days=90)
# How far these are counted, and how many are named.
COUNTED = 1000
NAMED = 3


def check_people(now: datetime) -> Iterator[Finding]:
    """Six queries, each over tables that people fill by hand."""
    yield from _tokens_expiring(now)
    yield from _tokens_unused(now)
    yield from _without_role()
    yield from _idle_superusers(now)


def expiring(model: type[Any], now: datetime) -> QuerySet[Any]:
    """Usable tokens that will not be within EXPIRES_WITHIN, the first to expire first."""
    usable = model.objects.filter(in_state("usable", now), expires_at__lte=now + EXPIRES_WITHIN)
    found: QuerySet[Any] = usable.order_by("expires_at", "id")
    return found


def unused(model: type[Any], now: datetime) -> QuerySet[Any]:
    """Usable tokens that nobody has shown since they were made, UNUSED_FOR ago or longer."""
    usable = model.objects.filter(in_state("usable", now), last_used_at=None, created_at__lte=now - UNUSED_FOR)
    found: QuerySet[Any] = usable.order_by("created_at", "id")
    return found


def _tokens_expiring(now: datetime) -> Iterator[Finding]:
    soon = [token for model in (AgentToken, ApiToken) for token in expiring(model, now)[:COUNTED]]
    if soon:
        first = min(token.expires_at for token in soon)
        days = (first - now).days
        yield Finding(
            "tokens_expiring",
            "warning",
            ngettext("%d token expires soon", "%d tokens expire soon", len(soon)) % len(soon),
            gettext("%(names)s; the first in %(days)d days. Whoever uses them is refused from then on.")
            % {"names": named([token.name for token in soon[:NAMED]], len(soon)), "days": days},
            gettext("Make new ones under Access, give them to their users, then revoke the old ones."),
            "/admin/access/",
        )


def _tokens_unused(now: datetime) -> Iterator[Finding]:
    never = [token for model in (AgentToken, ApiToken) for token in unused(model, now)[:COUNTED]]
    if never:
        yield Finding(
            "tokens_unused",
            "info",
            ngettext("%d token was never used", "%d tokens were never used", len(never)) % len(never),
            named([token.name for token in never[:NAMED]], len(never)),
            gettext("Revoke those that nobody waits for under Access."),
            "/admin/access/",
            min(token.created_at for token in never),
        )


def without_role() -> QuerySet[User]:
    """People who may log in to the console and see nothing there."""
    in_role = User.objects.filter(groups__name__in=list(Role)).values("pk")
    return User.objects.filter(is_active=True, is_superuser=False).exclude(pk__in=in_role).order_by("username")


def _without_role() -> Iterator[Finding]:
    names = list(without_role().values_list("username", flat=True)[:COUNTED])
    if names:
        yield Finding(
            "users_without_role",
            "warning",
            ngettext("%d user has no role", "%d users have no role", len(names)) % len(names),
            named(names[:NAMED], len(names)),
            gettext("Put each into viewer, operator or administrator, or disable the user."),
            "/admin/auth/user/",
        )


def idle_superusers(now: datetime) -> QuerySet[User]:
    before = now - IDLE_AFTER
    idle = Q(last_login__lt=before) | Q(last_login=None, date_joined__lt=before)
    return User.objects.filter(idle, is_active=True, is_superuser=True).order_by("last_login", "username")


def _idle_superusers(now: datetime) -> Iterator[Finding]:
    idle = list(idle_superusers(now)[:COUNTED])
    if idle:
        yield Finding(
            "superusers_idle",
            "warning",
            ngettext("%d superuser has not logged in for long", "%d superusers have not logged in for long", len(idle))
            % len(idle),
            named([user.username for user in idle[:NAMED]], len(idle)),
            gettext("Disable those who are gone: a forgotten password of theirs opens everything."),
            "/admin/auth/user/",
            min((user.last_login or user.date_joined) for user in idle),
        )
