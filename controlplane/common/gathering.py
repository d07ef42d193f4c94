"""Questions that meet: what many coroutines ask at about the same time is answered by one set-wise call."""

import asyncio
import logging
import time
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
    company. Where the database is away all callers of the batch get its error, or with `is_patient`, the same batch is
    asked again until it answers; a caller that is cancelled meanwhile is left out. On any other error the batch is
    asked one by one, so that it is the caller's alone who caused it. What was answered to a caller that is gone goes to
    `on_unclaimed`.
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
        self._asking_since: float | None = None

    @property
    def asking_s(self) -> float:
        """For how long the call under way has waited for its answer, 0 where there is none."""
        return 0.0 if self._asking_since is None else time.monotonic() - self._asking_since

    async def __call__(self, item: T) -> R:
        """The outcome of `item`. Raises it where it is an exception, and CancelledError once the gatherer stopped."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, answered))
        if self._running is None or self._running.done():
            self._running = loop.create_task(self._run(), name=f"gather-{self.name}")
        try:
            return await answered
        except asyncio.CancelledError:
            if answered.done() and not answered.cancelled() and answered.exception() is None:
                # Answered and cancelled at once.
                self._unclaimed(answered.result())
            raise

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
            outcomes: Sequence[R | Exception]
            try:
                outcomes = await self._answer_timed([item for item, _answered in batch])
            except Exception as error:
                is_away = isinstance(error, DatabaseError | InterfaceError) and not blames_data(error)
                if is_away and self._is_patient:
                    logger.warning("gather.retry name=%s items=%d error=%s", self.name, len(batch), error)
                    self.is_failing = True
                    await asyncio.sleep(delay_s)
                    delay_s = min(delay_s * 2, RETRY_MAX_S)
                    continue
                if not is_away:
                    logger.exception("gather.failed name=%s items=%d", self.name, len(batch))
                    self.is_failing = False
                    if len(batch) > 1:
                        for asked in batch:
                            await self._ask([asked])
                        return
                outcomes = [error] * len(batch)
            else:
                self.is_failing = False
            for (_item, answered), outcome in zip(batch, outcomes, strict=True):
                self._settle(answered, outcome)
            return
        # Whoever asked is gone, and nobody is left who could tell that the database is back.
        self.is_failing = False

    async def _answer_timed(self, items: Sequence[T]) -> Sequence[R | Exception]:
        self._asking_since = time.monotonic()
        try:
            return await self._answer(items)
        finally:
            self._asking_since = None

    def _settle(self, answered: asyncio.Future[R], outcome: R | Exception) -> None:
        if isinstance(outcome, Exception):
            if not answered.done():
                answered.set_exception(outcome)
        elif not answered.done():
            answered.set_result(outcome)
        else:
            self._unclaimed(outcome)

    def _unclaimed(self, outcome: R) -> None:
        if self._on_unclaimed is not None:
            self._on_unclaimed(outcome)
