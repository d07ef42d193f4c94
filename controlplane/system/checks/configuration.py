"""What the environment of this process says. No query."""

from collections.abc import Iterator

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext

from controlplane.runtime.preflight import is_loopback, open_registry
from controlplane.system.findings import Finding

# As `manage.py check --deploy` asks for.
KEY_MIN_CHARS = 50
KEY_MIN_DISTINCT = 5
KEY_OF_STARTPROJECT = "django-insecure-"
MAKE_KEY = "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'"


def check_configuration() -> Iterator[Finding]:
    for check in (_debug, _secret_key, _registry, _proxy, _cookies, _hosts, _sqlite):
        yield from check()


def _is_open_to_others() -> bool:
    return not is_loopback(settings.HOST) or settings.APP_ENV == "prod"


def _debug() -> Iterator[Finding]:
    if settings.DEBUG:
        yield Finding(
            "debug_on",
            "error" if _is_open_to_others() else "warning",
            gettext("DEBUG is on"),
            gettext("Error pages show code and settings to whoever meets them, and memory grows with each query."),
            gettext("Turn it off and start the portal again."),
            "DEBUG=false",
        )


def _secret_key() -> Iterator[Finding]:
    key = settings.SECRET_KEY
    is_weak = len(key) < KEY_MIN_CHARS or len(set(key)) < KEY_MIN_DISTINCT or key.startswith(KEY_OF_STARTPROJECT)
    if is_weak:
        yield Finding(
            "secret_key_weak",
            "error",
            gettext("SECRET_KEY is weak"),
            gettext("Who guesses it can forge sessions of the console. It wants %d random characters or more.")
            % KEY_MIN_CHARS,
            gettext("Make a new one, set SECRET_KEY to it and start the portal again; everybody logs in anew."),
            MAKE_KEY,
        )


def _registry() -> Iterator[Finding]:
    warning = open_registry()
    if warning is not None:
        yield Finding(
            "registry_open",
            "error",
            gettext("Anybody may write to the node registry"),
            warning,
            gettext("Give each agent a token, then ask for it."),
            "AUTH_MODE=token",
        )


def _proxy() -> Iterator[Finding]:
    if _is_open_to_others() and getattr(settings, "SECURE_PROXY_SSL_HEADER", None) is None:
        yield Finding(
            "tls_proxy_unknown",
            "warning",
            gettext("The portal knows of no proxy that ends TLS"),
            gettext("It is open to a network at %s; passwords and tokens would travel in the clear.") % settings.HOST,
            gettext("Put a proxy with TLS in front of it that sets X-Forwarded-Proto, and name it in TRUSTED_PROXIES."),
            "BEHIND_TLS_PROXY=true",
        )


def _cookies() -> Iterator[Finding]:
    if _is_open_to_others() and not settings.SESSION_COOKIE_SECURE:
        yield Finding(
            "cookies_insecure",
            "warning",
            gettext("Cookies of the console travel without TLS as well"),
            gettext("Whoever listens on the network can take over a session."),
            gettext("Have browsers send them over TLS alone."),
            "SECURE_COOKIES=true",
        )


def _hosts() -> Iterator[Finding]:
    if "*" in settings.ALLOWED_HOSTS:
        yield Finding(
            "any_host",
            "warning",
            gettext("The portal answers to any host name"),
            gettext("Links that it makes may lead to a host that somebody else named."),
            gettext("Name the host names under which people and agents reach it, separated by commas."),
            "ALLOWED_HOSTS=portal.example.com",
        )


def _sqlite() -> Iterator[Finding]:
    if settings.APP_ENV == "prod" and connection.vendor == "sqlite":
        yield Finding(
            "sqlite_in_production",
            "warning",
            gettext("SQLite in production"),
            gettext("It takes one writer at a time and one process; the promises of the portal are for PostgreSQL."),
            gettext("Run it on PostgreSQL."),
            "DATABASE_URL=postgres://USER:PASSWORD@HOST:5432/NAME",
        )
