"""Calls that meet, of threads: what many ask at about the same time is answered by one set-wise call.

The same for coroutines of one event loop is in `controlplane.common.gathering`.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from django.db import DatabaseError, connection

from controlplane.common.batching import blames_data

T = TypeVar("T")
R = TypeVar("R")


class _Asked(Generic[T, R]):
    """One caller: what it asks, and what it gets. `turn` is held until it is answered or is to ask for all."""

    __slots__ = ("error", "is_answered", "item", "outcome", "turn")

    def __init__(self, item: T) -> None:
        self.item = item
        self.outcome: R
        self.error: BaseException | None = None
        self.is_answered = False
        self.turn = threading.Lock()
        self.turn.acquire()

    def result(self) -> R:
        if self.error is not None:
            raise self.error
        return self.outcome


class Joiner(Generic[T, R]):
    """Hands what threads ask to `answer`, at most `batch_size` at a time, one call after the other.

    `answer(items)` returns one outcome per item, in their order, and runs in the thread of one of the callers, on its
    connection. Somebody who asks alone is answered at once; whoever comes during a call is in the next one, so that
    nobody gets what was read before it asked. An error that blames the data makes the items be asked one by one; any
    other goes to all of them. A caller inside a transaction is never joined with others: what it asks belongs to that.
    """

    def __init__(self, answer: Callable[[Sequence[T]], Sequence[R]], *, batch_size: int) -> None:
        self._answer = answer
        self._batch_size = batch_size
        self._waiting: deque[_Asked[T, R]] = deque()
        self._is_led = False
        self._lock = threading.Lock()

    def __call__(self, item: T) -> R:
        if connection.in_atomic_block:
            return self._answer([item])[0]
        mine: _Asked[T, R] = _Asked(item)
        with self._lock:
            self._waiting.append(mine)
            follows, self._is_led = self._is_led, True
        if follows:
            mine.turn.acquire()
        if not mine.is_answered:
            self._lead()
        return mine.result()

    def __len__(self) -> int:
        """How many wait for the call that runs."""
        return len(self._waiting)

    def _lead(self) -> None:
        """Ask for who waits, this thread's caller first, and wake them and the next to lead."""
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch_size))]
        try:
            self._ask(batch)
        finally:
            with self._lock:
                self._is_led = bool(self._waiting)
                woken = [*batch[1:], *([self._waiting[0]] if self._waiting else [])]
            for asked in woken:
                asked.turn.release()

    def _ask(self, batch: Sequence[_Asked[T, R]]) -> None:
        try:
            outcomes = self._answer([asked.item for asked in batch])
        except DatabaseError as error:
            if len(batch) > 1 and blames_data(error):
                for asked in batch:
                    self._ask([asked])
                return
            self._fail(batch, error)
        except BaseException as error:  # noqa: BLE001 -- raised by every caller
            self._fail(batch, error)
        else:
            for asked, outcome in zip(batch, outcomes, strict=True):
                asked.outcome, asked.is_answered = outcome, True

    def _fail(self, batch: Sequence[_Asked[T, R]], error: BaseException) -> None:
        for asked in batch:
            asked.error, asked.is_answered = error, True
