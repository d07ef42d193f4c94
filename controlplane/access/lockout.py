"""What bounds the guessing of passwords, without a way for strangers to lock anybody out. A handler of django-axes.

Three limits, each over CONSOLE_LOGIN_FAILURE_WINDOW_S:

- One username from one address: CONSOLE_LOGIN_MAX_FAILURES lock this pair out for CONSOLE_LOGIN_LOCKOUT_S. A success
  starts the count anew.
- One address over all usernames: CONSOLE_LOGIN_ADDRESS_MAX_FAILURES.
- One username over all addresses: CONSOLE_LOGIN_USERNAME_MAX_FAILURES.

The last two do not hold up a person who is logged in, or at an address from which that person logged in within
RETENTION_LOGINS_DAYS: a stranger can use them up, but not from there. Usernames that nobody has count like others, but
are not kept: people type passwords into the wrong field.

Each attempt is stored as failed before the password is looked at and taken back when it was right, so that attempts
at the same moment count as well. What a limit refuses is not stored: nobody fills the table, or prolongs a lock, by
going on.
"""

import ipaddress
import logging
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from axes.handlers.base import AxesHandler
from axes.helpers import get_client_session_hash
from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.crypto import salted_hmac

from controlplane.access.login_counts import count_login
from controlplane.access.models import FailedLogin, SuccessfulLogin
from controlplane.access.sessions import keep_only_session
from controlplane.common.clean import clean_text
from controlplane.common.rest.paths import API_PREFIX

logger = logging.getLogger(__name__)

_USERNAME_MAX = 255
# Of an IPv6 address: networks are handed out by this many bits, and one customer has all addresses of such a network.
_IPV6_NETWORK_BITS = 64
_ATTEMPT = "_login_attempt"
# What stands before the mark of a name that nobody has; no username may hold it.
UNKNOWN_MARK = "?"
_MARK_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of the attempt that a request made: its row, or until when it is refused. `username` is counted."""

    username: str
    failure: FailedLogin | None = None
    refused_until: datetime | None = None


class LoginGuard(AxesHandler):  # type: ignore[misc]
    """Called by axes' authentication backend before the password is looked at, and by the signals of the outcome."""

    def is_allowed(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> bool:
        attempt = _begin(request, tried_username((credentials or {}).get(User.USERNAME_FIELD)), timezone.now())
        setattr(request, _ATTEMPT, attempt)
        return attempt.failure is not None

    def user_login_failed(
        self,
        sender: object,  # noqa: ARG002 -- axes' signature
        credentials: dict[str, Any],  # noqa: ARG002
        request: Any = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        attempt: Attempt | None = getattr(request, _ATTEMPT, None)
        if attempt is None:
            return
        if refused_for_s(request):
            # Tells axes' middleware to put locked_out_answer in the place of the form.
            request.axes_locked_out = True
            logger.warning("login.refused username=%r address=%s", attempt.username, request.axes_ip_address)
        else:
            logger.warning("login.failed username=%r address=%s", attempt.username, request.axes_ip_address)

    def user_logged_in(
        self,
        sender: object,  # noqa: ARG002
        request: Any,
        user: User,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """A login ends the other sessions of its user, at whichever door: what was left open elsewhere, or is in other
        hands, ends with it. Source: contract 5."""
        attempt: Attempt | None = getattr(request, _ATTEMPT, None)
        if attempt is not None and attempt.failure is not None:
            attempt.failure.delete()
        # Before the login is noted, which names the session by its key.
        keep_only_session(request, user.pk)
        SuccessfulLogin.objects.create(
            username=counted_username(user.get_username()),
            session_hash=get_client_session_hash(request),
            **_origin_of(request),
        )

    def user_logged_out(
        self,
        sender: object,  # noqa: ARG002
        request: Any,
        user: User | None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        key = getattr(getattr(request, "session", None), "session_key", None)
        if user is not None and key is not None:
            open_logins = SuccessfulLogin.objects.filter(
                username=counted_username(user.get_username()), logout_time=None
            )
            open_logins.filter(session_hash=get_client_session_hash(request)).update(logout_time=timezone.now())

    def reset_attempts(
        self, *, ip_address: str | None = None, username: str | None = None, ip_or_username: bool = False
    ) -> int:
        """Forget failures, so that whom they hold up may try again at once: `manage.py axes_reset_username NAME`."""
        by_address = Q(ip_address=ip_address) if ip_address else Q()
        by_username = Q(username=tried_username(username)) if username else Q()
        forgotten: int
        forgotten, _ = FailedLogin.objects.filter(
            by_address | by_username if ip_or_username else by_address & by_username
        ).delete()
        return forgotten


def counted_username(given: object) -> str:
    """The name under which attempts are counted: all spellings that mean one user are one."""
    return clean_text(str(given or "").strip().casefold(), _USERNAME_MAX)


def tried_username(given: object) -> str:
    """The name under which an attempt is counted and shown: a user's, else a mark that is another for each name.

    The mark is made with SECRET_KEY: what was typed cannot be found by guessing it again.
    """
    typed = clean_text(str(given or "").strip(), _USERNAME_MAX)
    if User.objects.filter(username__iexact=typed).exists():
        return counted_username(given)
    return UNKNOWN_MARK + salted_hmac(__name__, counted_username(given)).hexdigest()[:_MARK_DIGITS]


def client_network(request: HttpRequest) -> str | None:
    """Where attempts are counted as coming from: the peer's IPv4 address, or its IPv6 network; None where unknown.

    The server has put the address that a proxy in TRUSTED_PROXIES names in the place of the proxy's own.
    """
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR") or "")
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), _IPV6_NETWORK_BITS), strict=False).network_address)


