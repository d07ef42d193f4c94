"""The providers by name. STAND-IN: to be replaced at merge. It posts the card as JSON, whoever the provider is."""

import json
import re
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import urlsplit

from controlplane.common.errors import Invalid
from notifications.engine.cards import Card
from notifications.providers.base import Provider, Target, Verdict

VARIABLES: Final = frozenset(
    [
        "event_type",
        "service_name",
        "service_environment",
        "task_name",
        "occurred_at",
        "scheduled_at",
        "duration_ms",
        "attempts",
        "instance_id",
        "node_name",
        "console_url",
        "failure_message",
        "success_summary",
    ]
)
_NAME = re.compile(r"{{\s*(.*?)\s*}}")


class _Plain:
    def check(self, target: Target) -> None:
        if not target.address.strip():
            raise Invalid("An address is needed.", field="address")
        for place in ("query_params", "body_params"):
            for number, each in enumerate(target.options.get(place, ())):
                for name in _NAME.findall(each["value"]):
                    if name not in VARIABLES:
                        raise Invalid(f"unknown variable {name}", field=f"options.{place}.{number}.value")

    def mask(self, address: str) -> str:
        parts = urlsplit(address)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/...{address[-4:]}" if parts.netloc else "..."

    def send(self, target: Target, card: Card, *, delivery_id: str, timeout_s: float) -> Verdict:
        body = json.dumps({"id": delivery_id, "title": card.title}).encode()
        request = urllib.request.Request(target.address, body, {"Content-Type": "application/json"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
                return _judged(answer.status, answer.read(4000).decode(errors="replace"))
        except urllib.error.HTTPError as exc:
            return _judged(exc.code, exc.read(4000).decode(errors="replace"))
        except (OSError, ValueError) as exc:
            return Verdict(ok=False, error=type(exc).__name__)

    def preview(self, target: Target, card: Card) -> str:  # noqa: ARG002 -- for now
        return "\n".join([card.title, *(f"{line.name}: {line.value}" for line in card.lines)])


def _judged(status: int, text: str) -> Verdict:
    try:
        body: Any = json.loads(text)
    except ValueError:
        body = {}
    code = body.get("code", body.get("errcode", 0)) if isinstance(body, dict) else 0
    ok = status < 300 and code == 0
    said = "" if ok else str(body.get("msg") or body.get("errmsg") or f"HTTP {status}")
    return Verdict(ok=ok, status_code=status, provider_code=str(code), response=text, error=said)


def provider_of(name: str) -> Provider:  # noqa: ARG001 -- one for all, for now
    return _Plain()
