"""The micro-batcher: many producers on one event loop, one writer thread, one transaction per batch.

It knows nothing of what it carries. Order is kept: items are written in the order in which they were put, whichever
batch they fall into. When the buffer is full, `put` waits, so that a producer that reads a socket stops reading it;
producers that wait are let in one by one, in the order in which they came.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypedDict, TypeVar

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, connections

from controlplane.common.database import OwnConnections

logger = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 2.0
# Classes of SQLSTATE that blame the statement's values: cardinality, data, constraints, limits of the program.
_BAD_DATA_CLASSES = ("21", "22", "23", "54")


class _GivenUp(Exception):
    """The drain's time is over while the database still refuses."""


@dataclass(slots=True)
class BatchStats:
    """Counts since the start of this process."""

    written: int = 0
    batches: int = 0
    poisoned: int = 0
    retries: int = 0
    last_flush_at: float = 0.0
    last_flush_s: float = 0.0
    last_lag_s: float = 0.0
    given_up: int = 0
    failing_since: float | None = None


class BatcherFigures(TypedDict):
    """How a batcher fares; counts since the start of this process, times of day as Unix seconds.

    `waiting` are items that were put and are not stored yet, those being written among them, `oldest_s` how long the
    oldest of them has waited; `last_lag_s` is how long the oldest of the last batch had waited when it was stored.
    """

    waiting: int
    waiting_bytes: int
    producers_waiting: int
    oldest_s: float
    written: int
    batches: int
    poisoned: int
    retries: int
    last_flush_at: float
    last_flush_s: float
    last_lag_s: float
    failing_since: float | None


