"""What many open pages show at once is read once: an answer that a process keeps for a moment."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from django.utils import timezone

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Taken(Generic[T]):
    """A value and when it was read; pages show that age."""

    value: T
    at: datetime
    made_at: float


class Shared(Generic[T]):
    """Keeps what `make` returns for each key. Thread-safe: of those who come at once, one reads and the others wait."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._making = threading.Lock()
        self._taken: dict[object, Taken[T]] = {}

    def get(self, make: Callable[[datetime], T], *, ttl_s: float, key: object = None) -> Taken[T]:
        """What was read within `ttl_s` seconds, else what `make` reads now; it is given the moment."""
        kept = self._fresh(key, ttl_s)
        if kept is not None:
            return kept
        with self._making:
            kept = self._fresh(key, ttl_s)
            if kept is None:
                now = timezone.now()
                kept = Taken(make(now), now, self._clock())
                self._taken[key] = kept
            return kept

    def _fresh(self, key: object, ttl_s: float) -> Taken[T] | None:
        kept = self._taken.get(key)
        return kept if kept is not None and self._clock() - kept.made_at < ttl_s else None
