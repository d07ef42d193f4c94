"""Frames per second between two pulses."""

import pytest

from agents.gateways.traffic import Traffic


@pytest.fixture
def traffic():
    return Traffic()


def frames(traffic, count):
    for _ in range(count):
        traffic.received("telemetry")


def test_rate_is_that_between_the_last_two_pulses(traffic):
    frames(traffic, 100)
    traffic.pulse(10.0)
    first = traffic.snapshot()["frames_per_s"]
    frames(traffic, 30)
    traffic.pulse(14.0)
    second = traffic.snapshot()["frames_per_s"]
    traffic.pulse(18.0)

    assert (first, second, traffic.snapshot()["frames_per_s"]) == (0.0, 7.5, 0.0)


def test_pulses_that_come_at_once_change_nothing(traffic):
    traffic.pulse(10.0)
    frames(traffic, 8)
    traffic.pulse(14.0)
    traffic.pulse(14.1)
    frames(traffic, 4)
    traffic.pulse(16.0)

    assert traffic.snapshot()["frames_per_s"] == 2.0
