"""Calls to addresses that people typed: only to hosts that may be called, and no other than the one that was checked.

A host is resolved once, each of its addresses must be allowed, and the connection is made to the address that was
checked; the name stays in TLS and in the header. Redirects are not followed: webhooks have no reason to redirect, and a
checked address could lead to an unchecked one.
"""

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from django.conf import settings
from django.utils.translation import gettext as _
from requests.adapters import HTTPAdapter

from controlplane.common.errors import Invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
RESPONSE_MAX_BYTES: Final = 64 * 1024
URL_MAX_CHARS: Final = 4000
# Of no use to anybody outside, whatever `is_global` says of them in one version of Python or another.
_NEVER_GLOBAL: Final = tuple(
    ipaddress.ip_network(each)
    for each in ("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16")
)


class AddressRefused(Invalid):
    """The host may not be called."""

    code = "address_refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `body` is cut at RESPONSE_MAX_BYTES."""

    status: int
    body: str
    retry_after_s: float | None = None


def check_url(url: str, *, field: str = "address") -> None:
    """Raise Invalid where the URL cannot be called, and AddressRefused where it may not be.

    A name that cannot be resolved now passes: it may be known later, and is checked again with each call.
    """
    _scheme, host, port = _parts(url, field)
    try:
        addresses = _resolved(host, port)
    except OSError:
        return
    _ensure_allowed(urlsplit(url).scheme, host, addresses, field)


def call(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
) -> Answer:
    """One request. Raises AddressRefused, and requests.RequestException for what the network does."""
    scheme, host, port = _parts(url, "address")
    try:
        addresses = _resolved(host, port)
    except OSError as error:
        raise requests.ConnectionError(_("The name %s cannot be resolved.") % host) from error
    _ensure_allowed(scheme, host, addresses, "address")
    with requests.Session() as session:
        # Neither proxies nor netrc of the environment: they would call in the name of whoever runs the portal.
        session.trust_env = False
        session.mount(f"{scheme}://", _Pinned(addresses[0]))
        answer = session.request(
            method,
            url,
            data=body,
            headers={"User-Agent": "control-plane", **(headers or {})},
            timeout=timeout_s,
            allow_redirects=False,
            stream=True,
        )
        with answer:
            read = answer.raw.read(RESPONSE_MAX_BYTES, decode_content=True) or b""
        return Answer(
            answer.status_code, read.decode("utf-8", "replace"), _retry_after(answer.headers.get("Retry-After"))
        )


class _Pinned(HTTPAdapter):
    """Connects to one address, whatever the name of the URL resolves to by then."""

    def __init__(self, address: Address) -> None:
        self._address = address
        super().__init__(max_retries=0)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        names: dict[str, str] = {}
        name = host["host"].strip("[]")
        request.headers["Host"] = urlsplit(request.url).netloc.rpartition("@")[2]
        if host["scheme"] == "https":
            names = {"assert_hostname": name, "server_hostname": name}
        host["host"] = str(self._address)
        return host, {**pool, **names}


def _parts(url: str, field: str) -> tuple[str, str, int]:
    if not url or len(url) > URL_MAX_CHARS or any(ord(character) <= 32 or ord(character) == 127 for character in url):
        raise Invalid(_("An address of 1 to %d characters without blanks is needed.") % URL_MAX_CHARS, field=field)
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        host = parts.hostname or ""
        host.encode("idna")
    except (ValueError, UnicodeError) as error:
        raise Invalid(_("This is no URL: %s") % error, field=field) from error
    if parts.scheme not in {"http", "https"}:
        raise Invalid(_("The URL must begin with https://."), field=field)
    if not host:
        raise Invalid(_("The URL names no host."), field=field)
    return parts.scheme, host, port


def _resolved(host: str, port: int) -> list[Address]:
    """All addresses of a host, in the order in which they would be tried. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [_plain(ipaddress.ip_address(str(each[4][0]).partition("%")[0])) for each in found]


def _plain(address: Address) -> Address:
    """An IPv4 address that is written as one of IPv6 is judged as what it is."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _ensure_allowed(scheme: str, host: str, addresses: list[Address], field: str) -> None:
    named = [_is_named(address) for address in addresses]
    if all(named) and addresses:
        return
    if scheme != "https":
        raise AddressRefused(
            _("Plain http is for hosts that NOTIFY_ALLOW_PRIVATE names; use https, or add %s to it.") % host,
            field=field,
        )
    for address, is_named in zip(addresses, named, strict=True):
        if not is_named and not _is_public(address):
            raise AddressRefused(
                _("%(host)s is at %(address)s, which is private. NOTIFY_ALLOW_PRIVATE may name its network.")
                % {"host": host, "address": address},
                field=field,
            )


def _is_named(address: Address) -> bool:
    return any(address in network for network in settings.NOTIFY_ALLOW_PRIVATE)


def _is_public(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in each for each in _NEVER_GLOBAL)


def _retry_after(text: str | None) -> float | None:
    """Seconds; dates are passed over, as nobody's clock is known."""
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None
