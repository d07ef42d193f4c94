"""Access: logins of the console, their sessions, what bounds guessing, and the origins that browsers may come from."""

import re

from django.core.exceptions import ImproperlyConfigured

from controlplane.common import env
from controlplane.settings.base import SECURE_COOKIES

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "controlplane.access.backends.ConsoleBackend",
]

SESSION_ENGINE = "controlplane.access.sessions"
# The name that clients of the reference control plane know.
SESSION_COOKIE_NAME = "onestep_cp_console_session"
SESSION_COOKIE_AGE = env.integer("CONSOLE_AUTH_SESSION_TTL_S", 7 * 86400, minimum=60, maximum=3650 * 86400)
SESSION_COOKIE_SECURE = SECURE_COOKIES
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SECURE = SECURE_COOKIES
# What stops an instance needs a login younger than this.
CONSOLE_SENSITIVE_AUTH_WINDOW_S = env.integer("CONSOLE_SENSITIVE_AUTH_WINDOW_S", 900, minimum=60)

# One username from one address: so many failures within the window lock this pair out, and no other.
CONSOLE_LOGIN_MAX_FAILURES = env.integer("CONSOLE_LOGIN_MAX_FAILURES", 5, minimum=1, maximum=1000)
CONSOLE_LOGIN_FAILURE_WINDOW_S = env.integer("CONSOLE_LOGIN_FAILURE_WINDOW_S", 900, minimum=1, maximum=30 * 86400)
CONSOLE_LOGIN_LOCKOUT_S = env.integer("CONSOLE_LOGIN_LOCKOUT_S", 900, minimum=1, maximum=30 * 86400)
# One address over all usernames, and one username over all addresses, within the same window. Neither holds up people
# where they have logged in before: see controlplane.access.lockout.
CONSOLE_LOGIN_ADDRESS_MAX_FAILURES = env.integer("CONSOLE_LOGIN_ADDRESS_MAX_FAILURES", 50, minimum=1, maximum=10_000)
CONSOLE_LOGIN_USERNAME_MAX_FAILURES = env.integer("CONSOLE_LOGIN_USERNAME_MAX_FAILURES", 50, minimum=1, maximum=10_000)
# How long logins and failed logins are shown, and for how long an address counts as one where somebody logged in.
RETENTION_LOGINS_DAYS = env.integer("RETENTION_LOGINS_DAYS", 90, minimum=1, maximum=3650)

AXES_HANDLER = "controlplane.access.lockout.LoginGuard"
AXES_CLIENT_IP_CALLABLE = "controlplane.access.lockout.client_network"
AXES_LOCKOUT_CALLABLE = "controlplane.access.lockout.locked_out_answer"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
# controlplane.access.admin shows its rows, read-only and in the look of the console.
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

_ORIGIN = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{1,5})?")


def _origins(name: str, configured: tuple[str, ...]) -> list[str]:
    """Origins as browsers send them. With credentials, a pattern would let in whoever owns one host of it."""
    for origin in configured:
        if _ORIGIN.fullmatch(origin) is None:
            raise ImproperlyConfigured(
                f"{name} must name each origin in full and in lower case, such as https://console.example.com, "
                f"without a path and without *, not {origin!r}."
            )
    return list(configured)


CORS_ALLOWED_ORIGINS = _origins("CORS_ALLOW_ORIGINS", env.items("CORS_ALLOW_ORIGINS"))
CORS_ALLOW_CREDENTIALS = True
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_HEADERS = ["accept", "authorization", "cache-control", "content-type", "if-none-match", "last-event-id"]
CORS_EXPOSE_HEADERS = ["Content-Disposition", "ETag", "Retry-After"]
CORS_PREFLIGHT_MAX_AGE = 3600
