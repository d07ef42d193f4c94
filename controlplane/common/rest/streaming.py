"""Files that are made while they are sent: a part at a time, in a thread, for few clients at once.

No connection to the database is held between two parts, so a client that reads slowly holds nobody up. One that does
not read at all is hung up on: it would keep its place from others for ever.
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from django.db import close_old_connections

from controlplane.common.rest.errors import TooManyRequests
from controlplane.common.rest.standing import Stands

logger = logging.getLogger(__name__)

# At once: of one user, and in one process, whose other requests need the processor and the database too.
PER_USER: Final = 2
PER_PROCESS: Final = 4
RETRY_AFTER_S: Final = 10
# What a client is given at once, and how long it may take to make room for it: some 4 KiB a second at the least.
PIECE_BYTES: Final = 64 * 1024
TAKEN_WITHIN_S: Final = 15.0
# How often it is asked whether the client would still be let in.
RECHECK_S: Final = 30.0

_threads = ThreadPoolExecutor(max_workers=PER_PROCESS, thread_name_prefix="export")
_lock = threading.Lock()
_taken: Counter[str] = Counter()


class AccessEnded(Exception):
    """Whoever asked for the file may not see it any more."""


class TooManyExports(TooManyRequests):
    default_detail = f"at most {PER_USER} exports of a user and {PER_PROCESS} of all run at once; try again later"
    retry_after_s = RETRY_AFTER_S


def take_slot(user_id: str) -> Callable[[], None]:
    """Take the place of one more export of this user; returns what gives it back, once. Raises TooManyExports."""
    with _lock:
        if _taken[user_id] >= PER_USER or _taken.total() >= PER_PROCESS:
            raise TooManyExports
        _taken[user_id] += 1
    held = [user_id]

    def give_back() -> None:
        with _lock:
            if held:
                _taken[held.pop()] -= 1
            if not _taken[user_id]:
                del _taken[user_id]

    return give_back


class FileStream:
    """What StreamingHttpResponse reads on the server's event loop: parts, each made by the next step of `parts`.

    An error ends the file, and so does the end of the login with which it was asked for, as `stands` tells. With
    `on_error` those are its last bytes, and it is logged; without, it is raised, which makes the server cut the
    connection. A client that does not take a piece within TAKEN_WITHIN_S is cut off, for which `hang_up` ends its
    connection. Django calls `close` at the end, and when the client leaves; a step that runs then is the last.
    """

    def __init__(
        self,
        parts: Iterator[bytes],
        give_back: Callable[[], None],
        *,
        on_error: bytes | None,
        stands: Stands,
        hang_up: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._on_error = on_error
        self._stands = stands
        self._asked_at = time.monotonic()
        self._hang_up = hang_up
        self._is_broken = False
        self._left = memoryview(b"")
        self._deadline: asyncio.TimerHandle | None = None
        self.close = give_back

    def __aiter__(self) -> "FileStream":
        return self

    async def __anext__(self) -> bytes:
        loop = asyncio.get_running_loop()
        if self._deadline is not None:
            self._deadline.cancel()
        while not self._left:
            part = await loop.run_in_executor(_threads, self._step)
            if part is None:
                raise StopAsyncIteration
            self._left = memoryview(part)
        piece, self._left = self._left[:PIECE_BYTES], self._left[PIECE_BYTES:]
        self._deadline = loop.call_later(TAKEN_WITHIN_S, self._cut_off, asyncio.current_task())
        return bytes(piece)

    def _cut_off(self, sending: asyncio.Task[object] | None) -> None:
        """Nothing is done where the task that sends has ended: the connection may serve another request by now."""
        if sending is not None and not sending.done():
            logger.info("export.hung_up")
            self._hang_up()
            sending.cancel()

    def _step(self) -> bytes | None:
        if self._is_broken:
            return None
        close_old_connections()
        try:
            self._ensure_access()
            return next(self._parts, None)
        except Exception as error:
            self._is_broken = True
            if self._on_error is None:
                raise
            if isinstance(error, AccessEnded):
                logger.info("export.access_ended")
            else:
                logger.exception("export.broken_off", exc_info=error)
            return self._on_error
        finally:
            close_old_connections()

    def _ensure_access(self) -> None:
        if time.monotonic() - self._asked_at < RECHECK_S:
            return
        if not self._stands():
            raise AccessEnded("The login of this export has ended.")
        self._asked_at = time.monotonic()
