"""Logins as history: who came in, who left, who was refused. Importing this module registers the receivers.

What a stranger types is not written down where there is no such user: people type passwords into the wrong field.
"""

import time
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from controlplane.access.actors import address_of, surface_of
from controlplane.access.backends import stored_username
from controlplane.access.lockout import refused_for_s
from controlplane.access.login_counts import count_login
from controlplane.common.actors import Actor
from controlplane.common.changes import Change, ChangeKind, change_of, record_changes
from controlplane.common.clean import clean_text
from controlplane.common.throttling import TokenBucket

# The subject of a login as somebody who does not exist.
NO_USER = "auth.user:"
USERNAME_MAX_CHARS = 150
# Refused logins that one process writes down at once, and then a second: a stranger must not fill the history.
REFUSED_BURST = 60
REFUSED_PER_S = 1.0
_refused = TokenBucket(per_s=REFUSED_PER_S, burst=REFUSED_BURST, now=time.monotonic())


@receiver(user_logged_in)
def note_login(sender: object, request: HttpRequest | None, user: User, **kwargs: Any) -> None:  # noqa: ARG001
    # Without a method no browser asked: a program of the portal's own opened the session.
    if request is not None and request.method is not None:
        count_login("succeeded")
    _note(ChangeKind.LOGGED_IN, request, user)


@receiver(user_logged_out)
def note_logout(sender: object, request: HttpRequest | None, user: User | None, **kwargs: Any) -> None:  # noqa: ARG001
    if user is not None:
        _note(ChangeKind.LOGGED_OUT, request, user)


@receiver(user_login_failed)
def note_refused_login(
    sender: object,  # noqa: ARG001 -- a receiver
    credentials: Mapping[str, Any],
    request: HttpRequest | None = None,
    **kwargs: Any,  # noqa: ARG001 -- a receiver
) -> None:
    is_locked = request is not None and refused_for_s(request) > 0
    kind = ChangeKind.LOGIN_LOCKED if is_locked else ChangeKind.LOGIN_FAILED
    if request is not None and request.method is not None:
        count_login("refused" if is_locked else "failed")
    _note_refusal(kind, request, credentials.get("username"))


def _note(kind: ChangeKind, request: HttpRequest | None, user: User) -> None:
    if request is None or request.method is None:
        return
    actor = Actor(user.get_username(), user.pk, address=address_of(request), via=surface_of(request))
    record_changes([change_of(kind, user, actor=actor)])


def _note_refusal(kind: ChangeKind, request: HttpRequest | None, username: object) -> None:
    """Write it down with the name of the user, if there is one, and unless too many were of late."""
    if request is None or request.method is None or _refused.wait_s(now := time.monotonic()) > 0:
        return
    _refused.take(now)
    typed = clean_text(username, USERNAME_MAX_CHARS) if isinstance(username, str) else ""
    user = User.objects.filter(username=stored_username(typed)).only("username").first() if typed else None
    nobody = Actor("", address=address_of(request), via=surface_of(request))
    if user is not None:
        record_changes([change_of(kind, user, actor=nobody)])
    else:
        record_changes([Change(kind=kind, subject=NO_USER, name="", actor=nobody)])
