"""Every other service that Apprise knows: DingTalk, Slack, Telegram, Teams, …"""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.utils.translation import gettext as _

from controlplane.common.errors import Invalid
from notifications.engine.cards import Card
from notifications.providers.base import Target, Verdict
from notifications.providers.guard import check_url
from notifications.providers.plain import text_of

# What acts on the machine of the portal, or speaks no HTTP that could be guarded. E-mail is a provider of its own.
_REFUSED: Final = frozenset(
    {
        "apprise", "aprs", "dbus", "exec", "file", "gio", "glib", "gnome", "growl", "kde", "macosx", "mailto",
        "mailtos", "mqtt", "mqtts", "qt", "rsyslog", "smpp", "smpps", "syslog", "windows", "xmpp", "xmpps",
    }
)  # fmt: skip
_TYPES: Final = {"info": "info", "good": "success", "warn": "warning", "bad": "failure"}


class Apprise:
    def check(self, target: Target) -> None:
        found = _plugin(target.address)
        host = getattr(found, "host", None)
        if host and not _is_fixed(found):
            scheme = "https" if getattr(found, "secure", False) else "http"
            port = f":{found.port}" if getattr(found, "port", None) else ""
            name = f"[{host}]" if ":" in str(host) else str(host)
            check_url(f"{scheme}://{name}{port}/")

    def mask(self, address: str) -> str:
        return f"{address.partition(':')[0]}://…"

    def send(self, target: Target, card: Card, *, delivery_id: str, timeout_s: float) -> Verdict:  # noqa: ARG002
        try:
            self.check(target)
            plugin = _plugin(target.address)
        except Invalid as error:
            return Verdict(ok=False, error=str(error), is_permanent=True)
        plugin.socket_connect_timeout = plugin.socket_read_timeout = timeout_s
        with _told() as log:
            try:
                ok = bool(plugin.notify(title=card.title, body=text_of(card), notify_type=_TYPES[card.tone]))
            except Exception as error:  # noqa: BLE001 -- a hundred plugins of others: none may stop the sender
                return Verdict(ok=False, error=type(error).__name__)
        if ok:
            return Verdict(ok=True)
        # What plugins log may hold the address; its words without it are all that says why.
        said = [line for line in log.getvalue().splitlines() if "://" not in line]
        return Verdict(ok=False, error=(said[-1][:500] if said else _("The service did not take it.")))

    def preview(self, target: Target, card: Card) -> str:  # noqa: ARG002 -- the same for every service
        return f"{card.title}\n\n{text_of(card)}"


def _plugin(address: str) -> Any:
    """Raises Invalid."""
    import apprise  # noqa: PLC0415 -- a hundred plugins, two seconds and 40 MB: for those who have such a channel

    scheme = address.partition("://")[0].lower()
    if "://" not in address or len(address) > 4000 or "\0" in address:
        raise Invalid(_("This is no Apprise URL, such as tgram://token/chat."), field="address")
    if scheme in _REFUSED:
        raise Invalid(_("“%s” acts on the portal's own machine or cannot be guarded.") % scheme, field="address")
    found = apprise.Apprise.instantiate(address, suppress_exceptions=True)
    if found is None:
        raise Invalid(_("Apprise does not know this URL, or a part of it is missing."), field="address")
    return found


def _is_fixed(plugin: Any) -> bool:
    """Whether the service has one address of its own, whatever stands at the place of the host."""
    kinds: set[str] = set()
    for schemes in (plugin.secure_protocol, plugin.protocol):
        kinds |= {schemes} if isinstance(schemes, str) else set(schemes or ())
    return bool(getattr(plugin, "notify_url", "")) and not kinds & {"json", "jsons", "xml", "xmls", "form", "forms"}


@contextmanager
def _told() -> Iterator[io.StringIO]:
    """What Apprise logs meanwhile in this thread's own buffer: it says why in its log alone."""
    buffer = io.StringIO()
    handler = logging.StreamHandler(buffer)
    handler.setLevel(logging.WARNING)
    logger = logging.getLogger("apprise")
    logger.addHandler(handler)
    try:
        yield buffer
    finally:
        logger.removeHandler(handler)
