"""Notifications: how messages are sent, and how long what became of them is kept."""

from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from controlplane.common import env


def _portal_url() -> str:
    """The address under which people open the portal, without a slash at its end."""
    url = env.text("PORTAL_URL").rstrip("/")
    if url and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc):
        raise ImproperlyConfigured(f"PORTAL_URL must be an address such as https://portal.example.com, not {url!r}.")
    return url


# What links in messages begin with; without it they hold a path alone.
PORTAL_URL = _portal_url()
# How long one attempt may take in all.
NOTIFY_TIMEOUT_S = env.integer("NOTIFY_TIMEOUT_S", 5, minimum=1, maximum=60)
NOTIFY_MAX_ATTEMPTS = env.integer("NOTIFY_MAX_ATTEMPTS", 5, minimum=1, maximum=100)
# To how many channels one worker sends at the same time.
NOTIFY_CONCURRENCY = env.integer("NOTIFY_CONCURRENCY", 32, minimum=1, maximum=500)
# How long deliveries are kept after they ended, with their attempts, and alerts after they were over.
RETENTION_DELIVERIES_DAYS = env.integer("RETENTION_DELIVERIES_DAYS", 90, minimum=1)
