"""Families of metrics, made in one go; for the portal's own, which are few."""

from collections.abc import Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

# The values of the labels, and the sample.
Sample = tuple[Sequence[str], float]


def counter(name: str, documentation: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    """`name` ends in `_total`, as it is exported."""
    return _filled(CounterMetricFamily(name, documentation, labels=labels), samples)


def gauge(name: str, documentation: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    return _filled(GaugeMetricFamily(name, documentation, labels=labels), samples)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, samples: Iterable[Sample]) -> Metric:
    for labels, value in samples:
        family.add_metric(labels, value)
    return family
