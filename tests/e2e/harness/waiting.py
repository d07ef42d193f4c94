"""Bounded waiting for something that another process does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, *, timeout_s: float = 60.0, every_s: float = 0.1) -> T:
    """The first truthy value of `look`; AssertionError with the last value seen when `timeout_s` has passed."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}; last seen: {seen!r}")
        time.sleep(every_s)
