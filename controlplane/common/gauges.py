"""Figures of this process that any part of it may keep, and that go with its replica's pulse."""

from collections.abc import Callable

_read: dict[str, Callable[[], float]] = {}


def publish_gauge(name: str, read: Callable[[], float]) -> None:
    """Have `read` called at each pulse, on the event loop: it must not wait. A name published again is replaced.

    What is exported under the name stands in controlplane.prometheus.portal.
    """
    _read[name] = read


def published_gauges() -> dict[str, float]:
    """What each of them is now."""
    return {name: read() for name, read in _read.items()}
