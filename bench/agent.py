"""One agent's socket: dials, says hello, counts what comes back, answers commands and pings."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import msgspec

from bench import wire
from bench.frames import AgentFrames

PATH = "/api/v1/agents/ws"
SUBPROTOCOL = "onestep-agent.v1"
# A ping follows this many frames; its pong says that the server has read them.
PING_EVERY = 4
_PING = wire.encode(b"", wire.PING)


@dataclass(frozen=True, slots=True)
class Target:
    """Where agents dial. `hello` is False for a server that speaks no protocol."""

    host: str
    port: int
    token: str
    path: str = PATH
    hello: bool = True


@dataclass(slots=True)
class Log:
    """What happened to the sockets of one load process."""

    # By code of the error frame, of the close, and by HTTP status of refused upgrades.
    errors: Counter[str]
    closes: Counter[str]
    refusals: Counter[str]
    # (command id, when its frame was here by time.monotonic())
    commands: list[tuple[str, float]]

    @classmethod
    def empty(cls) -> "Log":
        return cls(Counter(), Counter(), Counter(), [])

    def taken(self) -> "Log":
        """A copy of what is in it, which is then gone from here; sockets keep writing into this one."""
        copy = Log(self.errors.copy(), self.closes.copy(), self.refusals.copy(), self.commands.copy())
        for part in (self.errors, self.closes, self.refusals, self.commands):
            part.clear()
        return copy


class _Payload(msgspec.Struct):
    command_id: str = ""
    code: str = ""


class _Frame(msgspec.Struct):
    type: str
    payload: _Payload


_FRAME = msgspec.json.Decoder(_Frame)


class Refused(Exception):
    """The upgrade was refused. `retry_after_s` is None where the server gave no hint."""

    def __init__(self, status: int, retry_after_s: float | None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.retry_after_s = retry_after_s


class Agent(asyncio.Protocol):
    """Driven from outside: `send` writes frames; `unread` is how many the server has not been seen to have read."""

    def __init__(self, frames: AgentFrames, target: Target, log: Log, on_pong: Callable[[], None]) -> None:
        self.frames = frames
        self.is_open = False
        # When the server answered the upgrade, in whatever way; wall-clock seconds.
        self.answered_at = float("inf")
        self._target = target
        self._log = log
        self._on_pong = on_pong
        self._transport: asyncio.Transport | None = None
        self._reader = wire.FrameReader()
        self._head: bytes | None = b""
        # Agents ping at different times: as if so many frames had gone before.
        self.unread = self._since_ping = frames.identity.index % PING_EVERY
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        """Dial, and return when the portal acknowledged the hello.

        Raises OSError where nobody listens or the socket was closed before, Refused for any answer but an upgrade.
        """
        await asyncio.get_running_loop().create_connection(lambda: self, self._target.host, self._target.port)
        await self._ready

    def send(self, frame: bytes) -> None:
        """Write one telemetry frame, and a ping when it is time for one."""
        if self._transport is None:
            return
        self.unread += 1
        self._since_ping += 1
        if self._since_ping == PING_EVERY:
            self._since_ping = 0
            frame += _PING
        self._transport.write(frame)

    def write(self, frame: bytes) -> None:
        """Write a frame that nobody paces."""
        if self._transport is not None:
            self._transport.write(frame)

    @property
    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def keep_kernel_buffer_small(self, size_bytes: int) -> None:
        """Let the kernel hold no more for a server that does not read."""
        if self._transport is not None:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size_bytes)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        target = self._target
        self._transport.write(wire.upgrade_request(target.host, target.port, target.path, target.token, SUBPROTOCOL))

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            found = wire.upgrade_answer(self._head)
            if found is None:
                return
            answer, data = found
            self.answered_at = time.time()
            self._head = None
            if answer.status != 101:
                self._fail(Refused(answer.status, answer.retry_after_s))
                return
            self._upgraded()
        for opcode, payload in self._reader.feed(data):
            if opcode == wire.PONG:
                self.unread = max(0, self.unread - PING_EVERY)
                self._on_pong()
            elif opcode == wire.TEXT:
                self._take(payload)
            elif opcode == wire.PING:
                self.write(wire.encode(payload, wire.PONG))
            elif opcode == wire.CLOSE:
                self._log.closes[str(int.from_bytes(payload[:2], "big"))] += 1
                self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the name is asyncio's
        self.is_open = False
        self._transport = None
        if not self._ready.done():
            self._ready.set_exception(ConnectionResetError("closed before the hello was acknowledged"))
            # Nobody may be waiting any more.
            self._ready.exception()

    # --- frames of the server

    def _upgraded(self) -> None:
        if self._target.hello:
            self.write(self.frames.hello())
        else:
            self._open()

    def _take(self, payload: bytes) -> None:
        frame = _FRAME.decode(payload)
        if frame.type == "command":
            self._log.commands.append((frame.payload.command_id, time.monotonic()))
            self.write(self.frames.answers(frame.payload.command_id))
        elif frame.type == "hello_ack":
            self._open()
        else:
            self._log.errors[frame.payload.code] += 1

    def _open(self) -> None:
        self.is_open = True
        if not self._ready.done():
            self._ready.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
        self.close()
