"""Files that are made while they are sent: a part at a time, in a thread, for few clients at once.

No connection to the database is held between two parts, so a client that reads slowly holds nobody up.
"""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from django.db import close_old_connections

from controlplane.common.rest.errors import TooManyRequests

logger = logging.getLogger(__name__)

# At once: of one user, and in one process, whose other requests need the processor and the database too.
PER_USER: Final = 2
PER_PROCESS: Final = 4
RETRY_AFTER_S: Final = 10

_threads = ThreadPoolExecutor(max_workers=PER_PROCESS, thread_name_prefix="export")
_lock = threading.Lock()
_taken: Counter[str] = Counter()


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

    An error ends the file. With `on_error` those are its last bytes, and it is logged; without, it is raised, which
    makes the server cut the connection. Django calls `close` at the end, and when the client leaves; a step that runs
    then is the last.
    """

    def __init__(self, parts: Iterator[bytes], give_back: Callable[[], None], *, on_error: bytes | None) -> None:
        self._parts = parts
        self._on_error = on_error
        self._is_broken = False
        self.close = give_back

    def __aiter__(self) -> "FileStream":
        return self

    async def __anext__(self) -> bytes:
        part = await asyncio.get_running_loop().run_in_executor(_threads, self._step)
        if part is None:
            raise StopAsyncIteration
        return part

    def _step(self) -> bytes | None:
        if self._is_broken:
            return None
        close_old_connections()
        try:
            return next(self._parts, None)
        except Exception as error:
            self._is_broken = True
            if self._on_error is None:
                raise
            logger.exception("export.broken_off", exc_info=error)
            return self._on_error
        finally:
            close_old_connections()
