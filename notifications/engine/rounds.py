"""When a silence is in force: its rounds. Pure. To be merged with what the engine knows of silences."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo


class Recurring(Protocol):
    """What is asked of a silence."""

    starts_at: datetime
    ends_at: datetime | None
    weekdays: list[int]
    start_time: time | None
    duration_min: int | None
    time_zone: str


@dataclass(frozen=True, slots=True)
class Round:
    """From `begins` on, before `ends`; `ends` is None where nobody ends it."""

    begins: datetime
    ends: datetime | None


def rounds(silence: Recurring, after: datetime, before: datetime) -> Iterator[Round]:
    """The rounds that are in force at some moment from `after` on and before `before`, in order.

    A recurring one begins at its wall time on each of its weekdays, whatever the clock does then, and lasts its
    minutes; it counts where it begins between `starts_at` and `ends_at`.
    """
    if silence.start_time is None:
        if silence.starts_at < before and (silence.ends_at is None or silence.ends_at > after):
            yield Round(silence.starts_at, silence.ends_at)
        return
    zone = ZoneInfo(silence.time_zone or "UTC")
    lasts = timedelta(minutes=silence.duration_min or 0)
    day = max(after - lasts, silence.starts_at).astimezone(zone).date() - timedelta(days=1)
    last = min(before, silence.ends_at or before).astimezone(zone).date()
    while day <= last:
        begins = datetime.combine(day, silence.start_time, zone).astimezone(UTC)
        if (
            day.weekday() in silence.weekdays
            and _counts(silence, begins)
            and begins < before
            and begins + lasts > after
        ):
            yield Round(begins, begins + lasts)
        day += timedelta(days=1)


def _counts(silence: Recurring, begins: datetime) -> bool:
    return silence.starts_at <= begins and (silence.ends_at is None or begins < silence.ends_at)
