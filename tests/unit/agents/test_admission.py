"""Admission to a process, with the caller's own clock."""

import pytest

from agents.gateways.admission import QUEUE_MAX_S, Admission, Admitted, TurnedAway


@pytest.fixture
def admission(settings):
    settings.AGENT_CONNECT_BURST, settings.AGENT_CONNECTS_PER_S, settings.AGENT_CONNECTIONS_MAX = 2, 1, 100
    return Admission(now=0)


def test_a_burst_comes_in_at_once_and_more_wait_their_turn(admission):
    assert [admission.enter(0) for _ in range(4)] == [Admitted(0), Admitted(0), Admitted(1), Admitted(2)]


def test_who_would_wait_too_long_is_told_to_come_again_later(admission):
    entries = [admission.enter(0) for _ in range(20)]

    admitted = [entry for entry in entries if isinstance(entry, Admitted)]
    refused = [entry for entry in entries if isinstance(entry, TurnedAway)]
    assert [entry.wait_s for entry in admitted] == [0, 0, 1, 2, 3, 4, 5]
    assert len(refused) == 13
    assert all(QUEUE_MAX_S < entry.retry_after_s <= 2 * (QUEUE_MAX_S + 1) for entry in refused)


def test_those_refused_cost_the_others_nothing(admission):
    for _ in range(50):
        admission.enter(0)

    assert admission.enter(1) == Admitted(5)


def test_a_process_holds_so_many_connections_and_no_more(admission, settings):
    settings.AGENT_CONNECTIONS_MAX = 1

    assert admission.enter(0) == Admitted(0)
    assert isinstance(admission.enter(0), TurnedAway)
    admission.leave()
    assert admission.enter(0) == Admitted(0)


def test_two_thousand_that_come_back_at_once_are_all_let_in(settings):
    admission = Admission(now=0)

    assert all(isinstance(admission.enter(0), Admitted) for _ in range(2000))
