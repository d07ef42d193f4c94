"""The live stream through the real ASGI application, in process. Needs `django_db(transaction=True)`."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode

from agents.api.live import stream
from controlplane.common.serving import HANG_UP_EXTENSION

PATH = "/api/v1/ui/stream"
# Messages take milliseconds; a machine that does other work may take its time, and its transactions hold others back.
MESSAGE_WITHIN_S = 30


@dataclass
class Frame:
    """What stands between two empty lines."""

    id: str = ""
    data: dict = field(default_factory=dict)
    retry: str = ""
    comments: list = field(default_factory=list)

    @classmethod
    def parse(cls, text):
        frame = cls()
        for line in text.split("\n"):
            name, _, value = line.partition(": ")
            if not name:
                frame.comments.append(value)
            elif name == "data":
                frame.data = json.loads(value)
            else:
                setattr(frame, name, value)
        return frame


class LiveClient:
    """One client of the stream. While `reads` is clear, it takes nothing."""

    def __init__(self, application, *, headers, query, last_event_id):
        shown = {"Host": "localhost", **headers}
        if last_event_id:
            shown["Last-Event-ID"] = last_event_id
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": PATH,
            "raw_path": PATH.encode(),
            "root_path": "",
            "query_string": urlencode(query).encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in shown.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "extensions": {HANG_UP_EXTENSION: {"hang_up": self.hang_up}},
        }
        self.reads = asyncio.Event()
        self.reads.set()
        self.was_hung_up = False
        self.status, self.headers = 0, {}
        self._asked = False
        self._left = asyncio.Event()
        self._sent = asyncio.Queue()
        self._text = ""
        self._task = asyncio.ensure_future(application(self.scope, self._receive, self._send))

    def hang_up(self):
        self.was_hung_up = True
        self.leave()

    def leave(self):
        self._left.set()
        self.reads.set()

    async def _receive(self):
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b""}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        await self.reads.wait()
        self._sent.put_nowait(message)

    async def started(self):
        start = await asyncio.wait_for(self._sent.get(), MESSAGE_WITHIN_S)
        self.status = start["status"]
        self.headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return self

    async def body(self):
        """The whole of an answer that ends."""
        parts = []
        while True:
            message = await asyncio.wait_for(self._sent.get(), MESSAGE_WITHIN_S)
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                return json.loads(b"".join(parts))

    async def frame(self):
        """The next frame; None where the stream has ended."""
        while "\n\n" not in self._text:
            message = await asyncio.wait_for(self._sent.get(), MESSAGE_WITHIN_S)
            if not message.get("more_body"):
                return None
            self._text += message["body"].decode()
        text, _, self._text = self._text.partition("\n\n")
        return Frame.parse(text)

    async def message(self):
        """The next frame with data."""
        async with asyncio.timeout(MESSAGE_WITHIN_S):
            while True:
                frame = await self.frame()
                if frame is None or frame.data:
                    return frame

    async def event(self):
        """The next message about an event."""
        while True:
            frame = await self.message()
            if frame is None or "event_id" in frame.data:
                return frame

    async def events(self, count):
        return [(await self.event()).data["event_id"] for _ in range(count)]

    async def ended(self):
        await asyncio.wait_for(asyncio.wait({self._task}), MESSAGE_WITHIN_S)

    async def end(self):
        self.leave()
        await self.ended()


@asynccontextmanager
async def streaming():
    """The application for as long as the block; yields a function that opens streams as somebody from api_client."""
    from controlplane.asgi import application

    clients = []

    async def connect(headers, *, last_event_id="", **query):
        client = LiveClient(application, headers=headers, query=query, last_event_id=last_event_id)
        clients.append(client)
        return await client.started()

    try:
        yield connect
    finally:
        for client in clients:
            await client.end()
        await stream.end_streams()
        # The next block is another process.
        stream._streams.clear()
