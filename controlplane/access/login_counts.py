"""Logins at this process since it started, counted in plain numbers and published with its pulse."""

import threading
from collections import Counter
from functools import partial
from typing import Final, Literal

from controlplane.common.gauges import publish_gauge

# `refused` are attempts that a limit did not let try; `lockouts` are the failures that began a lock.
Counted = Literal["succeeded", "failed", "refused", "lockouts"]
COUNTED: Final[tuple[Counted, ...]] = ("succeeded", "failed", "refused", "lockouts")

_lock = threading.Lock()
_counts: Counter[str] = Counter()


def count_login(outcome: Counted) -> None:
    """Requests run in threads: without the lock two logins at one moment could count as one."""
    with _lock:
        _counts[outcome] += 1


def login_count(outcome: Counted) -> int:
    return _counts[outcome]


for _each in COUNTED:
    publish_gauge(f"logins_{_each}", partial(login_count, _each))
