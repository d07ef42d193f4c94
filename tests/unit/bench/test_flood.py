"""The growth of the 99th percentile beside a flood."""

import math
from collections import Counter

import pytest

from bench.scenarios.flood import _growth, _Round, _times
from bench.scenarios.latency import Seen


def done(*took_s: float) -> _Round:
    seen = [Seen(1000.0 + place, took) for place, took in enumerate(took_s)]
    return _Round(1000.0, seen, None, Counter(), {}, "")


def test_growth_is_that_of_the_99th_percentile_of_the_middle_round_in_percent():
    quiet = [done(0.01), done(0.02), done(0.5)]
    flooded = [done(0.03), done(9.0), done(0.001)]

    assert _growth(quiet, flooded) == pytest.approx(50)


def test_growth_of_nothing_fails_every_target():
    assert math.isnan(_growth([], [done(0.01)]))


def test_times_after_the_burst_leave_out_what_was_sent_before():
    assert _times([done(0.1, 0.2, 0.3)], after_s=1.0) == [0.2, 0.3]
