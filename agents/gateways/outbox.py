"""What the hub wants sent on one socket, beside whatever the socket itself does."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

# Frames that wait for a peer that does not read; beyond it nothing more should be claimed for it.
OUTBOX_MAX = 100


class Outbox:
    """Sends frames in their order, in a task that lives while there are any: a slow reader holds up nobody else.

    `send` sends one frame or drops it where the connection is gone; `on_relief` is called when an outbox that was
    congested is empty again. Not thread-safe: for one event loop.
    """

    __slots__ = ("_frames", "_on_relief", "_send", "_sending")

    def __init__(self, send: Callable[[str], Awaitable[None]], *, on_relief: Callable[[], None]) -> None:
        self._send = send
        self._on_relief = on_relief
        # Most sockets have nothing to send most of the time.
        self._frames: deque[str] | None = None
        self._sending: asyncio.Task[None] | None = None

    @property
    def is_congested(self) -> bool:
        return self._frames is not None and len(self._frames) >= OUTBOX_MAX

    def post(self, frames: Iterable[str]) -> None:
        if self._frames is None:
            self._frames = deque()
        self._frames.extend(frames)
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send_all(self._frames))

    def close(self) -> None:
        """Send nothing more, and let go of the socket, which would otherwise wait for the search for cycles."""
        self._send, self._on_relief = _drop, _ignore

    async def _send_all(self, frames: deque[str]) -> None:
        was_congested = False
        try:
            while frames:
                was_congested = was_congested or self.is_congested
                await self._send(frames.popleft())
        except OSError:
            # The peer is gone, and with it all that waited; the server tells its socket so.
            was_congested = False
        finally:
            self._frames = self._sending = None
        if was_congested:
            self._on_relief()


async def _drop(_frame: str) -> None:
    pass


def _ignore() -> None:
    pass
