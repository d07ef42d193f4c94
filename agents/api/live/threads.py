"""Questions of the stream to the database, in threads with connections of their own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, ParamSpec, TypeVar

from controlplane.common.database import OwnConnections, renew_connection

P = ParamSpec("P")
R = TypeVar("R")

# One looks for what is new; the others read for those who catch up, and ask again who may see it.
THREADS = 3
# How long questions that are under way may take when the stream ends.
_STOP_WITHIN_S = 0.5


class Threads:
    """A few threads, begun with the first question."""

    def __init__(self) -> None:
        self._connections = OwnConnections()
        self._pool = ThreadPoolExecutor(
            max_workers=THREADS, thread_name_prefix="stream", initializer=self._connections.open
        )
        self._asked: set[Future[Any]] = set()

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What the function returns or raises."""

        def ask() -> R:
            renew_connection()
            return function(*args, **kwargs)

        asked = self._pool.submit(ask)
        self._asked.add(asked)
        asked.add_done_callback(self._asked.discard)
        return await asyncio.wrap_future(asked)

    async def stop(self) -> None:
        """Close the connections; one that hangs in the database is left to the process's end, with its thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._asked and (await asyncio.to_thread(wait, set(self._asked), _STOP_WITHIN_S)).not_done:
            return
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._pool.shutdown(wait=True)
        self._connections.close()
