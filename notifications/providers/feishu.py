"""Feishu bots: an interactive card of schema 2.0. Source: contract 7.3."""

import base64
import hashlib
import hmac
import time
from typing import Any, Final

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from notifications.engine.cards import Card, Line
from notifications.providers.base import Target, Verdict
from notifications.providers.cutting import cut_to_fit
from notifications.providers.escaping import ENTITIES, IN_TICKS
from notifications.providers.guard import call, check_url
from notifications.providers.masking import mask_url
from notifications.providers.reading import attempted, by_code

# What the provider takes, less what its signature adds.
BODY_MAX_BYTES: Final = 19_000
_TEMPLATES: Final = {"info": "blue", "good": "green", "warn": "orange", "bad": "red"}
# Signature, address, keyword, a body that it cannot read.
_REFUSED: Final = frozenset({19021, 19022, 19024, 9499})
_HINTS: Final = {
    19021: gettext_lazy("the signing secret is wrong, or a clock is"),
    19022: gettext_lazy("the bot does not allow the address of the portal"),
    19024: gettext_lazy("the bot asks for a keyword that messages do not have"),
    11232: gettext_lazy("too many messages"),
}


class Feishu:
    def check(self, target: Target) -> None:
        check_url(target.address)

    def mask(self, address: str) -> str:
        return mask_url(address)

    def send(self, target: Target, card: Card, *, delivery_id: str, timeout_s: float) -> Verdict:
        body = cut_to_fit(card, lambda each: _encoded(_message(each)), BODY_MAX_BYTES)
        if target.secret:
            stamp = str(int(time.time()))
            body = _encoded(msgspec.json.decode(body) | {"timestamp": stamp, "sign": signature(stamp, target.secret)})
        headers = {"Content-Type": "application/json; charset=utf-8", "X-Delivery-Id": delivery_id}
        return attempted(
            lambda: call("POST", target.address, body=body, headers=headers, timeout_s=timeout_s),
            lambda answer: by_code(answer, ("code", "StatusCode"), "msg", refused=_REFUSED, hints=_HINTS),
        )

    def preview(self, target: Target, card: Card) -> str:  # noqa: ARG002 -- secrets are no part of it
        return msgspec.json.format(cut_to_fit(card, lambda each: _encoded(_message(each)), BODY_MAX_BYTES)).decode()


def signature(timestamp: str, secret: str) -> str:
    """Of a moment in seconds; the key is both, the message is empty. Valid for an hour."""
    digest = hmac.new(f"{timestamp}\n{secret}".encode(), b"", hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _encoded(message: dict[str, Any]) -> bytes:
    return msgspec.json.encode(message)


def _message(card: Card) -> dict[str, Any]:
    blocks = ["\n".join(f"**{_plain(line.name)}**：{_value(line)}" for line in card.lines)]
    blocks += ["\n".join(f"- {_plain(item)}" for item in card.items)]
    blocks += ["\n".join(f"**{_plain(line.name)}**：{_plain(line.value)}" for line in card.metrics)]
    if card.link:
        blocks.append(_link(card))
    elements = [
        {
            "tag": "markdown",
            "content": block,
            "text_align": "left",
            "text_size": "normal_v2",
            "margin": "0px 0px 8px 0px",
        }
        for block in blocks
        if block
    ]
    return {
        "msg_type": "interactive",
        "card": {
            "schema": "2.0",
            "config": {
                "update_multi": True,
                "style": {"text_size": {"normal_v2": {"default": "normal", "pc": "normal", "mobile": "heading"}}},
            },
            "header": {
                "title": {"tag": "plain_text", "content": card.title},
                "template": _TEMPLATES[card.tone],
            },
            "body": {"direction": "vertical", "padding": "12px 12px 12px 12px", "elements": elements},
        },
    }


def _value(line: Line) -> str:
    if not line.is_code:
        return _plain(line.value)
    # Within ticks nothing is read, and so no tick may stand there.
    return f"`{line.value.translate(IN_TICKS)}`"


def _plain(text: str) -> str:
    return text.translate(ENTITIES)


def _link(card: Card) -> str:
    if not card.link.startswith(("http://", "https://")):
        return "`{}`".format(card.link.replace("`", ""))
    return f"[{_plain(card.link_text or _('Open'))}]({card.link})"
