"""The cron expressions that OneStep agents understand, and the times that they stand for.

Five fields or one of five aliases. A day counts where either the day of the month or the day of the week fits, unless
one of the two is a bare `*`: `*/1` is no bare one. Held against the agent's own reading by a property test.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils.translation import gettext

ALIASES: Final[Mapping[str, str]] = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_MONTHS: Final = {
    name: number
    for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)  # noqa: SIM905
}
# Sunday has two numbers.
_WEEKDAYS: Final = {name: number for number, name in enumerate("sun mon tue wed thu fri sat".split())} | {"7": 0}  # noqa: SIM905
_MINUTE: Final = timedelta(minutes=1)
# The agent gives up on what is further away than this.
SEARCHED_MINUTES: Final = 2 * 366 * 24 * 60


class ScheduleInvalid(ValueError):
    """The agent would not take this schedule, or what it means cannot be known here; the text says why."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression. Days of the week count from Sunday, which is 0."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def is_on(self, moment: datetime) -> bool:
        """Whether the day of the moment is one of the schedule's."""
        if moment.month not in self.months:
            return False
        by_day, by_weekday = moment.day in self.days, moment.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return (by_day or self.any_day) and (by_weekday or self.any_weekday)
        return by_day or by_weekday

    def next_after(self, wall: datetime) -> datetime | None:
        """The next minute on the wall clock (naive, as `wall`); None where it is further away than the agent looks."""
        first = wall.replace(second=0, microsecond=0) + _MINUTE
        last = first + (SEARCHED_MINUTES - 1) * _MINUTE
        day = first.replace(hour=0, minute=0)
        while day <= last:
            found = self._first_of(day, first) if self.is_on(day) else None
            if found is not None:
                return found if found <= last else None
            day += timedelta(days=1)
        return None

    def _first_of(self, day: datetime, since: datetime) -> datetime | None:
        if day.date() > since.date():
            return day.replace(hour=self.hours[0], minute=self.minutes[0])
        for hour in self.hours[bisect_left(self.hours, since.hour) :]:
            place = bisect_left(self.minutes, since.minute) if hour == since.hour else 0
            if place < len(self.minutes):
                return day.replace(hour=hour, minute=self.minutes[place])
        return None


def parse_cron(expression: str) -> Cron:
    """Raises ScheduleInvalid where the agent would refuse the expression."""
    text = expression.strip()
    fields = ALIASES.get(text.lower(), text).split()
    if len(fields) != 5:
        raise ScheduleInvalid(gettext("a cron expression has five fields"))
    minute, hour, day, month, weekday = fields
    return Cron(
        minutes=tuple(sorted(_values(minute, 0, 59))),
        hours=tuple(sorted(_values(hour, 0, 23))),
        days=_values(day, 1, 31),
        months=_values(month, 1, 12, _MONTHS),
        weekdays=_values(weekday, 0, 6, _WEEKDAYS),
        any_day=day == "*",
        any_weekday=weekday == "*",
    )


def _values(field: str, least: int, most: int, names: Mapping[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        found.update(_part(part, least, most, names or {}))
    return frozenset(found)


def _part(part: str, least: int, most: int, names: Mapping[str, int]) -> range:
    base, slash, step_text = part.partition("/")
    step = _whole(step_text) if slash else 1
    if step < 1:
        raise ScheduleInvalid(gettext("the step of “%s” is below 1") % part)
    first_text, dash, last_text = base.partition("-")
    if base == "*":
        first, last = least, most
    elif dash:
        first, last = (_value(text, least, most, names) for text in (first_text, last_text))
    else:
        first = _value(base, least, most, names)
        last = most if slash else first
    if first > last:
        raise ScheduleInvalid(gettext("“%s” ends before it begins") % part)
    return range(first, last + 1, step)


def _value(text: str, least: int, most: int, names: Mapping[str, int]) -> int:
    value = names[text.lower()] if text.lower() in names else _whole(text)
    if "7" in names:
        # However it is written: 07 is a Sunday too.
        value = 0 if value == 7 else value
    if not least <= value <= most:
        raise ScheduleInvalid(
            gettext("“%(text)s” is not between %(least)d and %(most)d") % {"text": text, "least": least, "most": most}
        )
    return value


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ScheduleInvalid(gettext("“%s” is no number") % text) from error
