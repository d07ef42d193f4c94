"""The micro-batcher: many producers on one event loop, one writer thread, one transaction per batch.

It knows nothing of what it carries. Order is kept: items are written in the order in which they were put, whichever
batch they fall into. When the buffer is full, `put` waits, so that a producer that reads a socket stops reading it.
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
from typing import Generic, TypeVar

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
    failing_since: float | None = None


class MicroBatcher(Generic[T]):
    """Collects items and hands them in batches to `write`, in one thread of its own.

    `write(batch)` runs in that thread, on a database connection of its own, opens its own transactions, and may be
    called again with the same items after it raised. An error that blames the data makes the batch be split until the
    bad item stands alone, which then goes to `on_poison(item, error)` and is left out; any other error of the database
    (away, read-only, locked, full, a deadlock) makes the same batch be tried again until it is stored.

    A batch is written when `batch_size` items or `batch_bytes` wait, or the oldest has waited `flush_interval_s`. What
    a `kill -9` can lose is what came within one such interval plus the batch being written. `queue_size` and
    `queue_bytes` bound what waits.
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
        self._items: deque[tuple[T, int]] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._full_batch = asyncio.Event()
        self._closing = False
        self._given_up = threading.Event()
        self._connections = OwnConnections()
        self._thread = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix=f"batch-{name}", initializer=self._connections.open
        )
        self._task: asyncio.Task[None] | None = None
        self._put_count = 0
        self._done_count = 0
        self._barriers: deque[tuple[int, asyncio.Future[None]]] = deque()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"batch-{self.name}")

    async def put(self, item: T, *, size_bytes: int = 0) -> None:
        """Take one item; waits while the buffer is full. Raises RuntimeError once the batcher stops.

        `size_bytes` is what the item weighs, roughly; an item heavier than the whole buffer is taken when it is empty.
        """
        while self._is_full() and not self._closing:
            self._room.clear()
            await self._room.wait()
        if self._closing:
            raise RuntimeError(f"The {self.name} batcher has stopped.")
        if not self._items:
            self._arrived.set()
        self._items.append((item, size_bytes))
        self._waiting_bytes += size_bytes
        self._put_count += 1
        if len(self._items) >= self._batch_size or self._waiting_bytes >= self._batch_bytes:
            self._full_batch.set()

    def _is_full(self) -> bool:
        return len(self._items) >= self._queue_size or self._waiting_bytes >= self._queue_bytes

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

    @property
    def put_count(self) -> int:
        """How many items were ever put. Kept by a producer, it tells `is_stored` of which moment to speak."""
        return self._put_count

    def is_stored(self, put_count: int) -> bool:
        """Whether the first `put_count` items that were ever put are stored or left out as bad."""
        return self._done_count >= put_count

    @property
    def waiting_bytes(self) -> int:
        return self._waiting_bytes

    async def stop(self, timeout_s: float) -> int:
        """Write what waits, for at most `timeout_s` seconds, and end; returns how many items were given up."""
        self._closing = True
        self._arrived.set()
        self._full_batch.set()
        self._room.set()
        if self._task is not None:
            _done, pending = await asyncio.wait({self._task}, timeout=timeout_s)
            if pending:
                self._given_up.set()
                self._task.cancel()
                await asyncio.wait(pending)
        given_up = len(self._items)
        if given_up:
            logger.error("batch.given_up name=%s items=%d", self.name, given_up)
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
            if not self._closing and not self._full_batch.is_set():
                # The oldest waits no longer than the interval.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._full_batch.wait(), self._flush_interval_s)
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
        for item, size_bytes in islice(self._items, self._batch_size):
            weight += size_bytes
            if batch and weight > self._batch_bytes:
                break
            batch.append(item)
        return batch

    def _forget(self, count: int) -> None:
        for _ in range(count):
            self._waiting_bytes -= self._items.popleft()[1]
        self._done_count += count
        self._room.set()
        while self._barriers and self._barriers[0][0] <= self._done_count:
            _count, stored = self._barriers.popleft()
            if not stored.done():
                stored.set_result(None)
        if len(self._items) < self._batch_size and self._waiting_bytes < self._batch_bytes and not self._barriers:
            self._full_batch.clear()

    async def _store(self, batch: list[T]) -> None:
        started = time.monotonic()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store_or_split, batch)
        self.stats.batches += 1
        self.stats.last_flush_at = time.time()
        self.stats.last_flush_s = time.monotonic() - started

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
                if self.stats.failing_since is not None:
                    logger.info("batch.stored_again name=%s", self.name)
                    self.stats.failing_since = None
                return


def blames_data(error: Exception) -> bool:
    """Whether a database error is the fault of the values, and would come again on a healthy database."""
    if isinstance(error, DataError | IntegrityError):
        return True
    sqlstate = getattr(error.__cause__, "sqlstate", None) or ""
    return str(sqlstate).startswith(_BAD_DATA_CLASSES)
