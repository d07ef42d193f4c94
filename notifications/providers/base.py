"""What every provider offers, and what comes of an attempt."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from notifications.engine.cards import Card


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A channel with its secrets in clear; never logged, never stored so."""

    provider: str
    address: str
    secret: str = field(default="", repr=False)
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    language: str = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`ok` by what the provider says in its body. `retry_after_s` is what it asked for; `is_permanent` says that the
    same would be refused again. `error` is for people and holds no secret."""

    ok: bool
    status_code: int | None = None
    provider_code: str = ""
    response: str = ""
    error: str = ""
    retry_after_s: float | None = None
    is_permanent: bool = False


class Provider(Protocol):
    """`send` never raises for what the far side or the network does; that is a Verdict."""

    def check(self, target: Target) -> None:
        """Raise Invalid, with the field, where the target cannot work or is not allowed."""

    def mask(self, address: str) -> str:
        """What may be shown of an address."""

    def send(self, target: Target, card: Card, *, delivery_id: str, timeout_s: float) -> Verdict: ...

    def preview(self, target: Target, card: Card) -> str:
        """What would be sent, as text, without secrets."""
