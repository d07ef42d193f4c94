"""Webhooks of one's own: GET or POST with templates. Source: contract 7.1 and 7.3."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from notifications.engine.cards import Card
from notifications.providers.base import Target, Verdict
from notifications.providers.guard import call, check_url
from notifications.providers.masking import mask_url
from notifications.providers.options import check_custom, filled
from notifications.providers.plain import text_of
from notifications.providers.reading import attempted, by_status

BODY_MAX_BYTES: Final = 256 * 1024


class Webhook:
    def check(self, target: Target) -> None:
        check_url(target.address)
        check_custom(target.options)

    def mask(self, address: str) -> str:
        return mask_url(address)

    def send(self, target: Target, card: Card, *, delivery_id: str, timeout_s: float) -> Verdict:
        variables = _variables(card, delivery_id)
        method = target.options.get("method", "POST")
        headers = {each["key"]: filled(each["value"], variables) for each in target.options.get("headers", ())}
        # A line break in a value would end the header.
        headers = {key: " ".join(value.split()).encode("ascii", "replace").decode() for key, value in headers.items()}
        body = None if method == "GET" else _body(target, variables)
        if body is not None:
            headers = {"Content-Type": "application/json; charset=utf-8", **headers}
        return attempted(
            lambda: call(
                method,
                _url(target, variables),
                body=body,
                headers={"X-Delivery-Id": delivery_id, **headers},
                timeout_s=timeout_s,
            ),
            by_status,
        )

    def preview(self, target: Target, card: Card) -> str:
        variables = _variables(card, "00000000-0000-0000-0000-000000000000")
        method = target.options.get("method", "POST")
        query = urlsplit(_url(target, variables)).query
        first = f"{method} {self.mask(target.address)}" + (f"?{query}" if target.options.get("query_params") else "")
        if method == "GET":
            return first
        try:
            shown = msgspec.json.format(_body(target, variables)).decode()
        except msgspec.DecodeError:
            shown = _body(target, variables).decode("utf-8", "replace")
        return f"{first}\n\n{shown}"


def _variables(card: Card, delivery_id: str) -> dict[str, str]:
    """Those of the newest event, and of the whole message."""
    return {**card.variables, "title": card.title, "text": text_of(card), "delivery_id": delivery_id}


def _url(target: Target, variables: Mapping[str, str]) -> str:
    """With the parameters behind those that the URL has already."""
    params = [(each["key"], filled(each["value"], variables)) for each in target.options.get("query_params", ())]
    if not params:
        return target.address
    parts = urlsplit(target.address)
    return urlunsplit(parts._replace(query=urlencode([*parse_qsl(parts.query, keep_blank_values=True), *params])))


def _body(target: Target, variables: Mapping[str, str]) -> bytes:
    template = target.options.get("body_template", "")
    if template:
        return filled(template, variables, escape=True).encode()[:BODY_MAX_BYTES]
    params = target.options.get("body_params", ())
    return msgspec.json.encode({each["key"]: filled(each["value"], variables) for each in params})
