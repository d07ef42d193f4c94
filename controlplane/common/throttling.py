"""Token buckets: so much at once, then so much a second."""


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
