"""The micro-batcher with writers that record instead of a database; the database's own part is in integration."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
from django.db import DataError, IntegrityError, InterfaceError, InternalError, OperationalError, ProgrammingError

from controlplane.common import batching
from controlplane.common.batching import MicroBatcher

INTERVAL_S = 0.02


class Recorder:
    """A writer that keeps what it is given, refuses what a test says, and can be held."""

    def __init__(self, poison=()):
        self.batches = []
        self.poison = set(poison)
        self.poisoned = []
        self.failures = []
        self.gate = threading.Event()
        self.gate.set()
        self.is_entered = False

    def write(self, batch):
        self.is_entered = True
        self.gate.wait(10)
        if self.failures:
            raise self.failures.pop()
        if self.poison & set(batch):
            raise ValueError("bad item")
        self.batches.append(list(batch))

    def on_poison(self, item, error):
        self.poisoned.append((item, str(error)))

    @property
    def written(self):
        return [item for batch in self.batches for item in batch]


def make(recorder, **changes):
    options = {"queue_size": 100, "batch_size": 10, "flush_interval_s": INTERVAL_S} | changes
    batcher = MicroBatcher("test", recorder.write, on_poison=recorder.on_poison, **options)
    batcher.start()
    return batcher


async def test_items_are_written_in_the_order_they_came():
    recorder = Recorder()
    batcher = make(recorder)

    for number in range(57):
        await batcher.put(number)
    await batcher.stop(5)

    assert recorder.written == list(range(57))
    assert batcher.stats.written == 57


async def test_a_full_batch_does_not_wait_for_the_interval():
    recorder = Recorder()
    batcher = make(recorder, flush_interval_s=60, batch_size=3)

    for number in range(3):
        await batcher.put(number)
    async with asyncio.timeout(5):
        while not recorder.batches:
            await asyncio.sleep(0)

    assert recorder.batches == [[0, 1, 2]]
    await batcher.stop(5)


async def test_a_lone_item_is_written_after_the_interval():
    recorder = Recorder()
    batcher = make(recorder)

    await batcher.put("only")
    async with asyncio.timeout(5):
        while not recorder.batches:
            await asyncio.sleep(0.001)

    await asyncio.wait_for(batcher.flush(), 5)
    assert recorder.batches == [["only"]]
    assert len(batcher) == 0
    await batcher.stop(5)


async def test_a_bad_item_costs_only_itself():
    recorder = Recorder(poison={4})
    batcher = make(recorder)

    for number in range(10):
        await batcher.put(number)
    await batcher.stop(5)

    assert recorder.written == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert recorder.poisoned == [(4, "bad item")]


async def test_a_full_buffer_makes_producers_wait_and_loses_nothing():
    recorder = Recorder()
    recorder.gate.clear()
    batcher = make(recorder, queue_size=5, batch_size=5)
    for number in range(5):
        await batcher.put(number)

    waiting = asyncio.ensure_future(batcher.put(5))
    done, _pending = await asyncio.wait({waiting}, timeout=0.1)
    assert not done

    recorder.gate.set()
    await asyncio.wait_for(waiting, 5)
    await batcher.stop(5)
    assert recorder.written == [0, 1, 2, 3, 4, 5]


async def test_many_items_are_taken_at_once_and_cut_into_batches():
    recorder = Recorder()
    batcher = make(recorder, queue_size=10, batch_size=10)

    await batcher.put_many(range(25), size_bytes=250)
    assert (len(batcher), batcher.waiting_bytes) == (25, 250)
    await batcher.stop(5)

    assert [len(batch) for batch in recorder.batches] == [10, 10, 5]
    assert (recorder.written, batcher.waiting_bytes) == (list(range(25)), 0)


async def test_nothing_to_put_waits_for_nothing():
    recorder = Recorder()
    recorder.gate.clear()
    batcher = make(recorder, queue_size=1)
    await batcher.put("a")

    await asyncio.wait_for(batcher.put_many([]), 5)

    recorder.gate.set()
    await batcher.stop(5)
    assert recorder.written == ["a"]


async def test_producers_that_wait_are_let_in_as_they_came_and_before_others():
    recorder = Recorder()
    recorder.gate.clear()
    batcher = make(recorder, queue_size=2, batch_size=2)
    await batcher.put_many(["a", "b"])
    producers = [asyncio.ensure_future(batcher.put(number)) for number in range(7)]
    while batcher.snapshot()["producers_waiting"] < 7:
        await asyncio.sleep(0)

    recorder.gate.set()
    while len(batcher) == 2:
        await asyncio.sleep(0)
    # There is room for a moment, and it belongs to those who wait.
    await batcher.put("late")

    await asyncio.gather(*producers)
    await batcher.stop(5)
    assert recorder.written == ["a", "b", *range(7), "late"]


@pytest.mark.parametrize("is_let_in", [False, True], ids=["waiting", "let-in"])
async def test_a_producer_that_is_cancelled_keeps_nobody_out(is_let_in):
    recorder = Recorder()
    recorder.gate.clear()
    batcher = make(recorder, queue_size=1, batch_size=1)
    await batcher.put("a")
    cancelled, other = (asyncio.ensure_future(batcher.put(name)) for name in ("cancelled", "other"))
    while batcher.snapshot()["producers_waiting"] < 2:
        await asyncio.sleep(0)

    if is_let_in:
        recorder.gate.set()
        while batcher.snapshot()["producers_waiting"] == 2:
            await asyncio.sleep(0)
    cancelled.cancel()
    recorder.gate.set()

    await asyncio.wait_for(other, 5)
    assert (await asyncio.gather(cancelled, return_exceptions=True))[0].__class__ is asyncio.CancelledError
    await batcher.stop(5)
    assert recorder.written == ["a", "other"]


async def test_producers_that_wait_learn_that_it_stopped():
    recorder = Recorder()
    recorder.gate.clear()
    batcher = make(recorder, queue_size=1)
    await batcher.put("a")
    producers = [asyncio.ensure_future(batcher.put(number)) for number in range(3)]
    while batcher.snapshot()["producers_waiting"] < 3:
        await asyncio.sleep(0)

    await batcher.stop(0.1)

    recorder.gate.set()
    outcomes = await asyncio.wait_for(asyncio.gather(*producers, return_exceptions=True), 5)
    assert [type(outcome) for outcome in outcomes] == [RuntimeError] * 3


async def test_what_came_while_a_batch_was_written_waits_no_longer_than_the_interval(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(batching, "time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: 0.0))
    recorder = Recorder()
    recorder.gate.clear()
    batcher = make(recorder, flush_interval_s=30)
    await batcher.put("first")
    flushed = asyncio.ensure_future(batcher.flush())
    while not recorder.is_entered:
        await asyncio.sleep(0)
    await batcher.put("second")

    now[0] = 31.0
    recorder.gate.set()

    await flushed
    async with asyncio.timeout(10):
        while len(batcher):
            await asyncio.sleep(0.001)
    assert recorder.batches == [["first"], ["second"]]
    await batcher.stop(5)


async def test_a_snapshot_tells_how_it_fares():
    recorder = Recorder(poison={"bad"})
    recorder.gate.clear()
    batcher = make(recorder, queue_size=3)
    await batcher.put_many(["a", "bad", "c"], size_bytes=30)
    waiting = asyncio.ensure_future(batcher.put("d"))
    while not batcher.snapshot()["producers_waiting"]:
        await asyncio.sleep(0)

    before = batcher.snapshot()
    recorder.gate.set()
    await waiting
    await batcher.stop(5)
    after = batcher.snapshot()

    assert (before["waiting"], before["waiting_bytes"], before["written"], before["failing_since"]) == (3, 30, 0, None)
    assert before["oldest_s"] > 0
    assert (after["waiting"], after["written"], after["poisoned"], after["oldest_s"]) == (0, 3, 1, 0)
    assert after["last_lag_s"] >= after["last_flush_s"] > 0


async def test_stopping_in_vain_says_how_much_was_given_up():
    recorder = Recorder()
    recorder.gate.clear()
    batcher = make(recorder)
    for number in range(3):
        await batcher.put(number)

    given_up = await batcher.stop(0.1)

    recorder.gate.set()
    assert given_up == 3


async def test_a_stopped_batcher_takes_nothing_more():
    batcher = make(Recorder())
    await batcher.stop(5)

    with pytest.raises(RuntimeError, match="has stopped"):
        await batcher.put(1)


async def test_flush_waits_for_what_was_put_before_and_no_longer_than_needed():
    recorder = Recorder()
    batcher = make(recorder, flush_interval_s=60)
    for number in range(3):
        await batcher.put(number)

    await asyncio.wait_for(batcher.flush(), 5)

    assert recorder.written == [0, 1, 2]
    await asyncio.wait_for(batcher.flush(), 5)
    await batcher.stop(5)


def database_error(kind, sqlstate=None):
    """An error as Django raises it, with the driver's own as its cause."""
    error = kind("refused")
    error.__cause__ = type("DriverError", (Exception,), {"sqlstate": sqlstate})()
    return error


