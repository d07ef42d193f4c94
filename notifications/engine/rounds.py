"""When a silence is in force: its rounds."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from notifications.engine.clocks import first_moment


class Recurring(Protocol):
    """What is asked of a silence, be it a row or a SilenceSpec."""

    @property
    def starts_at(self) -> datetime: ...
    @property
    def ends_at(self) -> datetime | None: ...
    @property
    def cancelled_at(self) -> datetime | None: ...
    @property
    def weekdays(self) -> "list[int] | frozenset[int]": ...
    @property
    def start_time(self) -> time | None: ...
    @property
    def duration_min(self) -> int | None: ...
    @property
    def time_zone(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Round:
    """From `begins` on, before `ends`; `ends` is None where nobody ends it."""

    begins: datetime
    ends: datetime | None

    def holds(self, moment: datetime) -> bool:
        return self.begins <= moment and (self.ends is None or moment < self.ends)


def rounds(silence: Recurring, after: datetime, before: datetime) -> Iterator[Round]:
    """The rounds that are in force at some moment from `after` on and before `before`, in order.

    A recurring one begins at its wall time on each of its weekdays, whatever the clock does then, and lasts its
    minutes; it counts where it begins between `starts_at` and `ends_at`. All end when the silence is cancelled.
    """
    for each in _planned(silence, after, before):
        ends = _earlier(each.ends, silence.cancelled_at)
        if each.begins < before and (ends is None or ends > max(each.begins, after)):
            yield Round(each.begins, ends)


def _planned(silence: Recurring, after: datetime, before: datetime) -> Iterator[Round]:
    if silence.start_time is None:
        yield Round(silence.starts_at, silence.ends_at)
        return
    zone = ZoneInfo(silence.time_zone or "UTC")
    lasts = timedelta(minutes=silence.duration_min or 0)
    day = max(after - lasts, silence.starts_at).astimezone(zone).date() - timedelta(days=1)
    last = min(before, silence.ends_at or before).astimezone(zone).date()
    while day <= last:
        if day.weekday() in silence.weekdays:
            begins = first_moment(datetime.combine(day, silence.start_time), zone)
            if silence.starts_at <= begins and (silence.ends_at is None or begins < silence.ends_at):
                yield Round(begins, begins + lasts)
        day += timedelta(days=1)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((each for each in (one, other) if each is not None), default=None)
