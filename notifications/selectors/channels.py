"""Channels, how they fare, and how much of their budget is used."""

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.db.models import Count, Q, QuerySet

from notifications.errors import ChannelUnknown
from notifications.models import Attempt, Channel, Delivery
from notifications.providers.budgets import Budget, budget_of

ChannelState = Literal["off", "failing", "ok", "untried"]
# So far back a channel's page and its line in the list count.
LATELY = timedelta(hours=24)


def channels() -> QuerySet[Channel]:
    """All, oldest first."""
    return Channel.objects.order_by("created_at", "id")


def get_channel(channel_id: int) -> Channel:
    """The channel with its own rule, where it has one. Raises ChannelUnknown."""
    channel = Channel.objects.select_related("own_rule").filter(pk=channel_id).first()
    if channel is None:
        raise ChannelUnknown(f"notification channel {channel_id} was not found")
    return channel


def failing_channels() -> QuerySet[Channel]:
    """Those that are enabled and do not deliver, the longest first."""
    return Channel.objects.filter(enabled=True, failing_since__isnull=False).order_by("failing_since")


def state_of(channel: Channel) -> ChannelState:
    if not channel.enabled:
        return "off"
    if channel.failing_since is not None:
        return "failing"
    return "ok" if channel.last_success_at is not None else "untried"


@dataclass(frozen=True, slots=True)
class Use:
    """How many attempts a channel made of late, beside what it may make."""

    second: int
    minute: int
    budget: Budget

    @property
    def share(self) -> int:
        """Of the budget of a minute, in percent, 100 at most."""
        return min(100, round(100 * self.minute / self.budget.per_minute)) if self.budget.per_minute else 0


def uses_of(rows: Collection[Channel], *, now: datetime) -> dict[int, Use]:
    """The use of each of these channels. One query."""
    recent = Attempt.objects.filter(channel__in=[row.pk for row in rows], started_at__gt=now - timedelta(minutes=1))
    counted = (
        recent.order_by()
        .values("channel")
        .annotate(minute=Count("pk"), second=Count("pk", filter=Q(started_at__gt=now - timedelta(seconds=1))))
    )
    found = {each["channel"]: (each["second"], each["minute"]) for each in counted}
    return {
        row.pk: Use(*found.get(row.pk, (0, 0)), budget_of(row.provider, row.per_second, row.per_minute)) for row in rows
    }


def delivery_counts(rows: Collection[Channel], *, now: datetime) -> dict[int, Counter[str]]:
    """How many deliveries of the last LATELY each of these channels has in which status. One query."""
    recent = Delivery.objects.filter(channel__in=[row.pk for row in rows], created_at__gte=now - LATELY)
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    grouped = recent.order_by().values_list("channel", "status").annotate(count=Count("pk"))
    for channel, status, count in grouped.values_list("channel", "status", "count"):
        counts[channel][status] = count
    return counts
