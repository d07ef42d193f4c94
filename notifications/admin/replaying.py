"""What a rule or a silence would have told, as the console shows it: bars by day, and the messages."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from django.utils import timezone
from django.utils.translation import gettext

from controlplane.common.errors import ControlPlaneError
from notifications.models import Channel, Rule, Silence
from notifications.services.replay import replay
from notifications.services.rules import check_rule
from notifications.services.silences import check_silence
from notifications.silencing import always

DAYS: Final = (1, 7, 14, 30)
DAYS_DEFAULT: Final = 7
MESSAGES_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class Day:
    """How many messages a day had; `share` is of the day with the most, in percent."""

    day: date
    count: int
    share: int


def days_of(text: str) -> int:
    """The days that an address or a button names."""
    return int(text) if text in {str(each) for each in DAYS} else DAYS_DEFAULT


def replay_context(
    draft: Rule | Silence, days: int, *, channels: Collection[Channel] | None = None
) -> dict[str, Any]:
    """The messages of the last days, newest first, by the days of the reader. `channels` are those of a draft of a
    rule; a silence is taken as if it had been in force all the time."""
    now = timezone.now()
    context: dict[str, Any] = {"days": days, "day_choices": DAYS}
    try:
        if isinstance(draft, Silence):
            check_silence(always(draft, days=days, now=now))
        else:
            check_rule(draft)
        found = replay(draft, now - timedelta(days=days), now, channels=channels)
    except ControlPlaneError as error:
        return {**context, "problems": [str(error)]}
    newest = sorted(found.messages, key=lambda message: message.at, reverse=True)
    return {
        **context,
        "found": found,
        "bars": _bars(Counter(timezone.localdate(message.at) for message in newest), days),
        "messages_told": newest[:MESSAGES_SHOWN],
        "messages_more": max(0, len(newest) - MESSAGES_SHOWN),
        "message_count": len(newest),
        "per_day": gettext("%s a day") % f"{len(newest) / days:.1f}",
    }


def _bars(counts: Counter[date], days: int) -> list[Day]:
    """Each day up to today, the first first."""
    today = timezone.localdate()
    most = max(counts.values(), default=0)
    span = [today - timedelta(days=back) for back in range(days, -1, -1)]
    return [Day(day, counts[day], round(100 * counts[day] / most) if most else 0) for day in span]
