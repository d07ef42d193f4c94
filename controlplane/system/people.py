"""Users and tokens with what they were last used for, for the page Access."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db.models import Count, F, Max, Prefetch, Q

from agents.models import AgentToken
from agents.selectors.tokens import LastUse, last_uses, open_sessions_by_token
from controlplane.access.lockout import counted_username
from controlplane.access.models import ApiToken, ConsoleSession, FailedLogin
from controlplane.common.tokens import TokenState, in_state, state_of
from controlplane.system.checks.people import expiring, unused

USERS_SHOWN: Final = 50
TOKENS_SHOWN: Final = 50
# How far anything is counted.
COUNTED: Final = 1000
FAILURES_OVER: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Person:
    """A user with the sessions that are open now, the usable API tokens, and the failed logins of FAILURES_OVER."""

    user: User
    groups: list[Any]
    sessions: int
    tokens: int
    token_used_at: datetime | None
    failures: int


@dataclass(frozen=True, slots=True)
class TokenUse:
    """A token with who holds it open now and who used it last; `session` and below are for agents' tokens."""

    token: Any
    state: TokenState
    sessions: int = 0
    last: LastUse | None = None


@dataclass(frozen=True, slots=True)
class AccessFigures:
    """Counts up to COUNTED. `without_token` are sessions that tokens of the environment opened."""

    users: int
    logged_in: int
    agent_tokens: int
    api_tokens: int
    expiring: int
    unused: int
    failures: int
    locked_out: int
    configured_tokens: int
    sessions: int
    without_token: int


def people(now: datetime) -> list[Person]:
    """Users by their last login, the newest first. Five queries."""
    by_name = Prefetch("groups", Group.objects.order_by("name"))
    newest = User.objects.order_by(F("last_login").desc(nulls_last=True), "username")
    users = list(newest.prefetch_related(by_name)[:USERS_SHOWN])
    ids = [user.pk for user in users]
    open_now = ConsoleSession.objects.filter(user_id__in=ids, expire_date__gt=now).order_by()
    sessions = dict(open_now.values_list("user_id").annotate(n=Count("pk")))
    usable = ApiToken.objects.filter(in_state("usable", now), user__in=ids).order_by()
    tokens = {
        user_id: (n, used)
        for user_id, n, used in usable.values_list("user").annotate(n=Count("pk"), used=Max("last_used_at"))
    }
    names = [counted_username(user.get_username()) for user in users]
    failed = FailedLogin.objects.filter(username__in=names, attempt_time__gt=now - FAILURES_OVER).order_by()
    failures = dict(failed.values_list("username").annotate(n=Count("pk")))
    return [
        Person(
            user=user,
            groups=list(user.groups.all()),
            sessions=sessions.get(user.pk, 0),
            tokens=tokens.get(user.pk, (0, None))[0],
            token_used_at=tokens.get(user.pk, (0, None))[1],
            failures=failures.get(name, 0),
        )
        for user, name in zip(users, names, strict=True)
    ]


def agent_token_uses(now: datetime) -> list[TokenUse]:
    """Tokens of agents that are not revoked, those used last first. Four queries."""
    tokens = list(_in_use(AgentToken)[:TOKENS_SHOWN])
    sessions, last = open_sessions_by_token(tokens), last_uses(tokens)
    return [TokenUse(each, state_of(each, now), sessions.get(each.pk, 0), last.get(each.pk)) for each in tokens]


def api_token_uses(now: datetime) -> list[TokenUse]:
    """The same of API tokens. One query."""
    return [TokenUse(each, state_of(each, now)) for each in _in_use(ApiToken).select_related("user")[:TOKENS_SHOWN]]


def _in_use(model: type[Any]) -> Any:
    return model.objects.filter(revoked_at=None).order_by(F("last_used_at").desc(nulls_last=True), "name")


def access_figures(now: datetime) -> AccessFigures:
    """Eleven counts, each bounded."""
    failed = FailedLogin.objects.filter(attempt_time__gt=now - FAILURES_OVER)
    still_locked = Q(locked_out=True, attempt_time__gt=now - timedelta(seconds=settings.CONSOLE_LOGIN_LOCKOUT_S))
    open_now = ConsoleSession.objects.filter(expire_date__gt=now, user_id__isnull=False)
    sessions = open_sessions_by_token()
    return AccessFigures(
        users=_counted(User.objects.filter(is_active=True)),
        logged_in=_counted(open_now),
        agent_tokens=_counted(AgentToken.objects.filter(in_state("usable", now))),
        api_tokens=_counted(ApiToken.objects.filter(in_state("usable", now))),
        expiring=sum(_counted(expiring(model, now)) for model in (AgentToken, ApiToken)),
        unused=sum(_counted(unused(model, now)) for model in (AgentToken, ApiToken)),
        failures=_counted(failed),
        locked_out=_counted(FailedLogin.objects.filter(still_locked)),
        configured_tokens=len(settings.INGEST_TOKENS),
        sessions=sum(sessions.values()),
        without_token=sessions.get(None, 0),
    )


def _counted(rows: Any) -> int:
    count: int = rows.order_by()[:COUNTED].count()
    return count