@pytest.mark.parametrize(
    "error",
    [
        database_error(OperationalError),
        database_error(OperationalError, "40P01"),
        database_error(OperationalError, "53100"),
        database_error(InternalError, "25006"),
        database_error(ProgrammingError, "42P01"),
        database_error(InterfaceError),
    ],
    ids=["away", "deadlock", "disk-full", "read-only", "mid-deploy", "connection"],
)
async def test_a_database_that_refuses_costs_time_and_no_items(error, monkeypatch, db):
    monkeypatch.setattr(batching, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(batching, "RETRY_MAX_S", 0.001)
    recorder = Recorder()
    recorder.failures = [error] * 12
    batcher = make(recorder)

    for number in range(3):
        await batcher.put(number)
    await asyncio.wait_for(batcher.flush(), 5)

    assert (recorder.written, recorder.poisoned) == ([0, 1, 2], [])
    assert batcher.stats.retries == 12
    await batcher.stop(5)


@pytest.mark.parametrize(
    "error",
    [database_error(DataError), database_error(IntegrityError), database_error(OperationalError, "54000")],
    ids=["value", "constraint", "limit"],
)
async def test_a_database_that_blames_the_data_is_believed(error, db):
    recorder = Recorder()
    recorder.failures = [error]
    batcher = make(recorder)

    await batcher.put("only")
    await asyncio.wait_for(batcher.flush(), 5)

    assert recorder.poisoned == [("only", "refused")]
    await batcher.stop(5)


async def test_giving_up_ends_the_retries(monkeypatch, db):
    recorder = Recorder()
    recorder.failures = [database_error(OperationalError)] * 1_000_000
    batcher = make(recorder)
    await batcher.put("only")

    assert await batcher.stop(0.3) == 1


async def test_a_buffer_full_of_bytes_makes_producers_wait():
    recorder = Recorder()
    recorder.gate.clear()
    batcher = make(recorder, queue_bytes=100)
    await batcher.put("a", size_bytes=60)
    await batcher.put("b", size_bytes=60)

    waiting = asyncio.ensure_future(batcher.put("c", size_bytes=1))
    done, _pending = await asyncio.wait({waiting}, timeout=0.1)
    assert (done, batcher.waiting_bytes) == (set(), 120)

    recorder.gate.set()
    await asyncio.wait_for(waiting, 5)
    await batcher.flush()
    assert (recorder.written, batcher.waiting_bytes) == (["a", "b", "c"], 0)
    await batcher.stop(5)


async def test_a_batch_is_cut_by_bytes_and_a_giant_goes_alone():
    recorder = Recorder()
    recorder.gate.clear()
    batcher = make(recorder, batch_bytes=100)
    for name, size in (("a", 40), ("b", 40), ("c", 40), ("giant", 500), ("d", 1)):
        await batcher.put(name, size_bytes=size)

    recorder.gate.set()
    await batcher.stop(5)

    assert recorder.written == ["a", "b", "c", "giant", "d"]
    assert ["giant"] in recorder.batches
    assert max(len(batch) for batch in recorder.batches) == 2


async def test_a_database_that_refuses_a_value_after_an_outage_has_answered(monkeypatch, db):
    monkeypatch.setattr(batching, "RETRY_FIRST_S", 0.001)
    recorder = Recorder()
    recorder.failures = [DataError("bad"), OperationalError("away")]
    batcher = make(recorder)

    await batcher.put(1)
    await asyncio.wait_for(batcher.flush(), 10)

    assert (batcher.stats.retries, batcher.stats.poisoned) == (1, 1)
    assert batcher.stats.failing_since is None
    await batcher.stop(5)


async def test_what_comes_after_the_end_is_counted_with_what_is_given_up(caplog):
    batcher = make(Recorder())
    await batcher.put(1)
    await batcher.stop(5)

    batcher.put_late([2, 3], size_bytes=10)

    assert batcher.stats.given_up == 2
    assert len(batcher) == 0
    assert "batch.given_up name=test items=2" in caplog.messages


async def test_it_tells_for_how_long_a_batch_is_being_written():
    recorder = Recorder()
    recorder.gate.clear()
    batcher = make(recorder)
    assert batcher.writing_s == 0

    await batcher.put(1)
    async with asyncio.timeout(10):
        while not batcher.writing_s:
            await asyncio.sleep(0.001)
    recorder.gate.set()
    await asyncio.wait_for(batcher.flush(), 10)

    assert batcher.writing_s == 0
    await batcher.stop(5)