def refused_for_s(request: HttpRequest) -> int:
    """For how many seconds from now logins like the one of this request are refused; 0 where it was not refused."""
    attempt: Attempt | None = getattr(request, _ATTEMPT, None)
    if attempt is None or attempt.refused_until is None:
        return 0
    return max(1, math.ceil((attempt.refused_until - timezone.now()).total_seconds()))


def locked_out_answer(request: HttpRequest, answer: HttpResponse, credentials: object = None) -> HttpResponse:  # noqa: ARG001
    """What is said to a browser whose login was refused; the API has its own words. Set as AXES_LOCKOUT_CALLABLE."""
    if request.path_info.startswith(API_PREFIX):
        return answer
    wait_s = refused_for_s(request)
    page = render(request, "locked_out.html", {"minutes": math.ceil(wait_s / 60)}, status=429)
    page["Retry-After"] = str(wait_s)
    return page


def _begin(request: Any, username: str, now: datetime) -> Attempt:
    """Store the attempt as failed, unless a limit refuses it."""
    address = request.axes_ip_address
    pair = FailedLogin.objects.filter(username=username, ip_address=address)
    last_login = _last(SuccessfulLogin.objects.filter(username=username, ip_address=address))
    window = now - timedelta(seconds=settings.CONSOLE_LOGIN_FAILURE_WINDOW_S)
    # No further back than it matters: a name that strangers try has failures of months.
    oldest = min(window, now - timedelta(seconds=settings.CONSOLE_LOGIN_LOCKOUT_S))
    last_lock = _last(pair.filter(locked_out=True, attempt_time__gt=oldest))
    until = _locked_until(last_lock, now)
    if until is None and not _is_known(request, username, last_login, now):
        until = _crowded_until(username, address, now)
    if until is not None:
        return Attempt(username, refused_until=until)

    failure = FailedLogin.objects.create(username=username, **_origin_of(request))
    since = max(moment for moment in (window, last_login, last_lock) if moment is not None)
    number = pair.filter(attempt_time__gt=since, pk__lte=failure.pk).count()
    if number > settings.CONSOLE_LOGIN_MAX_FAILURES:
        # Others tried at the same moment, and one of them was the last.
        failure.delete()
        return Attempt(username, refused_until=now + timedelta(seconds=settings.CONSOLE_LOGIN_LOCKOUT_S))
    if number == settings.CONSOLE_LOGIN_MAX_FAILURES:
        FailedLogin.objects.filter(pk=failure.pk).update(locked_out=True)
        count_login("lockouts")
    return Attempt(username, failure=failure)


def _last(rows: QuerySet[Any]) -> datetime | None:
    moment: datetime | None = rows.order_by("-attempt_time").values_list("attempt_time", flat=True).first()
    return moment


def _locked_until(last_lock: datetime | None, now: datetime) -> datetime | None:
    if last_lock is None:
        return None
    until = last_lock + timedelta(seconds=settings.CONSOLE_LOGIN_LOCKOUT_S)
    return until if until > now else None


def _is_known(request: HttpRequest, username: str, last_login: datetime | None, now: datetime) -> bool:
    """Whether this person is logged in right here, or was at this address."""
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated and counted_username(user.get_username()) == username:
        return True
    return last_login is not None and last_login > now - timedelta(days=settings.RETENTION_LOGINS_DAYS)


def _crowded_until(username: str, address: str | None, now: datetime) -> datetime | None:
    """Until when the address or the username has too many failures behind it, or None."""
    limits = (
        (Q(ip_address=address), settings.CONSOLE_LOGIN_ADDRESS_MAX_FAILURES),
        (Q(username=username), settings.CONSOLE_LOGIN_USERNAME_MAX_FAILURES),
    )
    window = timedelta(seconds=settings.CONSOLE_LOGIN_FAILURE_WINDOW_S)
    until = None
    for which, limit in limits:
        recent = FailedLogin.objects.filter(which, attempt_time__gt=now - window).order_by("-attempt_time")
        moments = list(recent.values_list("attempt_time", flat=True)[:limit])
        if len(moments) == limit:
            # Then the oldest of those that fill the limit leaves the window.
            until = max(moments[-1] + window, until or now)
    return until


def _origin_of(request: Any) -> dict[str, Any]:
    return {
        "ip_address": request.axes_ip_address,
        "user_agent": clean_text(request.axes_user_agent),
        "path_info": clean_text(request.axes_path_info),
        "http_accept": "",
    }
