"""WeCom bots: markdown of at most 4,096 bytes. Source: contract 7.3."""

from typing import Any, Final

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from notifications.engine.cards import Card, Line
from notifications.providers.base import Target, Verdict
from notifications.providers.cutting import cut_to_fit
from notifications.providers.escaping import IN_TICKS, LOOK_ALIKES
from notifications.providers.guard import call, check_url
from notifications.providers.masking import mask_url
from notifications.providers.reading import attempted, by_code

CONTENT_MAX_BYTES: Final = 4096
# The key is unknown, the bot is gone, the body cannot be read.
_REFUSED: Final = frozenset({93000, 93004, 40008, 44004, 40058})
_HINTS: Final = {
    45009: gettext_lazy("too many messages"),
    93000: gettext_lazy("there is no bot with this key"),
}


class WeCom:
    def check(self, target: Target) -> None:
        check_url(target.address)

    def mask(self, address: str) -> str:
        return mask_url(address)

    def send(self, target: Target, card: Card, *, delivery_id: str, timeout_s: float) -> Verdict:
        body = msgspec.json.encode(_message(card))
        headers = {"Content-Type": "application/json; charset=utf-8", "X-Delivery-Id": delivery_id}
        return attempted(
            lambda: call("POST", target.address, body=body, headers=headers, timeout_s=timeout_s),
            lambda answer: by_code(answer, ("errcode",), "errmsg", refused=_REFUSED, hints=_HINTS),
        )

    def preview(self, target: Target, card: Card) -> str:  # noqa: ARG002 -- secrets are no part of it
        return _content(card)


def _message(card: Card) -> dict[str, Any]:
    return {"msgtype": "markdown", "markdown": {"content": _content(card)}}


def _content(card: Card) -> str:
    text = cut_to_fit(card, lambda each: _markdown(each).encode(), CONTENT_MAX_BYTES).decode()
    # A title alone may still be too long, where a link is beside it.
    return text.encode()[:CONTENT_MAX_BYTES].decode("utf-8", "ignore")


def _markdown(card: Card) -> str:
    lines = "\n".join(f"**{_plain(line.name)}**：{_value(line)}" for line in card.lines)
    items = "\n".join(f"> {_plain(item)}" for item in card.items)
    metrics = "\n".join(f"> {_plain(line.name)}：{_plain(line.value)}" for line in card.metrics)
    link = f"[{_plain(card.link_text or _('Open'))}]({card.link})" if "://" in card.link else _plain(card.link)
    # Its own brackets stay, and begin no link.
    title = _plain(card.title).replace("［", "[").replace("］", "]").replace("](", "] (")
    return "\n\n".join(part for part in (title, lines, items, metrics, link) if part)


def _value(line: Line) -> str:
    return f"`{line.value.translate(IN_TICKS)}`" if line.is_code else _plain(line.value)


def _plain(text: str) -> str:
    return text.translate(LOOK_ALIKES)
