"""Logging in and out with a username and a password, as programs and consoles of their own do it."""

from dataclasses import dataclass
from typing import Final

from django.contrib.auth import authenticate, login, logout
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.http import HttpRequest

from controlplane.access.lockout import refused_for_s
from controlplane.access.roles import Role, roles_of
from controlplane.access.sessions import end_sessions
from controlplane.common.errors import TooMany, Unauthorized, Unavailable

# Literals that clients of the reference control plane compare. Source: contract, Annex A.
WRONG_CREDENTIALS: Final = "invalid username or password"
BOOTSTRAP_REQUIRED: Final = "local admin bootstrap is required before console login"


class WrongCredentials(Unauthorized):
    """No active user has this username and this password."""

    code = "wrong_credentials"


class LoginLockedOut(TooMany):
    """Too many logins like this one failed."""

    code = "login_locked_out"


class BootstrapRequired(Unavailable):
    """There is nobody yet who could log in."""

    code = "bootstrap_required"


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """Who is logged in by the session of a request, and whether anybody could be. `roles` has the highest first."""

    auth_configured: bool
    username: str | None = None
    roles: tuple[Role, ...] = ()

    @property
    def bootstrap_required(self) -> bool:
        return not self.auth_configured

    @property
    def authenticated(self) -> bool:
        return self.username is not None

    @property
    def role(self) -> Role | None:
        return self.roles[0] if self.roles else None


def anybody_can_log_in() -> bool:
    """Whether there is an active user with a password."""
    users = User.objects.filter(is_active=True).exclude(password="")
    return users.exclude(password__startswith=UNUSABLE_PASSWORD_PREFIX).exists()


def session_info(user: AbstractBaseUser | AnonymousUser) -> SessionInfo:
    """What the session of this user says. Cost: one query for nobody, one more for somebody."""
    if not isinstance(user, User):
        return SessionInfo(anybody_can_log_in())
    return SessionInfo(auth_configured=True, username=user.get_username(), roles=tuple(roles_of(user)))


def log_in(request: HttpRequest, *, username: str, password: str) -> User:
    """Log in with a password, which gives the session of `request` a new key and ends the user's other sessions.

    Raises BootstrapRequired where nobody could log in, WrongCredentials, and LoginLockedOut after too many of these.
    """
    if not anybody_can_log_in():
        raise BootstrapRequired(BOOTSTRAP_REQUIRED)
    user = authenticate(request, username=username, password=password)
    if isinstance(user, User):
        login(request, user)
        return user
    if wait_s := refused_for_s(request):
        raise LoginLockedOut(WRONG_CREDENTIALS, retry_after_s=wait_s)
    raise WrongCredentials(WRONG_CREDENTIALS)


def log_out_everywhere(request: HttpRequest, user: User) -> int:
    """End this session and every other one of the user; returns how many there were."""
    logout(request)
    return end_sessions(user.pk) + 1
