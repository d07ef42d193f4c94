"""What of notifications stands on the front page."""

from dataclasses import dataclass
from typing import Any, Final

from notifications.models import Channel
from notifications.selectors.alerts import going_on, member_counts
from notifications.selectors.channels import failing_channels

SHOWN: Final = 8
COUNTED_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class GoingOn:
    """The newest alerts that go on, each with its `members_counted`, of `count` or more; and channels that fail."""

    alerts: list[Any]
    count: int
    is_more: bool
    failing: list[Channel]


def told_now() -> GoingOn:
    """Four queries at most, each bounded."""
    alerts: list[Any] = list(going_on().defer("recent")[:SHOWN])
    counts = member_counts(alerts) if alerts else {}
    for alert in alerts:
        alert.members_counted = counts[alert.pk]
    count = len(alerts)
    if count == SHOWN:
        count = going_on().order_by()[: COUNTED_MAX + 1].count()
    failing = list(failing_channels().defer("address", "secret", "options")[: SHOWN + 1])
    return GoingOn(alerts, min(count, COUNTED_MAX), count > COUNTED_MAX, failing)
