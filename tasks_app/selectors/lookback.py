"""The stretch of time that figures are made over."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

LOOKBACK_DEFAULT_MINUTES: Final = 15
LOOKBACK_MAX_MINUTES: Final = 1440


@dataclass(frozen=True, slots=True)
class Lookback:
    """The last `minutes` before `now`."""

    minutes: int
    now: datetime

    @property
    def started_at(self) -> datetime:
        return self.now - timedelta(minutes=self.minutes)

    def widest(self) -> "Lookback":
        """The longest stretch that anyone may ask for, ending at the same time."""
        return Lookback(LOOKBACK_MAX_MINUTES, self.now)


def success_rate(*, succeeded: int, failed: int, cancelled: int) -> float:
    """Percent of outcomes that were successes; 100 where there was none. `failed` counts each delivery once.

    Source: contract 4.3.
    """
    outcomes = succeeded + failed + cancelled
    return round(100 * succeeded / outcomes, 2) if outcomes else 100.0
