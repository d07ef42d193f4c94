"""Wall times as moments, also where clocks are put forward or back."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_TICK = timedelta(seconds=1)


def first_moment(wall: datetime, zone: ZoneInfo) -> datetime:
    """When clocks in the zone first show this time; where they leave it out, when they jump over it.

    `wall` has no zone; what comes back is in UTC.
    """
    return _moment(wall, zone, fold=0)


def last_moment(wall: datetime, zone: ZoneInfo) -> datetime:
    """The same, but the second time where they show it twice."""
    return _moment(wall, zone, fold=1)


def _moment(wall: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    found = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if _shown(found, zone) == wall:
        return found
    # Left out. By the offset after the jump it would be before it, and by the one before the jump after it.
    early, late = sorted(wall.replace(tzinfo=zone, fold=each).astimezone(UTC) for each in (0, 1))
    while late - early > _TICK:
        middle = early + (late - early) / 2
        early, late = (early, middle) if _shown(middle, zone) > wall else (middle, late)
    # Clocks jump at whole seconds.
    return late.replace(microsecond=0)


def _shown(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)
