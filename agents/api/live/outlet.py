"""What waits to be sent to one client."""

import asyncio
from collections import deque
from typing import Final

# Frames are handed over together up to this size, so that a burst is no write for each.
PORTION_BYTES: Final = 64 * 1024


class Outlet:
    """A queue of frames, bounded in number and in bytes; not thread-safe.

    A client that reads more slowly than things happen fills it. Frames are never dropped from its midst, which would
    be a gap: the outlet closes, and what was not sent yet is given up. The client goes on from the last id it read.
    """

    def __init__(self, *, most_frames: int, most_bytes: int) -> None:
        self.closed_for = ""
        self._most_frames, self._most_bytes = most_frames, most_bytes
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._changed, self._emptied = asyncio.Event(), asyncio.Event()

    def put(self, frame: bytes) -> None:
        """Take a frame; where there is no room, close."""
        if self.closed_for:
            return
        if len(self._frames) >= self._most_frames or self._bytes + len(frame) > self._most_bytes:
            self.close("slow_reader")
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        self._changed.set()
        self._emptied.clear()

    def close(self, reason: str) -> None:
        """Take nothing more. The first reason counts."""
        self.closed_for = self.closed_for or reason
        self._frames.clear()
        self._bytes = 0
        self._changed.set()
        self._emptied.set()

    async def emptied(self) -> None:
        """Wait until all frames were taken, or the outlet is closed. One that has never held any is empty."""
        if self._frames:
            await self._emptied.wait()

    async def take(self, *, within_s: float) -> bytes:
        """What waits, up to PORTION_BYTES or one frame; nothing after so long, and where the outlet is closed."""
        if not self._frames and not self.closed_for:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), within_s)
            except TimeoutError:
                return b""
        portion: list[bytes] = []
        size = 0
        while self._frames and (not portion or size + len(self._frames[0]) <= PORTION_BYTES):
            frame = self._frames.popleft()
            portion.append(frame)
            size += len(frame)
        self._bytes -= size
        if not self._frames:
            self._emptied.set()
        return b"".join(portion)
