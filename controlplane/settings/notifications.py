"""Telling people: what may be called, how often it is tried, the keys of channels, and how long deliveries are kept."""

import ipaddress
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from controlplane.common import env
from controlplane.settings.base import kept_secret


def _networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    try:
        return tuple(ipaddress.ip_network(each.strip()) for each in text.split(",") if each.strip())
    except ValueError as error:
        raise ImproperlyConfigured(f"NOTIFY_ALLOW_PRIVATE must be networks such as 10.1.0.0/16: {error}.") from error


def _keys(configured: str) -> tuple[str, ...]:
    """Those of the environment, else the one of DATA_DIR, which is made at the first start."""
    keys = tuple(each.strip() for each in configured.split(",") if each.strip())
    keys = keys or (kept_secret("notify_secret_key", lambda: Fernet.generate_key().decode()),)
    for key in keys:
        try:
            Fernet(key)
        except ValueError as error:
            raise ImproperlyConfigured(
                "NOTIFY_SECRET_KEYS must be Fernet keys with commas between them, the newest first. Make one: "
                "python3 -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'"
            ) from error
    return keys


def _portal_url() -> str:
    """The address under which people open the portal, without a slash at its end."""
    url = env.text("PORTAL_URL").rstrip("/")
    if url and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc):
        raise ImproperlyConfigured(f"PORTAL_URL must be an address such as https://portal.example.com, not {url!r}.")
    return url


# Networks that webhooks may reach besides the public ones, and by plain http too.
NOTIFY_ALLOW_PRIVATE = _networks(env.text("NOTIFY_ALLOW_PRIVATE", ""))
# What links in messages begin with; without it they hold a path alone.
PORTAL_URL = _portal_url()
# How long one attempt may take in all.
NOTIFY_TIMEOUT_S = env.integer("NOTIFY_TIMEOUT_S", 5, minimum=1, maximum=60)
NOTIFY_MAX_ATTEMPTS = env.integer("NOTIFY_MAX_ATTEMPTS", 5, minimum=1, maximum=100)
# To how many channels one worker sends at the same time.
NOTIFY_CONCURRENCY = env.integer("NOTIFY_CONCURRENCY", 32, minimum=1, maximum=500)
# How long deliveries are kept after they ended, with their attempts, and alerts after they were over.
RETENTION_DELIVERIES_DAYS = env.integer("RETENTION_DELIVERIES_DAYS", 90, minimum=1)
# Encrypts with the first, and reads with all of them.
NOTIFY_SECRET_KEYS = _keys(env.secret("NOTIFY_SECRET_KEYS"))

EMAIL_HOST = env.text("EMAIL_HOST", "")
EMAIL_PORT = env.integer("EMAIL_PORT", 587, minimum=1, maximum=65535)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = env.secret("EMAIL_HOST_PASSWORD")
EMAIL_USE_SSL = env.boolean("EMAIL_USE_SSL", default=False)
EMAIL_USE_TLS = env.boolean("EMAIL_USE_TLS", default=not EMAIL_USE_SSL and EMAIL_PORT == 587)
if EMAIL_USE_SSL and EMAIL_USE_TLS:
    raise ImproperlyConfigured("EMAIL_USE_SSL and EMAIL_USE_TLS exclude each other.")
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "control-plane@localhost")
