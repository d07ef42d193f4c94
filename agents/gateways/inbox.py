"""What comes in on one socket: frame by frame, and ahead of its turn while a frame waits."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
T = TypeVar("T")

# Frames of one agent that are read while an earlier one waits: a minute of an ordinary agent.
READ_AHEAD_MAX = 32
# Frames that were read ahead, of all sockets of a process together.
READ_AHEAD_BYTES_MAX = 32 * 1024 * 1024


class PeerGone(ConnectionError):
    """The connection has ended while somebody waited for an answer; the socket's disconnect is read next."""


class ReadAhead:
    """How much the sockets of a process have read ahead, in characters."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


class Inbox:
    """The messages of one socket, in their order. Not thread-safe: for one event loop."""

    __slots__ = ("_ahead", "_receive", "_receiving", "_total")

    def __init__(self, receive: Receive, total: ReadAhead) -> None:
        self._receive = receive
        self._total = total
        # Both are rare, and sockets are many.
        self._ahead: deque[Message] | None = None
        self._receiving: asyncio.Future[Message] | None = None

    def __len__(self) -> int:
        """How many messages were read ahead of their turn."""
        return len(self._ahead) if self._ahead else 0

    async def next(self) -> Message:
        if self._ahead:
            return self.pop()
        if self._receiving is not None:
            # Not awaited itself: what it brings is not lost on a caller who is cancelled at the same moment.
            receiving = self._receiving
            await asyncio.wait({receiving})
            self._keep_received()
            return self.pop() if self._ahead else receiving.result()
        return await self._receive()

    def count_read(self) -> int:
        """How many messages were read ahead, that of a read just done among them."""
        self._keep_received()
        return len(self)

    def pop(self) -> Message:
        """The next of those that were read ahead; raises IndexError where there is none."""
        if not self._ahead:
            raise IndexError("Nothing was read ahead.")
        message = self._ahead.popleft()
        self._total.size -= _size(message)
        return message

    async def wait_for(self, work: Awaitable[T], *, only_for_a_peer: bool = False) -> T:
        """The outcome of `work`; while it is under way the socket is read on, within bounds.

        With `only_for_a_peer` the work is cancelled, and PeerGone raised, once the connection is read to have ended.
        The agent's pings are among what is read: one that hears nothing of them for 20 to 40 s hangs up, and comes
        back with all that it could not send.
        """
        waiting = asyncio.ensure_future(work)
        try:
            while not waiting.done():
                if only_for_a_peer and self._has_ended:
                    raise PeerGone("The peer went while it waited.")
                if not self._may_read_on():
                    await asyncio.wait({waiting})
                    break
                if self._receiving is None:
                    self._receiving = asyncio.ensure_future(self._receive())
                either: set[asyncio.Future[Any]] = {waiting, self._receiving}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                self._keep_received()
            return await waiting
        finally:
            waiting.cancel()

    def close(self) -> None:
        """Forget what was read ahead, and read no more."""
        if self._receiving is not None:
            self._receiving.cancel()
        while self._ahead:
            self.pop()

    def _keep_received(self) -> None:
        if self._receiving is None or not self._receiving.done() or self._receiving.cancelled():
            return
        message, self._receiving = self._receiving.result(), None
        if self._ahead is None:
            self._ahead = deque()
        self._ahead.append(message)
        self._total.size += _size(message)

    @property
    def _has_ended(self) -> bool:
        return self._ahead is not None and len(self._ahead) > 0 and self._ahead[-1]["type"] != "websocket.receive"

    def _may_read_on(self) -> bool:
        # Nothing comes after the end of the connection.
        return not self._has_ended and len(self) < READ_AHEAD_MAX and self._total.size < READ_AHEAD_BYTES_MAX


def _size(message: Message) -> int:
    return len(message.get("text") or message.get("bytes") or "")
