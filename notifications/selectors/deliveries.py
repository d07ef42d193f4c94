"""Deliveries: the ledger, and the outbox, which is the part of it that has not ended."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db.models import Count, Exists, Min, OuterRef, Q, QuerySet

from notifications.errors import DeliveryUnknown
from notifications.models import Attempt, Channel, Delivery, DeliveryTotals
from notifications.providers.budgets import budget_of

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def deliveries() -> QuerySet[Delivery]:
    """All with their channel and rule, newest first."""
    return Delivery.objects.select_related("channel", "rule").order_by("-created_at", "-id")


def get_delivery(delivery_id: UUID) -> Delivery:
    """Raises DeliveryUnknown."""
    delivery = deliveries().filter(pk=delivery_id).first()
    if delivery is None:
        raise DeliveryUnknown(f"delivery {delivery_id} was not found")
    return delivery


def attempts_of(delivery: Delivery) -> QuerySet[Attempt]:
    """The tries, first one first."""
    return Attempt.objects.filter(delivery=delivery).order_by("started_at", "id")


def may_go_again(delivery: Delivery) -> bool:
    """Whether it was given up, and somebody knows where it goes."""
    return delivery.status == Delivery.Status.FAILED and (delivery.channel_id is not None or bool(delivery.target))


# The outbox.


class Lane(NamedTuple):
    """What is sent one after the other: by a channel, or, where `channel_id` is None, by what a deleted one of that
    name left behind."""

    channel_id: int | None
    name: str = ""


def due_q(now: datetime) -> Q:
    """What may be tried, were it not for the budget: what waits, and what somebody who is gone was sending."""
    waits = Q(status=Delivery.Status.PENDING) & (Q(next_attempt_at=None) | Q(next_attempt_at__lte=now))
    # Its first part says what the index says: databases do not see that the others mean as much.
    return Q(status__in=Delivery.OPEN) & (waits | Q(status=Delivery.Status.SENDING, claimed_until__lte=now))


def due_lanes(now: datetime) -> list[Lane]:
    """Each lane in which something may be tried. Two queries, which probe the index of the outbox once a channel."""
    due = Delivery.objects.filter(due_q(now))
    ready = Channel.objects.filter(Q(held_until=None) | Q(held_until__lte=now), enabled=True)
    channels = ready.filter(Exists(due.filter(channel=OuterRef("pk")))).order_by().values_list("pk", flat=True)
    orphans = due.filter(channel=None).order_by().values_list("channel_name", flat=True).distinct()
    return [*(Lane(pk) for pk in channels), *(Lane(None, name) for name in orphans)]


def lane_deliveries(lane: Lane) -> QuerySet[Delivery]:
    """What is open in a lane."""
    rows = Delivery.objects.filter(status__in=Delivery.OPEN, channel=lane.channel_id)
    return rows if lane.channel_id is not None else rows.filter(channel_name=lane.name)


def lane_attempts(lane: Lane, *, since: datetime) -> QuerySet[Attempt]:
    """Every attempt that was begun in a lane since then."""
    rows = Attempt.objects.filter(channel=lane.channel_id, started_at__gt=since)
    return rows if lane.channel_id is not None else rows.filter(delivery__channel_name=lane.name)


class Used(NamedTuple):
    """How many attempts a lane began within the last second and the last minute."""

    second: int
    minute: int


def used(lane: Lane, *, now: datetime) -> Used:
    """One query."""
    begun_within_second = Count("pk", filter=Q(started_at__gt=now - SECOND))
    counted = lane_attempts(lane, since=now - MINUTE).aggregate(minute=Count("pk"), second=begun_within_second)
    return Used(**counted)


@dataclass(frozen=True, slots=True)
class OutboxFigures:
    """What stands in the outbox, each by provider. What waits for a channel to be turned on again is left out."""

    depth: Counter[str] = field(default_factory=Counter)
    # When the oldest of it came.
    oldest: dict[str, datetime] = field(default_factory=dict)
    # What could be sent, had its channel not used up its budget.
    over_budget: Counter[str] = field(default_factory=Counter)
    failing_channels: Counter[str] = field(default_factory=Counter)


def outbox_figures(now: datetime) -> OutboxFigures:
    """Three queries, none over what has ended."""
    figures = OutboxFigures()
    # Of channels that are off, messages wait for somebody, and not for the portal.
    waiting = Delivery.objects.filter(Q(channel=None) | Q(channel__enabled=True), status__in=Delivery.OPEN)
    grouped = waiting.order_by().values("channel", "provider")
    due_counts: Counter[int] = Counter()
    for row in grouped.annotate(count=Count("pk"), oldest=Min("created_at"), due=Count("pk", filter=due_q(now))):
        provider = row["provider"]
        figures.depth[provider] += row["count"]
        figures.oldest[provider] = min(row["oldest"], figures.oldest.get(provider, row["oldest"]))
        if row["channel"] is not None:
            due_counts[row["channel"]] += row["due"]
    channels = Channel.objects.filter(Q(pk__in=[*due_counts]) | Q(failing_since__isnull=False), enabled=True)
    recent = _recent_use([*due_counts], now) if due_counts else {}
    for channel in channels.order_by().only("pk", "provider", "failing_since", "per_second", "per_minute"):
        figures.failing_channels[channel.provider] += channel.failing_since is not None
        budget = budget_of(channel.provider, channel.per_second, channel.per_minute)
        use = recent.get(channel.pk, Used(0, 0))
        if is_spent(use.minute, budget.per_minute) or is_spent(use.second, budget.per_second):
            figures.over_budget[channel.provider] += due_counts[channel.pk]
    return figures


def is_spent(begun: int, limit: int | None) -> bool:
    """Whether that is all that a budget grants; no limit grants everything."""
    return bool(limit) and begun >= int(limit or 0)


def _recent_use(channels: list[int], now: datetime) -> dict[int, Used]:
    begun = Attempt.objects.filter(channel__in=channels, started_at__gt=now - MINUTE).order_by().values("channel")
    counted = begun.annotate(minute=Count("pk"), second=Count("pk", filter=Q(started_at__gt=now - SECOND)))
    return {row["channel"]: Used(row["second"], row["minute"]) for row in counted}


def delivery_totals() -> Mapping[tuple[str, str], int]:
    """How many deliveries ever came to each end, by (provider, status). One query."""
    rows = DeliveryTotals.objects.values_list("provider", "status", "count")
    return {(provider, status): count for provider, status, count in rows}
