"""Quiet hours: when what is to be told waits."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from notifications.engine.clocks import first_moment, last_moment

_DAY: Final = timedelta(days=1)
# Hours that meet end to end may follow each other so often.
_LINKS_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Quiet:
    """From one wall time to another; over midnight where the end is not after the beginning.

    `weekdays` are those on which they begin, 0 for Monday; empty for every day. Where clocks are put back, they last
    from the first time that shows the beginning to the last that shows the end.
    """

    begins: time
    ends: time
    zone: ZoneInfo
    weekdays: frozenset[int] = frozenset()

    def held(self, moment: datetime) -> datetime:
        """When something may be told that is due at this moment: then, or at the end of the quiet hours."""
        found = moment
        for _ in range(_LINKS_MAX):
            end = self._end(found)
            if end is None:
                return found
            found = end
        return found

    def _end(self, moment: datetime) -> datetime | None:
        today = moment.astimezone(self.zone).date()
        ends = [end for day in (today - _DAY, today) for begin, end in self._span(day) if begin <= moment < end]
        return max(ends, default=None)

    def _span(self, day: date) -> list[tuple[datetime, datetime]]:
        if self.weekdays and day.weekday() not in self.weekdays:
            return []
        last_day = day if self.ends > self.begins else day + _DAY
        begin = first_moment(datetime.combine(day, self.begins), self.zone)
        return [(begin, last_moment(datetime.combine(last_day, self.ends), self.zone))]


def is_endless(begins: time, ends: time, weekdays: frozenset[int]) -> bool:
    """Whether such hours follow each other without a gap, so that nothing would ever be told."""
    return begins == ends and len(weekdays) in {0, 7}
