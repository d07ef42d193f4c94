"""Token buckets: so much at once, then so much a second."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Sender = TypeVar("Sender", bound=Hashable)


class TokenBucket:
    """Holds `burst` tokens and gains `per_s` a second. It can be overdrawn: whoever takes then waits for its turn.

    Times are the caller's, in seconds of any clock that never goes back.
    """

    __slots__ = ("_at", "_burst", "_level", "_per_s")

    def __init__(self, *, per_s: float, burst: float, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._level = burst
        self._at = now

    def wait_s(self, now: float, *, cost: float = 1.0) -> float:
        """How long somebody who took `cost` tokens now would have to wait; takes nothing."""
        self._fill(now)
        return max(0.0, (cost - self._level) / self._per_s)

    def take(self, now: float, *, cost: float = 1.0) -> float:
        """Take `cost` tokens and return how many seconds to wait before using them: 0 where they were there."""
        wait_s = self.wait_s(now, cost=cost)
        self._level -= cost
        return wait_s

    def _fill(self, now: float) -> None:
        self._level = min(self._burst, self._level + (now - self._at) * self._per_s)
        self._at = now


class SenderThrottle(Generic[Sender]):
    """A token bucket per sender, in the memory of this process: another process counts for itself.

    Beyond `senders_max` of them, those heard of longest ago are forgotten.
    """

    def __init__(
        self, *, per_s: float, burst: int, senders_max: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s, self._burst, self._senders_max = per_s, burst, senders_max
        self._clock = clock
        self._lock = threading.Lock()
        # Longest unheard first.
        self._buckets: OrderedDict[Sender, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, sender: Sender) -> float:
        """0, and one is counted; or in how many seconds the next one passes."""
        with self._lock:
            now = self._clock()
            bucket = self._buckets.pop(sender, None) or TokenBucket(per_s=self._per_s, burst=self._burst, now=now)
            self._buckets[sender] = bucket
            if len(self._buckets) > self._senders_max:
                self._buckets.popitem(last=False)
            wait_s = bucket.wait_s(now)
            return wait_s if wait_s > 0 else bucket.take(now)

    def lets_pass(self, sender: Sender) -> bool:
        """The same as a yes or no."""
        return self.wait_s(sender) == 0
