"""Who may come in: so many connections at all, and so many new ones a second. One admission per process."""

import math
import random
from dataclasses import dataclass

from django.conf import settings

from controlplane.common.throttling import TokenBucket

# An agent gives the opening handshake 10 s; whoever would wait longer than this is better told to come again.
QUEUE_MAX_S = 5.0


@dataclass(frozen=True, slots=True)
class Admitted:
    """Come in after `wait_s` seconds. Ends with `Admission.leave`."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Come again in `retry_after_s` seconds; `detail` is a sentence that says why."""

    retry_after_s: int
    detail: str


class Admission:
    """Counts connections from their upgrade request on, whichever dialect they speak. Not thread-safe.

    New ones pass AGENT_CONNECT_BURST at once, then AGENT_CONNECTS_PER_S; those beyond wait for their turn where that
    is not far, because an agent that is refused stays away for up to half a minute.
    """

    def __init__(self, *, now: float) -> None:
        self.connections = 0
        self._bucket = TokenBucket(per_s=settings.AGENT_CONNECTS_PER_S, burst=settings.AGENT_CONNECT_BURST, now=now)

    def enter(self, now: float) -> Admitted | TurnedAway:
        """Ask for one connection at `now`, in seconds of the event loop's clock."""
        if self.connections >= settings.AGENT_CONNECTIONS_MAX:
            return TurnedAway(spread_s(QUEUE_MAX_S), "This process holds as many connections as it may.")
        wait_s = self._bucket.wait_s(now)
        if wait_s > QUEUE_MAX_S:
            return TurnedAway(spread_s(wait_s), "Too many agents connect at once.")
        self.connections += 1
        return Admitted(self._bucket.take(now))

    def leave(self) -> None:
        self.connections -= 1


def spread_s(wait_s: float) -> int:
    """Whole seconds from `wait_s` to twice that, so that those who are refused together do not come together again."""
    return max(1, math.ceil(wait_s * random.uniform(1, 2)))  # noqa: S311 -- no secret
