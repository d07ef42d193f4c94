"""Questions that meet: what many coroutines ask at about the same time is answered by one set-wise call."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from django.db import DatabaseError, InterfaceError

from controlplane.common.batching import blames_data

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 2.0


class Gatherer(Generic[T, R]):
    """Hands what all callers ask to `answer`, at most `batch_size` at a time, one call after the other.

    `answer(items)` returns one outcome per item, in their order; an outcome that is an exception is raised at its
    caller alone. Somebody who asks alone is answered at once; while calls follow each other, each waits `pause_s` for
    company. An error that blames the data makes the batch be asked one by one. On any other error of the database all
    callers of the batch get it, or with `is_patient`, the same batch is asked again until the database answers; a
    caller that is cancelled meanwhile is left out. What was answered to a caller that is gone goes to `on_unclaimed`.
    Not thread-safe: for one event loop.
    """

    def __init__(
        self,
        name: str,
        answer: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]],
        *,
        batch_size: int,
        pause_s: float,
        is_patient: bool = False,
        on_unclaimed: Callable[[R], None] | None = None,
    ) -> None:
        self.name = name
        self.is_failing = False
        self._answer = answer
        self._batch_size = batch_size
        self._pause_s = pause_s
        self._is_patient = is_patient
        self._on_unclaimed = on_unclaimed
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> R:
        """The outcome of `item`. Raises it where it is an exception, and CancelledError once the gatherer stopped."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, answered))
        if self._running is None or self._running.done():
            self._running = loop.create_task(self._run(), name=f"gather-{self.name}")
        return await answered

    async def stop(self) -> None:
        """Cancel whoever still waits."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
        for _item, answered in self._waiting:
            answered.cancel()

    async def _run(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), self._batch_size)
            batch = [self._waiting.popleft() for _ in range(count)]
            try:
                await self._ask(batch)
            finally:
                for _item, answered in batch:
                    # Only after a cancellation: everybody else has an outcome.
                    answered.cancel()
            await asyncio.sleep(self._pause_s)

    async def _ask(self, batch: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        delay_s = RETRY_FIRST_S
        while batch := [asked for asked in batch if not asked[1].done()]:
            try:
                outcomes = await self._answer([item for item, _answered in batch])
            except (DatabaseError, InterfaceError) as error:
                if blames_data(error) and len(batch) > 1:
                    for asked in batch:
                        await self._ask([asked])
                    return
                if blames_data(error) or not self._is_patient:
                    outcomes = [error] * len(batch)
                else:
                    logger.warning("gather.retry name=%s items=%d error=%s", self.name, len(batch), error)
                    self.is_failing = True
                    await asyncio.sleep(delay_s)
                    delay_s = min(delay_s * 2, RETRY_MAX_S)
                    continue
            except Exception as error:
                logger.exception("gather.failed name=%s", self.name)
                outcomes = [error] * len(batch)
            else:
                self.is_failing = False
            for (_item, answered), outcome in zip(batch, outcomes, strict=True):
                self._settle(answered, outcome)
            return
        # Whoever asked is gone, and nobody is left who could tell that the database is back.
        self.is_failing = False

    def _settle(self, answered: asyncio.Future[R], outcome: R | Exception) -> None:
        if isinstance(outcome, Exception):
            if not answered.done():
                answered.set_exception(outcome)
        elif not answered.done():
            answered.set_result(outcome)
        elif self._on_unclaimed is not None:
            self._on_unclaimed(outcome)
