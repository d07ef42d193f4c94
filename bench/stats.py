"""Numbers about samples."""

import math
from collections.abc import Sequence


def percentile(samples: Sequence[float], share: float) -> float:
    """The nearest-rank percentile, `share` between 0 and 1: the smallest sample that so many do not exceed.

    Raises ValueError without samples.
    """
    if not samples:
        raise ValueError("There is no percentile of nothing.")
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def milliseconds(samples: Sequence[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile and maximum of samples in seconds, in milliseconds; empty without samples."""
    if not samples:
        return {}
    shares = {"p50_ms": 0.50, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: round(percentile(samples, share) * 1000, 2) for name, share in shares.items()}
