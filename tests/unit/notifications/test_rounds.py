"""When silences are in force."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import pytest

from notifications.engine.matching import SilenceSpec
from notifications.engine.rounds import Round, rounds

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ONCE = SilenceSpec(id=1, reason="move", starts_at=NOON, ends_at=NOON + HOUR)
NIGHTLY = SilenceSpec(
    id=2,
    reason="backup",
    starts_at=datetime(2026, 3, 1, tzinfo=UTC),
    ends_at=None,
    weekdays=frozenset(range(7)),
    start_time=time(2, 30),
    duration_min=60,
    time_zone="Europe/Berlin",
)


def begins(silence, after, before):
    return [each.begins for each in rounds(silence, after, before)]


def test_a_silence_for_once_has_one_round():
    assert list(rounds(ONCE, NOON - HOUR, NOON + 2 * HOUR)) == [Round(NOON, NOON + HOUR)]


@pytest.mark.parametrize(("after", "before"), [(-2, 0), (1, 3)])
def test_it_is_not_in_force_outside(after, before):
    assert list(rounds(ONCE, NOON + after * HOUR, NOON + before * HOUR)) == []


def test_a_cancelled_one_ends_then():
    cancelled = replace(ONCE, cancelled_at=NOON + HOUR / 2)

    assert list(rounds(cancelled, NOON, NOON + HOUR)) == [Round(NOON, NOON + HOUR / 2)]
    assert list(rounds(replace(ONCE, cancelled_at=NOON - HOUR), NOON, NOON + HOUR)) == []


def test_rounds_begin_by_the_wall_clock_and_last_their_minutes():
    found = list(rounds(NIGHTLY, datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 7, 3, tzinfo=UTC)))

    assert found == [
        Round(datetime(2026, 7, 1, 0, 30, tzinfo=UTC), datetime(2026, 7, 1, 1, 30, tzinfo=UTC)),
        Round(datetime(2026, 7, 2, 0, 30, tzinfo=UTC), datetime(2026, 7, 2, 1, 30, tzinfo=UTC)),
    ]


def test_where_clocks_leave_the_beginning_out_it_begins_as_they_jump():
    assert begins(NIGHTLY, datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC)) == [
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    ]


def test_where_clocks_show_the_beginning_twice_there_is_one_round():
    assert begins(NIGHTLY, datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 10, 26, tzinfo=UTC)) == [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    ]


def test_no_round_begins_after_the_end_and_a_begun_one_is_whole():
    ends = datetime(2026, 7, 2, 1, 0, tzinfo=UTC)
    silence = replace(NIGHTLY, ends_at=ends)

    found = list(rounds(silence, datetime(2026, 7, 1, 12, tzinfo=UTC), datetime(2026, 7, 9, tzinfo=UTC)))

    assert found == [Round(datetime(2026, 7, 2, 0, 30, tzinfo=UTC), datetime(2026, 7, 2, 1, 30, tzinfo=UTC))]


def test_a_round_that_began_before_is_found_while_it_lasts():
    long = replace(NIGHTLY, weekdays=frozenset({0}), duration_min=7 * 24 * 60)
    thursday = datetime(2026, 5, 7, tzinfo=UTC)

    assert begins(long, thursday, thursday + HOUR) == [datetime(2026, 5, 4, 0, 30, tzinfo=UTC)]


def test_rounds_of_a_year_are_one_a_day_and_none_overlap():
    found = list(rounds(NIGHTLY, datetime(2026, 3, 2, tzinfo=UTC), datetime(2027, 3, 2, tzinfo=UTC)))

    assert len(found) == 365
    assert all(one.ends <= other.begins for one, other in pairwise(found))
