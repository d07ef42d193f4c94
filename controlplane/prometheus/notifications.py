"""What the portal tells of its messages: what became of them, and what waits."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from prometheus_client.core import Metric

from controlplane.prometheus.families import counter, gauge
from notifications.models import Delivery, Provider
from notifications.selectors.deliveries import delivery_totals, outbox_figures

# How a delivery may end.
_ENDS: Final = (Delivery.Status.DELIVERED, Delivery.Status.FAILED, Delivery.Status.FOLDED)
_LABELS: Final = ("provider",)


def notification_metrics(now: datetime) -> Iterator[Metric]:
    """Each family with all providers: what is not there yet could not be alerted on. Four statements."""
    totals, figures = delivery_totals(), outbox_figures(now)
    ends = [((provider, end), totals.get((provider, end), 0)) for provider in Provider.values for end in _ENDS]
    yield counter("portal_notifications_deliveries_total", "Deliveries that ended so.", ("provider", "status"), ends)
    yield gauge(
        "portal_notifications_outbox_depth",
        "Deliveries that have not ended; without those of channels that are off.",
        _LABELS,
        [((provider,), figures.depth[provider]) for provider in Provider.values],
    )
    yield gauge(
        "portal_notifications_outbox_oldest_seconds",
        "How long the oldest of them has been there; 0 where there is none.",
        _LABELS,
        [
            ((provider,), max(0.0, (now - figures.oldest.get(provider, now)).total_seconds()))
            for provider in Provider.values
        ],
    )
    yield gauge(
        "portal_notifications_budget_waiting",
        "Deliveries that wait because their channel has used up its budget.",
        _LABELS,
        [((provider,), figures.over_budget[provider]) for provider in Provider.values],
    )
    yield gauge(
        "portal_notifications_channels_failing",
        "Channels that are on and gave up what they were to deliver last.",
        _LABELS,
        [((provider,), figures.failing_channels[provider]) for provider in Provider.values],
    )
