"""How much a provider takes. Feishu and WeCom as their documents say; the others by courtesy."""

from dataclasses import dataclass
from typing import Final

# By provider: a second, a minute.
KNOWN: Final = {"feishu": (5, 100), "wechat_work": (20, 20)}
OTHERS: Final = (10, 300)


@dataclass(frozen=True, slots=True)
class Budget:
    per_second: int
    per_minute: int


def budget_of(provider: str, per_second: int | None, per_minute: int | None) -> Budget:
    """The figures of a channel, and where it has none, what is known of its provider."""
    second, minute = KNOWN.get(provider, OTHERS)
    return Budget(per_second or second, per_minute or minute)
