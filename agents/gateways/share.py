"""What one agent may hold of the buffer that all sockets of a process share."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from django.conf import settings

from agents.gateways.inbox import Inbox
from agents.services.reports import Report
from controlplane.common.batching import MicroBatcher

T = TypeVar("T")

# One part in so many is one agent's.
BUFFER_SHARE = 10
# What an object, and any other value, costs in memory beyond the characters that spell it: decoded, the JSON of a
# frame takes up to 24 times the room of its text.
OBJECT_BYTES = 192
VALUE_BYTES = 64


def weigh(text: str) -> int:
    """About how many bytes of memory a frame takes once it is decoded; costs microseconds."""
    return len(text) + OBJECT_BYTES * text.count("{") + VALUE_BYTES * (text.count("[") + text.count(","))


class Share:
    """The records of one socket on their way to the database. Not thread-safe: for one event loop."""

    __slots__ = ("_batcher", "_bytes", "_inbox", "_records", "_until")

    def __init__(self, batcher: MicroBatcher[Report], inbox: Inbox) -> None:
        self._batcher = batcher
        self._inbox = inbox
        # Since the buffer last held none of them, and the buffer's count after the last.
        self._records = self._bytes = self._until = 0

    async def report(self, reports: Sequence[Report], *, size_bytes: int) -> None:
        """Put records into the buffer; waits where it is full or holds this agent's share, and the socket is read on.

        A caller that is cancelled meanwhile has put them nevertheless, beyond all bounds.
        """
        if not reports:
            return
        if self._batcher.is_stored(self._until):
            self._records = self._bytes = 0
        try:
            if self._records and self._is_exceeded(len(reports), size_bytes):
                await self.flush()
            await put(self._batcher, reports, self._inbox, size_bytes=size_bytes)
        except asyncio.CancelledError:
            # The server ends: what waits for room is stored with the rest, or counted with what is given up.
            self._batcher.put_late(reports, size_bytes=size_bytes)
            raise
        self._records += len(reports)
        self._bytes += size_bytes
        self._until = self._batcher.put_count

    async def flush(self) -> None:
        """Wait until all that this agent reported is stored; meanwhile the socket is read on."""
        if not self._batcher.is_stored(self._until):
            await self._inbox.wait_for(self._batcher.flush())
        self._records = self._bytes = 0

    def _is_exceeded(self, records: int, size_bytes: int) -> bool:
        return (
            self._records + records > settings.INGEST_QUEUE_SIZE // BUFFER_SHARE
            or self._bytes + size_bytes > settings.INGEST_QUEUE_BYTES // BUFFER_SHARE
        )


async def put(batcher: MicroBatcher[T], items: Sequence[T], inbox: Inbox, *, size_bytes: int) -> None:
    """Put items into a buffer; while there is no room, the socket is read on."""
    if batcher.is_full:
        await inbox.wait_for(batcher.put_many(items, size_bytes=size_bytes))
    else:
        await batcher.put_many(items, size_bytes=size_bytes)
