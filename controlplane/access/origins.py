"""Which pages of the web may act with the cookie of a person: those of this portal, and those that are named.

The API asks no form token, because a console that runs elsewhere and scripts that log in have none. A browser says
with every request that changes something where the page came from, and no page can make it say otherwise.
"""

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.utils.http import is_same_domain

from controlplane.common.clean import clean_text
from controlplane.common.errors import Forbidden

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
# "none" is what a person types or keeps as a bookmark.
_OWN_SITES = frozenset({"same-origin", "none"})
_SHOWN_CHARACTERS = 200


def ensure_own_origin(request: HttpRequest) -> None:
    """Let a request that changes something pass if it comes from a page of this portal or of an origin in
    CSRF_TRUSTED_ORIGINS or CORS_ALLOW_ORIGINS, or from no browser at all.

    Origin decides where it is sent, else Referer, else Sec-Fetch-Site; programs send none of them. Raises Forbidden.
    """
    if request.method in SAFE_METHODS:
        return
    origin = request.headers.get("Origin")
    if origin is not None:
        _ensure(_is_trusted(request, origin), origin)
        return
    referer = request.headers.get("Referer")
    if referer is not None:
        _ensure(_is_trusted(request, _origin_of(referer)), _origin_of(referer))
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        _ensure(site in _OWN_SITES, site)


def _ensure(is_own: bool, shown: str) -> None:
    if not is_own:
        raise Forbidden(
            f"cross-site request refused: it comes from {clean_text(shown, _SHOWN_CHARACTERS)!r}, "
            "which is neither this portal nor a trusted origin"
        )


def _origin_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "null"
    return f"{parts.scheme}://{parts.netloc}"


def _is_trusted(request: HttpRequest, origin: str) -> bool:
    """Whether an origin as browsers write it is this portal's own or a named one; "null" never is."""
    origin = origin.lower()
    own = f"{request.scheme}://{request.get_host()}".lower()
    return origin == own or origin in settings.CORS_ALLOWED_ORIGINS or _is_named(origin)


def _is_named(origin: str) -> bool:
    """Whether CSRF_TRUSTED_ORIGINS names it, perhaps by `https://*.example.com`, as Django reads that setting."""
    scheme, separator, host = origin.partition("://")
    for trusted in settings.CSRF_TRUSTED_ORIGINS:
        trusted_scheme, _, pattern = trusted.lower().partition("://")
        if separator and scheme == trusted_scheme and is_same_domain(host, pattern.removeprefix("*")):
            return True
    return False