class MicroBatcher(Generic[T]):
    """Collects items and hands them in batches to `write`, in one thread of its own.

    `write(batch)` runs in that thread, on a database connection of its own, opens its own transactions, and may be
    called again with the same items after it raised. An error that blames the data makes the batch be split until the
    bad item stands alone, which then goes to `on_poison(item, error)` and is left out; any other error of the database
    (away, read-only, locked, full, a deadlock) makes the same batch be tried again until it is stored.

    A batch is written when `batch_size` items or `batch_bytes` wait, or the oldest has waited `flush_interval_s`; under
    load a batch is what came while the one before it was written. What a `kill -9` can lose is what came within one
    such interval plus the batch being written. `queue_size` and `queue_bytes` bound what waits, but for the items of
    the last `put_many`.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[T]], None],
        *,
        queue_size: int,
        batch_size: int,
        flush_interval_s: float,
        on_poison: Callable[[T, Exception], None],
        queue_bytes: int = 64 * 1024 * 1024,
        batch_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        self.name = name
        self.stats = BatchStats()
        self._write = write
        self._on_poison = on_poison
        self._queue_size = queue_size
        self._queue_bytes = queue_bytes
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._flush_interval_s = flush_interval_s
        # Item, what it weighs in bytes, and when it was put.
        self._items: deque[tuple[T, int, float]] = deque()
        self._waiting_bytes = 0
        self._producers: deque[asyncio.Future[None]] = deque()
        self._arrived = asyncio.Event()
        self._full_batch = asyncio.Event()
        self._closing = False
        self._given_up = threading.Event()
        self._connections = OwnConnections()
        self._thread = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix=f"batch-{name}", initializer=self._connections.open
        )
        self._task: asyncio.Task[None] | None = None
        self._writing_since: float | None = None
        self._put_count = 0
        self._done_count = 0
        self._barriers: deque[tuple[int, asyncio.Future[None]]] = deque()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"batch-{self.name}")

    async def put(self, item: T, *, size_bytes: int = 0) -> None:
        """Take one item; see `put_many`."""
        await self.put_many((item,), size_bytes=size_bytes)

    async def put_many(self, items: Sequence[T], *, size_bytes: int = 0) -> None:
        """Take all of `items` at once; waits while the buffer is full. Raises RuntimeError once the batcher stops.

        `size_bytes` is what they weigh together, roughly; what is heavier than the whole buffer is taken when there is
        room for anything.
        """
        if not items:
            return
        if self.is_full:
            await self._wait_for_room()
        if self._closing:
            raise RuntimeError(f"The {self.name} batcher has stopped.")
        self._take(items, size_bytes)
        self._admit()

    def put_late(self, items: Sequence[T], *, size_bytes: int = 0) -> None:
        """Take items of a producer that ends, beyond all bounds: they are stored, or counted with what is given up."""
        if self._task is not None and self._task.done():
            # Nobody writes any more.
            self._give_up(len(items))
        elif items:
            self._take(items, size_bytes)

    def _give_up(self, count: int) -> None:
        if count:
            self.stats.given_up += count
            logger.error("batch.given_up name=%s items=%d", self.name, count)

    def _take(self, items: Sequence[T], size_bytes: int) -> None:
        if not self._items:
            self._arrived.set()
        now, each_bytes = time.monotonic(), size_bytes // len(items)
        self._items.extend([(item, each_bytes, now) for item in items])
        self._waiting_bytes += each_bytes * len(items)
        self._put_count += len(items)
        if len(self._items) >= self._batch_size or self._waiting_bytes >= self._batch_bytes:
            self._full_batch.set()

    async def _wait_for_room(self) -> None:
        if self._closing:
            return
        admitted = asyncio.get_running_loop().create_future()
        self._producers.append(admitted)
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled():
                # Let in and cancelled at once: the room is for the next.
                self._admit()
            else:
                self._producers.remove(admitted)
            raise

    def _admit(self) -> None:
        """Let in the producer that has waited longest, which lets in the next; all of them where the batcher stops."""
        while self._producers and (self._closing or self._has_room()):
            self._producers.popleft().set_result(None)
            if not self._closing:
                return

    @property
    def is_full(self) -> bool:
        """Whether `put` would wait now."""
        return bool(self._producers) or not self._has_room()

    def _has_room(self) -> bool:
        return len(self._items) < self._queue_size and self._waiting_bytes < self._queue_bytes

    async def flush(self) -> None:
        """Wait until all that was put before is stored or left out as bad."""
        if self._done_count == self._put_count:
            return
        stored = asyncio.get_running_loop().create_future()
        self._barriers.append((self._put_count, stored))
        self._full_batch.set()
        await stored

    def __len__(self) -> int:
        """How many items wait to be written."""
        return len(self._items)

    def snapshot(self) -> BatcherFigures:
        """How it fares right now; costs nothing to speak of."""
        stats = self.stats
        return {
            "waiting": len(self._items),
            "waiting_bytes": self._waiting_bytes,
            "producers_waiting": len(self._producers),
            "oldest_s": self._oldest_s(),
            "written": stats.written,
            "batches": stats.batches,
            "poisoned": stats.poisoned,
            "retries": stats.retries,
            "last_flush_at": stats.last_flush_at,
            "last_flush_s": stats.last_flush_s,
            "last_lag_s": stats.last_lag_s,
            "failing_since": stats.failing_since,
        }

    def _oldest_s(self) -> float:
        return time.monotonic() - self._items[0][2] if self._items else 0.0

    @property
    def put_count(self) -> int:
        """How many items were ever put. Kept by a producer, it tells `is_stored` of which moment to speak."""
        return self._put_count

    def is_stored(self, put_count: int) -> bool:
        """Whether the first `put_count` items that were ever put are stored or left out as bad."""
        return self._done_count >= put_count

    @property
    def writing_s(self) -> float:
        """For how long the batch being written has been under way, 0 where there is none."""
        return 0.0 if self._writing_since is None else time.monotonic() - self._writing_since

    @property
    def waiting_bytes(self) -> int:
        return self._waiting_bytes

    async def stop(self, timeout_s: float) -> int:
        """Write what waits, for at most `timeout_s` seconds, and end; returns how many items were given up."""
        self._closing = True
        self._arrived.set()
        self._full_batch.set()
        self._admit()
        if self._task is not None:
            _done, pending = await asyncio.wait({self._task}, timeout=timeout_s)
            if pending:
                self._given_up.set()
                self._task.cancel()
                await asyncio.wait(pending)
        given_up = len(self._items)
        self._give_up(given_up)
        for _count, stored in self._barriers:
            stored.cancel()
        self._thread.shutdown(wait=False)
        # A writer that was given up may still hang in the database: its connection is left to the process's end.
        if not self._given_up.is_set():
            await asyncio.to_thread(self._close_thread)
        return given_up

    def _close_thread(self) -> None:
        self._thread.shutdown(wait=True)
        self._connections.close()

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            # What came while a batch was written may have waited long enough already.
            patience_s = self._flush_interval_s - self._oldest_s()
            if not self._closing and not self._full_batch.is_set() and patience_s > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._full_batch.wait(), patience_s)
            # Items stay at the head of the buffer until they are stored: a cancelled drain can count them.
            batch = self._next_batch()
            if batch:
                await self._store(batch)
                self._forget(len(batch))
            if not self._items:
                if self._closing:
                    return
                self._arrived.clear()

    def _next_batch(self) -> list[T]:
        batch: list[T] = []
        weight = 0
        for item, size_bytes, _at in islice(self._items, self._batch_size):
            weight += size_bytes
            if batch and weight > self._batch_bytes:
                break
            batch.append(item)
        return batch

    def _forget(self, count: int) -> None:
        for _ in range(count):
            self._waiting_bytes -= self._items.popleft()[1]
        self._done_count += count
        self._admit()
        while self._barriers and self._barriers[0][0] <= self._done_count:
            _count, stored = self._barriers.popleft()
            if not stored.done():
                stored.set_result(None)
        if len(self._items) < self._batch_size and self._waiting_bytes < self._batch_bytes and not self._barriers:
            self._full_batch.clear()

    async def _store(self, batch: list[T]) -> None:
        started = self._writing_since = time.monotonic()
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._store_or_split, batch)
        finally:
            self._writing_since = None
        self.stats.batches += 1
        self.stats.last_flush_at = time.time()
        self.stats.last_flush_s = time.monotonic() - started
        self.stats.last_lag_s = self._oldest_s()

    def _store_or_split(self, batch: Sequence[T]) -> None:
        try:
            self._write_until_stored(batch)
            self.stats.written += len(batch)
        except _GivenUp:
            raise
        except Exception as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                self._store_or_split(batch[:middle])
                self._store_or_split(batch[middle:])
                return
            self.stats.poisoned += 1
            logger.exception("batch.poisoned name=%s", self.name)
            self._report_poison(batch[0], error)

    def _report_poison(self, item: T, error: Exception) -> None:
        try:
            self._on_poison(item, error)
        except Exception:
            logger.exception("batch.poison_unreported name=%s", self.name)

    def _write_until_stored(self, batch: Sequence[T]) -> None:
        delay_s = RETRY_FIRST_S
        while True:
            try:
                self._write(batch)
            except (DatabaseError, InterfaceError) as error:
                if blames_data(error):
                    self._answers_again()
                    raise
                self.stats.retries += 1
                if self.stats.failing_since is None:
                    self.stats.failing_since = time.time()
                logger.warning("batch.retry name=%s items=%d error=%s", self.name, len(batch), error)
                connections["default"].close()
                if self._given_up.wait(delay_s):
                    raise _GivenUp from error
                delay_s = min(delay_s * 2, RETRY_MAX_S)
            else:
                self._answers_again()
                return

    def _answers_again(self) -> None:
        """The database spoke, be it to refuse what it was given."""
        if self.stats.failing_since is not None:
            logger.info("batch.answered_again name=%s", self.name)
            self.stats.failing_since = None


def blames_data(error: Exception) -> bool:
    """Whether a database error is the fault of the values, and would come again on a healthy database."""
    if isinstance(error, DataError | IntegrityError):
        return True
    sqlstate = getattr(error.__cause__, "sqlstate", None) or ""
    return str(sqlstate).startswith(_BAD_DATA_CLASSES)
