"""One socket on the agents' path, before anybody decides what is said on it."""

import json
from contextlib import ExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol


class AgentSocket:
    """An open connection with an agent token; `options` go to the client of websockets."""

    def __init__(self, url: str, token: str, *, headers: dict[str, str] | None = None, **options: Any) -> None:
        self._closing = ExitStack()
        self._connection = self._closing.enter_context(
            connect(
                url.replace("http", "ws", 1) + "/api/v1/agents/ws",
                additional_headers={"Authorization": f"Bearer {token}"} | (headers or {}),
                subprotocols=[Subprotocol("onestep-agent.v1")],
                proxy=None,
                **options,
            )
        )

    def receive(self, *, timeout_s: float = 30) -> dict[str, Any]:
        return json.loads(self._connection.recv(timeout=timeout_s))

    def receive_type(self, kind: str, *, timeout_s: float = 10.0) -> dict[str, Any]:
        """The payload of the next frame of this type; others before it are passed over."""
        while True:
            frame = self.receive(timeout_s=timeout_s)
            if frame["type"] == kind:
                return frame["payload"]

    def wait_for_close(self, *, timeout_s: float = 30) -> int | None:
        """The code that the portal closes with; TimeoutError when it does not."""
        try:
            while True:
                self._connection.recv(timeout=timeout_s)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def close(self) -> None:
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def now() -> str:
    return datetime.now(UTC).isoformat()
