"""What may be shown of an address. Source: contract 7.1."""

from urllib.parse import urlsplit

SHOWN_CHARS = 4


def mask_url(url: str) -> str:
    """`scheme://host/...last4`; without user and password, which a URL may hold too."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "..."
    # Of a short path four characters may be all there is.
    rest = url.partition(parts.netloc)[2].strip("/")
    end = url[-SHOWN_CHARS:] if len(rest) > 2 * SHOWN_CHARS else ""
    return f"{parts.scheme}://{host}/...{end}"
