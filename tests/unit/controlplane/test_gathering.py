"""The gatherer with answers that a test holds back; the sockets' own use of it is in integration."""

import asyncio

import pytest
from django.db import DataError, OperationalError

from controlplane.common import gathering
from controlplane.common.gathering import Gatherer


class Desk:
    """Answers each item with ten times it; fails as a test says, and can be closed for a while."""

    def __init__(self):
        self.asked = []
        self.failures = []
        self.bad = set()
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def answer(self, items):
        self.asked.append(list(items))
        await self.is_open.wait()
        if self.failures:
            raise self.failures.pop()
        if self.bad & set(items):
            raise DataError("bad item")
        return [ValueError(item) if item < 0 else 10 * item for item in items]


@pytest.fixture
async def desk():
    return Desk()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(gathering, "RETRY_FIRST_S", 0.001)


def gatherer(desk, **options):
    return Gatherer("test", desk.answer, **({"batch_size": 100, "pause_s": 0} | options))


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_what_comes_while_one_is_asked_is_asked_together(desk):
    gather = gatherer(desk)
    desk.is_open.clear()
    first = asyncio.ensure_future(gather(1))
    await until(lambda: desk.asked)
    others = [asyncio.ensure_future(gather(item)) for item in (2, 3, 4)]
    desk.is_open.set()

    assert await asyncio.gather(first, *others) == [10, 20, 30, 40]
    assert desk.asked == [[1], [2, 3, 4]]


async def test_no_batch_is_larger_than_its_limit(desk):
    gather = gatherer(desk, batch_size=2)

    assert await asyncio.gather(*(gather(item) for item in range(5))) == [0, 10, 20, 30, 40]
    assert [len(batch) for batch in desk.asked] == [2, 2, 1]


async def test_an_outcome_that_is_an_exception_is_its_callers_alone(desk):
    gather = gatherer(desk)

    good, bad = await asyncio.gather(gather(1), gather(-1), return_exceptions=True)

    assert good == 10
    assert isinstance(bad, ValueError)


async def test_an_error_that_blames_the_data_spoils_its_own_item_only(desk):
    gather = gatherer(desk, is_patient=True)
    desk.bad = {2}

    outcomes = await asyncio.gather(*(gather(item) for item in (1, 2, 3)), return_exceptions=True)

    assert (outcomes[0], outcomes[2]) == (10, 30)
    assert isinstance(outcomes[1], DataError)


async def test_an_impatient_one_hands_on_that_the_database_is_away(desk):
    gather = gatherer(desk)
    desk.failures = [OperationalError("away")]

    with pytest.raises(OperationalError):
        await gather(1)
    assert await gather(2) == 20


async def test_a_patient_one_waits_for_the_database_without_those_who_left(desk):
    gather = gatherer(desk, is_patient=True)
    desk.is_open.clear()
    staying, leaving = asyncio.ensure_future(gather(1)), asyncio.ensure_future(gather(2))
    await until(lambda: desk.asked == [[1, 2]])
    desk.failures = [OperationalError("away")] * 2
    leaving.cancel()
    desk.is_open.set()

    assert await staying == 10
    assert desk.asked == [[1, 2], [1], [1]]
    assert not gather.is_failing


async def test_it_fails_no_longer_when_everybody_left(desk):
    gather = gatherer(desk, is_patient=True)
    desk.failures = [OperationalError("away")] * 1000
    asked = asyncio.ensure_future(gather(1))
    await until(lambda: gather.is_failing)

    asked.cancel()

    await until(lambda: not gather.is_failing)


async def test_what_nobody_waits_for_any_more_is_handed_back(desk):
    unclaimed = []
    gather = gatherer(desk, on_unclaimed=unclaimed.append)
    desk.is_open.clear()
    asked = asyncio.ensure_future(gather(1))
    await until(lambda: desk.asked)

    asked.cancel()
    desk.is_open.set()

    await until(lambda: unclaimed == [10])


async def test_stopping_it_lets_nobody_wait_for_ever(desk):
    gather = gatherer(desk)
    desk.is_open.clear()
    asked = asyncio.ensure_future(gather(1))
    await until(lambda: desk.asked)
    late = asyncio.ensure_future(gather(2))
    await asyncio.sleep(0)

    await gather.stop()

    outcomes = await asyncio.gather(asked, late, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2


@pytest.mark.parametrize("is_patient", [False, True])
async def test_an_error_that_one_item_causes_is_its_callers_alone(desk, is_patient):
    gather = gatherer(desk, is_patient=is_patient)

    async def answer(items):
        if 2 in items:
            raise KeyError("unforeseen")
        return await Desk.answer(desk, items)

    gather._answer = answer
    outcomes = await asyncio.gather(*(gather(item) for item in (1, 2, 3)), return_exceptions=True)

    assert (outcomes[0], outcomes[2]) == (10, 30)
    assert isinstance(outcomes[1], KeyError)


async def test_what_is_answered_and_cancelled_at_once_is_handed_back(desk):
    unclaimed = []
    gather = gatherer(desk, on_unclaimed=unclaimed.append)
    asked = asyncio.ensure_future(gather(1))
    settle = gather._settle

    def settle_and_cancel(answered, outcome):
        settle(answered, outcome)
        asked.cancel()

    gather._settle = settle_and_cancel

    with pytest.raises(asyncio.CancelledError):
        await asked
    assert unclaimed == [10]


async def test_it_tells_for_how_long_a_call_waits_for_its_answer(desk):
    gather = gatherer(desk)
    assert gather.asking_s == 0

    desk.is_open.clear()
    asked = asyncio.ensure_future(gather(1))
    await until(lambda: gather.asking_s > 0)
    desk.is_open.set()

    assert await asked == 10
    assert gather.asking_s == 0
