"""The live stream of one web process, read by a real HTTP client."""

import http.client
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.e2e.harness.waiting import eventually

Message = dict[str, Any]


class StreamReader:
    """Reads in a thread of its own from the moment that it is made; `messages` are those so far, each with its `id`."""

    def __init__(self, url: str, token: str, *, last_event_id: str = "", **query: str) -> None:
        self.messages: list[Message] = []
        self.last_id = last_event_id
        self.has_ended = False
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        self._http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self._http.request("GET", f"/api/v1/ui/stream?{urlencode(query)}", headers=headers)
        # The connection lets go of it where the answer says that it is the last.
        self._socket = self._http.sock
        self._response = self._http.getresponse()
        assert self._response.status == 200, self._response.read()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.wait_for(lambda message: message.get("state") == "live", "the stream is live")

    def _read(self) -> None:
        frame: dict[str, str] = {}
        # The portal was killed, or this side has closed.
        with suppress(http.client.HTTPException, OSError, ValueError):
            while line := self._response.readline():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    frame[name] = value
                    continue
                if line == b"\n":
                    self._take(frame)
                    frame = {}
        self.has_ended = True

    def _take(self, frame: dict[str, str]) -> None:
        self.last_id = frame.get("id", self.last_id)
        if "data" in frame:
            self.messages.append(json.loads(frame["data"]) | {"id": frame.get("id", "")})

    @property
    def event_ids(self) -> list[str]:
        return [message["event_id"] for message in list(self.messages) if "event_id" in message]

    def wait_for(self, is_meant: Callable[[Message], object], what: str) -> Message:
        """The first message that is meant."""

        def found() -> Message | None:
            return next((message for message in list(self.messages) if is_meant(message)), None)

        message = eventually(found, what)
        assert message is not None
        return message

    def wait_for_end(self) -> None:
        eventually(lambda: self.has_ended, "the stream ends")

    def close(self) -> None:
        # Wakes the thread that reads; closing alone would wait for it.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=10)
        self._response.close()
        self._http.close()
        self._socket.close()
