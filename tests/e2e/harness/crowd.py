"""Small agents by the dozen on one event loop in a thread of its own, for what a fleet does while something fails."""

import asyncio
import itertools
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from tests import frames

RECONNECT_AFTER_S = 0.2
HEARTBEAT_EVERY_S = 1.0
LOOK_EVERY_S = 0.02
# Small, so that back-pressure shows after some frames and not after megabytes.
SEND_BUFFER_BYTES = 32 * 1024


class Streamer:
    """An agent that reports one numbered event per frame, obeys commands, and comes back to the next of its addresses.

    As the real client does, it takes a write that ended for a delivery: `written[n]` is when that of event n did (epoch
    seconds), and an event whose write failed is written again on the next connection, under the same id.
    """

    def __init__(self, urls: Sequence[str], token: str, *, service: str, every_s: float, padding: int = 0) -> None:
        self.agent = frames.Agent(name=service)
        self.agent.started_at = _now()
        self.every_s = every_s
        self.streaming = True
        # Whether it took notice of the end of streaming: nothing more is under way.
        self.rests = False
        self.written: list[float] = []
        # Since when the write under way waits; None between two writes.
        self.writing_since: float | None = None
        # The number of the first event of each session.
        self.sessions: list[int] = []
        self.closes: list[int | None] = []
        self.errors: list[dict[str, Any]] = []
        self.received: Counter[str] = Counter()
        # While False, orders are acknowledged and their results wait.
        self.answering = True
        self._urls = urls
        self._token = token
        self._padding = "x" * padding
        self._next: dict[str, Any] | None = None

    @property
    def instance_id(self) -> str:
        return self.agent.instance_id

    def event_id(self, number: int) -> str:
        return f"{self.instance_id.replace('-', '')}-{number}"

    async def run(self) -> None:
        for url in itertools.cycle(self._urls):
            with suppress(OSError, TimeoutError, WebSocketException):
                await self._connect(url)
            await asyncio.sleep(RECONNECT_AFTER_S)

    async def _connect(self, url: str) -> None:
        parts = urlsplit(url)
        async with connect(
            url.replace("http", "ws", 1) + "/api/v1/agents/ws",
            sock=_socket(str(parts.hostname), int(str(parts.port))),
            additional_headers={"Authorization": f"Bearer {self._token}"},
            subprotocols=[Subprotocol("onestep-agent.v1")],
            compression=None,
            ping_interval=None,
            close_timeout=1,
        ) as connection:
            await connection.send(frames.text(self.agent.hello()))
            answer = json.loads(await connection.recv())
            if answer["type"] != "hello_ack":
                self.errors.append(answer["payload"])
                return
            self.sessions.append(len(self.written))
            listening = asyncio.create_task(self._listen(connection))
            try:
                # As the real client does on each session; the portal would ask for it with every heartbeat.
                await self._write(connection, self.agent.sync(frames.task(), sent_at=_now()))
                await self._report(connection)
            except ConnectionClosed as closed:
                self.closes.append(closed.rcvd.code if closed.rcvd else None)
            finally:
                self.writing_since = None
                listening.cancel()

    async def _report(self, connection: ClientConnection) -> None:
        beat_at = 0.0
        while True:
            streams = self.streaming
            self.rests = not streams
            if time.monotonic() - beat_at >= HEARTBEAT_EVERY_S:
                beat_at = time.monotonic()
                await self._write(connection, self.agent.heartbeat(sent_at=_now()))
            if streams:
                self._next = self._next or self._event(len(self.written))
                await self._write(connection, self.agent.events(self._next, sent_at=_now()))
                self.written.append(time.time())
                self._next = None
            await asyncio.sleep(self.every_s if streams else LOOK_EVERY_S)

    async def _write(self, connection: ClientConnection, frame: dict[str, Any]) -> None:
        self.writing_since = time.monotonic()
        await connection.send(frames.text(frame))
        self.writing_since = None

    def _event(self, number: int) -> dict[str, Any]:
        meta = {"n": number, "padding": self._padding}
        return frames.event("succeeded", self.event_id(number), occurred_at=_now(), meta=meta)

    async def _listen(self, connection: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for text in connection:
                frame = json.loads(text)
                if frame["type"] == "command":
                    await self._obey(connection, frame["payload"])
                elif frame["type"] == "error":
                    self.errors.append(frame["payload"])

    async def _obey(self, connection: ClientConnection, command: dict[str, Any]) -> None:
        """An order that comes again under its id is answered as the first time."""
        command_id = command["command_id"]
        self.received[command_id] += 1
        await connection.send(frames.text(frames.ack(command_id)))
        while not self.answering:
            await asyncio.sleep(LOOK_EVERY_S)
        await connection.send(frames.text(frames.result(command_id, result={"done_by": self.instance_id})))


class Crowd:
    """Runs its agents for as long as the block."""

    def __init__(self, agents: Sequence[Streamer]) -> None:
        self.agents = agents
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="crowd", daemon=True)
        self._tasks: list[asyncio.Task[None]] = []

    def stop_streaming(self) -> None:
        """No new events; sockets stay up and heartbeats go on."""
        for agent in self.agents:
            agent.streaming = False

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        self._tasks = [asyncio.create_task(agent.run()) for agent in self.agents]

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _socket(host: str, port: int) -> socket.socket:
    plain = socket.socket()
    try:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        plain.connect((host, port))
        plain.setblocking(False)
    except BaseException:
        plain.close()
        raise
    return plain


def _now() -> str:
    return datetime.now(UTC).isoformat()
