"""A keep-alive HTTP client for the REST API, in the load's event loop."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `body` is JSON or empty. With a `cookie` it is that of a browser, and shows no token."""

    method: str
    path: str
    body: bytes = b""
    cookie: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answered request: when it was sent and answered by time.monotonic(), and the body as it came."""

    call: Call
    status: int
    sent_at: float
    answered_at: float
    body: bytes


class RestClient:
    """One connection, one request at a time; it is opened again when the server closed it."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._host, self._port, self._token = host, port, token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, call: Call) -> Answered:
        """Raises OSError, EOFError or ValueError where no whole answer came."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        sent_at = time.monotonic()
        try:
            writer.write(self._request(call))
            status, body, keeps = await _answer(reader)
        except BaseException:
            self.close()
            raise
        if not keeps:
            self.close()
        return Answered(call, status, sent_at, time.monotonic(), body)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    def _request(self, call: Call) -> bytes:
        who = f"Cookie: {call.cookie}" if call.cookie else f"Authorization: Bearer {self._token}"
        accept = "text/html" if call.cookie else "application/json"
        head = f"{call.method} {call.path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n{who}\r\nAccept: {accept}\r\n"
        if call.body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(call.body)}\r\n"
        return f"{head}\r\n".encode() + call.body


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection stays."""
    lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    body = await reader.readexactly(int(headers[b"content-length"]))
    return int(lines[0].split(b" ", 2)[1]), body, headers.get(b"connection", b"").lower() != b"close"


async def closed_loop(clients: Sequence[RestClient], calls: Sequence[Call], seconds: float) -> list[Answered]:
    """Each client sends one call after the other, all taking turns through `calls`, for `seconds`."""
    deadline = time.monotonic() + seconds
    answered: list[Answered] = []
    turn = iter(range(1 << 62))

    async def work(client: RestClient) -> None:
        while time.monotonic() < deadline:
            answered.append(await client.send(calls[next(turn) % len(calls)]))

    await asyncio.gather(*(work(client) for client in clients))
    return answered


async def open_loop(
    clients: Sequence[RestClient], calls: Sequence[Call], seconds: float, rate: float
) -> list[Answered]:
    """`rate` calls a second, through `calls` in turn; a call that finds every client busy counts its waiting too."""
    free: asyncio.Queue[RestClient] = asyncio.Queue()
    for client in clients:
        free.put_nowait(client)
    answered: list[Answered] = []
    began = time.monotonic()

    async def work(call: Call, due_at: float) -> None:
        client = await free.get()
        try:
            answer = await client.send(call)
            answered.append(Answered(call, answer.status, due_at, answer.answered_at, answer.body))
        finally:
            free.put_nowait(client)

    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            due_at = began + number / rate
            await asyncio.sleep(max(0.0, due_at - time.monotonic()))
            tasks.create_task(work(calls[number % len(calls)], due_at))
    return answered
