"""Quiet hours: when what is due may be told."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from notifications.engine.quiet import Quiet, is_endless

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Quiet(time(22), time(6), BERLIN)
MINUTE = timedelta(minutes=1)


def berlin(*moment, fold=0):
    return datetime(*moment, tzinfo=BERLIN, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("due", "told"),
    [
        ((2026, 5, 4, 21, 59), (2026, 5, 4, 21, 59)),
        ((2026, 5, 4, 22, 0), (2026, 5, 5, 6, 0)),
        ((2026, 5, 5, 0, 30), (2026, 5, 5, 6, 0)),
        ((2026, 5, 5, 6, 0), (2026, 5, 5, 6, 0)),
    ],
)
def test_hours_over_midnight_hold_to_their_end(due, told):
    assert NIGHT.held(berlin(*due)) == berlin(*told)


def test_weekdays_are_those_on_which_they_begin():
    friday_night = Quiet(time(22), time(6), BERLIN, frozenset({4}))

    assert friday_night.held(berlin(2026, 5, 9, 1)) == berlin(2026, 5, 9, 6)
    assert friday_night.held(berlin(2026, 5, 9, 23)) == berlin(2026, 5, 9, 23)


def test_hours_that_meet_hold_to_the_end_of_the_last():
    weekend = Quiet(time(0), time(0), BERLIN, frozenset({5, 6}))

    assert weekend.held(berlin(2026, 5, 9, 12)) == berlin(2026, 5, 11, 0)


def test_hours_that_end_within_the_hour_that_is_left_out_end_where_it_begins():
    # On 29 March 2026, 01:59 is followed by 03:00.
    quiet = Quiet(time(1), time(2, 30), BERLIN)

    assert quiet.held(berlin(2026, 3, 29, 1, 30)) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


def test_hours_last_to_the_second_time_that_shows_their_end():
    # On 25 October 2026, 02:59 is followed by 02:00.
    quiet = Quiet(time(1), time(2, 30), BERLIN)

    assert quiet.held(berlin(2026, 10, 25, 2, 45)) == berlin(2026, 10, 25, 2, 30, fold=1)
    assert quiet.held(berlin(2026, 10, 25, 1, 0)) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize("hours", [(time(22), time(6)), (time(1, 30), time(2, 15)), (time(2, 15), time(1, 30))])
@pytest.mark.parametrize(
    "day", [(2026, 3, 7), (2026, 3, 28), (2026, 4, 4), (2026, 10, 3), (2026, 10, 24), (2026, 10, 31)]
)
def test_nothing_is_told_while_clocks_show_quiet_hours(zone, hours, day):
    begins, ends = hours
    zone = ZoneInfo(zone)
    quiet = Quiet(begins, ends, zone)
    moment = datetime(*day, tzinfo=UTC)

    def is_quiet_by_the_clock(at):
        shown = at.astimezone(zone).time()
        return begins <= shown < ends if begins < ends else shown >= begins or shown < ends

    for _ in range(3 * 24 * 12):
        told = quiet.held(moment)
        if is_quiet_by_the_clock(moment):
            assert told > moment
        assert quiet.held(told) == told
        assert not is_quiet_by_the_clock(told)
        # It is told as soon as they end: a minute earlier it was quiet, by the clock or in the hour that came twice.
        assert told == moment or quiet.held(told - MINUTE) == told
        moment += timedelta(minutes=5)


def test_hours_that_never_end_are_known():
    assert is_endless(time(8), time(8), frozenset())
    assert is_endless(time(8), time(8), frozenset(range(7)))
    assert not is_endless(time(8), time(8), frozenset({0}))
    assert not is_endless(time(8), time(7, 59), frozenset())
