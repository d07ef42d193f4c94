"""Middleware that is about browsers, passed over where a program calls the API with its token.

A bearer is never joined with a cookie: sessions, messages and htmx have nothing to do for it, and would take a
twentieth of its time. Each stays a subclass of the original, as the checks of the admin want it.
"""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django_htmx.middleware import HtmxMiddleware

PROGRAMS_PREFIX = "/api/v1/"
# These are about the session of a cookie and take no notice of a bearer.
SESSIONS_PREFIX = "/api/v1/auth/"
# Nodes of the registry need show nothing at all.
REGISTRY_PREFIX = "/api/v1/master"


def is_program(request: HttpRequest) -> bool:
    """Whether this is a call of the API with a bearer, be it a good one or not, or a node's without any credential."""
    if request.path_info.startswith(f"{REGISTRY_PREFIX}/") and not request.META.get("HTTP_COOKIE"):
        return True
    shown: str = request.META.get("HTTP_AUTHORIZATION", "")
    return (
        shown[:7].lower() == "bearer "
        and request.path_info.startswith(PROGRAMS_PREFIX)
        and not request.path_info.startswith(SESSIONS_PREFIX)
    )


class _ForBrowsers:
    """Before a middleware: hands a program's request on as it is, in both modes of Django's."""

    get_response: Callable[[HttpRequest], Any]

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request) if is_program(request) else super().__call__(request)  # type: ignore[misc]


class Sessions(_ForBrowsers, SessionMiddleware):
    pass


class Authentication(_ForBrowsers, AuthenticationMiddleware):
    pass


class Messages(_ForBrowsers, MessageMiddleware):
    pass


class Htmx(_ForBrowsers, HtmxMiddleware):
    pass
