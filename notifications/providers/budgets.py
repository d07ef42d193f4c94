"""What a provider takes. STAND-IN: to be replaced at merge."""

from dataclasses import dataclass
from typing import Final

DEFAULTS: Final = {"feishu": (5, 100), "wechat_work": (20, 20)}
OTHERS: Final = (10, 300)


@dataclass(frozen=True, slots=True)
class Budget:
    per_second: int
    per_minute: int


def budget_of(provider: str, per_second: int | None, per_minute: int | None) -> Budget:
    """The budget of a channel: its own figures before those of its provider."""
    known = DEFAULTS.get(provider, OTHERS)
    return Budget(per_second or known[0], per_minute or known[1])
