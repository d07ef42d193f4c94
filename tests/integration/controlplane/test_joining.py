"""Calls that meet: one answer for many threads, each getting its own."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from django.db import DataError, OperationalError, connection, transaction

from controlplane.common.joining import Joiner

WITHIN_S = 60


class Answering:
    """Doubles numbers; the call for 0 waits until it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.asked_for_zero = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        if 0 in items:
            self.asked_for_zero.set()
            assert self.go_on.wait(WITHIN_S)
        if -1 in items:
            raise DataError("no such number")
        if -2 in items:
            raise OperationalError("away")
        if -3 in items:
            raise KeyError("a fault of ours")
        return [item * 2 for item in items]


@pytest.fixture
def threads():
    with ThreadPoolExecutor(max_workers=16) as executor:
        yield executor


def _meeting(
    answering: Answering, joiner: Joiner[int, int], threads: ThreadPoolExecutor, items: Sequence[int]
) -> list["Future[int]"]:
    """Let all of `items` wait while the call for 0 runs; the futures of their outcomes, in no order of asking."""
    first = threads.submit(joiner, 0)
    assert answering.asked_for_zero.wait(WITHIN_S)
    futures = [threads.submit(joiner, item) for item in items]
    while len(joiner) < len(items):
        threading.Event().wait(0.001)
    answering.go_on.set()
    assert first.result(WITHIN_S) == 0
    return futures


def test_somebody_alone_is_answered_at_once():
    answering = Answering()
    joiner = Joiner(answering, batch_size=10)

    assert [joiner(1), joiner(2)] == [2, 4]
    assert answering.calls == [[1], [2]]


def test_those_who_come_during_a_call_share_the_next(threads):
    answering = Answering()

    futures = _meeting(answering, Joiner(answering, batch_size=100), threads, range(1, 11))

    assert [future.result(WITHIN_S) for future in futures] == [2 * item for item in range(1, 11)]
    assert [sorted(call) for call in answering.calls] == [[0], list(range(1, 11))]


def test_a_call_is_bounded(threads):
    answering = Answering()

    futures = _meeting(answering, Joiner(answering, batch_size=4), threads, range(1, 11))

    assert [future.result(WITHIN_S) for future in futures] == [2 * item for item in range(1, 11)]
    assert [len(call) for call in answering.calls] == [1, 4, 4, 2]


def test_bad_data_fails_at_its_own_caller(threads):
    answering = Answering()

    bad, *good = _meeting(answering, Joiner(answering, batch_size=100), threads, [-1, 1, 2])

    with pytest.raises(DataError):
        bad.result(WITHIN_S)
    assert [future.result(WITHIN_S) for future in good] == [2, 4]


@pytest.mark.parametrize(("item", "error"), [(-2, OperationalError), (-3, KeyError)])
def test_another_error_is_everybodys_and_the_next_call_is_free_of_it(threads, item, error):
    answering = Answering()
    joiner = Joiner(answering, batch_size=100)

    for future in _meeting(answering, joiner, threads, [item, 1, 2]):
        with pytest.raises(error):
            future.result(WITHIN_S)
    assert joiner(4) == 8


@pytest.mark.django_db(transaction=True)
def test_within_a_transaction_nobody_joins(threads):
    answering = Answering()
    joiner = Joiner(answering, batch_size=100)
    first = threads.submit(joiner, 0)
    assert answering.asked_for_zero.wait(WITHIN_S)

    with transaction.atomic():
        # While the other call still runs, in this thread and on this connection.
        assert joiner(3) == 6
        assert connection.in_atomic_block
    answering.go_on.set()

    assert first.result(WITHIN_S) == 0
    assert answering.calls == [[0], [3]]
