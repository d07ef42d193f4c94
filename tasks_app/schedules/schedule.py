"""The schedule of a task as its agent keeps it: by the wall clock of its time zone.

An agent counts on from the last start by the wall clock, never by elapsed time. Where clocks are put forward it makes
up at once for the starts that the wall clock left out, each told by a time that never was on it; where they are put
back, what was due in the hour that comes twice starts the first time only.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from math import isfinite
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.utils.translation import gettext

from tasks_app.schedules.cron import Cron, ScheduleInvalid, parse_cron

SCHEDULED_KINDS: Final = ("cron", "interval")
OVERLAPS: Final = ("allow", "skip", "queue")
# How Python names a zone that has no name but its distance from UTC.
_DISTANCE: Final = re.compile(r"(?:UTC)?(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})?")
_TICK: Final = timedelta(microseconds=1)
_LONGEST_S: Final = 366 * 86400


@dataclass(frozen=True, slots=True)
class Slot:
    """One start: `scheduled_at` is what the agent calls it, `due_at` when its clock reaches that; mostly the same."""

    scheduled_at: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Of a cron task `cron` is set, of an interval task `every`."""

    zone: tzinfo
    cron: Cron | None = None
    every: timedelta | None = None
    overlap: str = "allow"
    immediate: bool = False

    def slots(self, since: datetime, *, phase: datetime | None = None) -> Iterator[Slot]:
        """The starts that are due at `since` or later, without an end.

        Intervals are counted from `phase`, a start on the wall clock of the zone (naive, as wall_of() gives it), in
        both directions; without one there are none.
        """
        # An instant before, so that what a clock put forward left out is among them.
        wall = _wall(since - _TICK, self.zone)
        found = self._cron_walls(wall) if self.cron else self._interval_walls(wall, phase)
        for each in found:
            slot = _slot(each, self.zone)
            if slot.due_at >= since:
                yield slot

    def _cron_walls(self, wall: datetime) -> Iterator[datetime]:
        found: datetime | None = wall
        while found is not None and self.cron is not None:
            found = self.cron.next_after(found)
            if found is not None:
                yield found

    def _interval_walls(self, wall: datetime, phase: datetime | None) -> Iterator[datetime]:
        if phase is None or self.every is None:
            return
        found = phase + ((wall - phase) // self.every + 1) * self.every
        while True:
            yield found
            found += self.every


def schedule_of(source_kind: str, config: Mapping[str, Any] | None) -> Schedule | None:
    """The schedule of a source; None where it has none. Raises ScheduleInvalid where it cannot be told."""
    if source_kind not in SCHEDULED_KINDS:
        return None
    told = config or {}
    zone = _zone(told.get("timezone"))
    overlap = told.get("overlap") if told.get("overlap") in OVERLAPS else "allow"
    shared: dict[str, Any] = {"zone": zone, "overlap": overlap, "immediate": told.get("immediate") is True}
    if source_kind == "cron":
        expression = told.get("expression")
        if not isinstance(expression, str):
            raise ScheduleInvalid(gettext("the agent did not tell the cron expression"))
        return Schedule(cron=parse_cron(expression), **shared)
    seconds = told.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not isfinite(seconds):
        raise ScheduleInvalid(gettext("the agent did not tell the interval"))
    if not 0 < seconds <= _LONGEST_S or not timedelta(seconds=seconds):
        raise ScheduleInvalid(gettext("no interval of %s s can be told ahead") % seconds)
    return Schedule(every=timedelta(seconds=seconds), **shared)


def wall_of(told: str, zone: tzinfo) -> datetime | None:
    """The wall clock (naive) of a `scheduled_at` as an agent wrote it; None where that is no time.

    A time that a clock put forward left out keeps its place, so that what is counted from it does.
    """
    try:
        moment = datetime.fromisoformat(told)
        if moment.tzinfo is None:
            return moment
        as_written = moment.replace(tzinfo=zone, fold=0)
        same = as_written.utcoffset() == moment.utcoffset()
        return moment.replace(tzinfo=None) if same else _wall(moment, zone)
    except (ValueError, OverflowError):
        return None


def _wall(moment: datetime, zone: tzinfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _slot(wall: datetime, zone: tzinfo) -> Slot:
    scheduled_at = wall.replace(tzinfo=zone).astimezone(UTC)
    if _wall(scheduled_at, zone) == wall:
        return Slot(scheduled_at, scheduled_at)
    # The wall clock never showed it. It passed it when it was put forward, between the two readings of that time.
    early, late = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), scheduled_at
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) // 2
        early, late = (early, middle) if _wall(middle, zone) >= wall else (middle, late)
    return Slot(scheduled_at, late.replace(microsecond=0))


def _zone(name: object) -> tzinfo:
    if not isinstance(name, str) or not name.strip():
        raise ScheduleInvalid(gettext("the agent did not tell its time zone"))
    name = name.strip()
    if found := _DISTANCE.fullmatch(name):
        away = timedelta(hours=int(found["hours"]), minutes=int(found["minutes"] or 0))
        if away < timedelta(days=1):
            return timezone(-away if found["sign"] == "-" else away)
    try:
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError) as error:
        raise ScheduleInvalid(gettext("the time zone “%s” is not known here") % name) from error
