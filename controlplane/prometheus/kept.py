"""Answers that are kept for a while: those who scrape at the same time share one."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agents.selectors.visibility import Environments
from controlplane.common.errors import ControlPlaneError
from controlplane.prometheus.text import Exposition

# Tokens that are narrowed in so many different ways get answers of their own at a time.
VARIANTS_MAX: Final = 8
# For how long one waits for an answer that is made for another.
PATIENCE_S: Final = 8.0


class Busy(ControlPlaneError):
    """Another answer is being made; come again."""

    code = "busy"
    retryable = True


@dataclass(frozen=True, slots=True)
class _Kept:
    exposition: Exposition
    made_at: float


class Keeper:
    """Makes one answer at a time, and keeps it. Thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._making = threading.Lock()
        self._kept: OrderedDict[Environments, _Kept] = OrderedDict()

    def get(self, environments: Environments, make: Callable[[], Exposition], *, ttl_s: float) -> Exposition:
        """What was made for these environments within `ttl_s` seconds, else what `make` returns now.

        Raises Busy where others keep it making for PATIENCE_S.
        """
        if not self._making.acquire(timeout=PATIENCE_S):
            raise Busy("another answer is being made; try again later")
        try:
            kept = self._kept.get(environments)
            if kept is None or self._clock() - kept.made_at >= ttl_s:
                kept = _Kept(make(), self._clock())
                self._kept[environments] = kept
                self._kept.move_to_end(environments)
                if len(self._kept) > VARIANTS_MAX:
                    self._kept.popitem(last=False)
            return kept.exposition
        finally:
            self._making.release()
