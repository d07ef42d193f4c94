"""A client of the agent protocol without a runtime behind it, for what the real one never does."""

import json
import uuid
from contextlib import ExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

CAPABILITIES = ["telemetry.sync", "telemetry.heartbeat", "telemetry.metrics", "telemetry.events", "command.ping"]


class RawAgent:
    """One socket: says hello when opened, then sends and receives frames as it is told."""

    def __init__(self, url: str, token: str, *, service: str, instance_id: str | None = None) -> None:
        self.service = {
            "name": service,
            "environment": "dev",
            "node_name": "raw",
            "instance_id": instance_id or str(uuid.uuid4()),
            "deployment_version": "1",
        }
        self.runtime = {
            "onestep_version": "1",
            "python_version": "3",
            "hostname": "raw",
            "pid": 1,
            "started_at": _now(),
        }
        self._closing = ExitStack()
        self._socket = self._closing.enter_context(
            connect(
                url.replace("http", "ws", 1) + "/api/v1/agents/ws",
                additional_headers={"Authorization": f"Bearer {token}"},
                subprotocols=[Subprotocol("onestep-agent.v1")],
                proxy=None,
            )
        )
        self.send(
            "hello",
            {"protocol_version": "1", "capabilities": CAPABILITIES, "service": self.service, "runtime": self.runtime},
        )

    @property
    def instance_id(self) -> str:
        return self.service["instance_id"]

    def send(self, kind: str, payload: dict[str, object]) -> None:
        self._socket.send(
            json.dumps({"type": kind, "message_id": uuid.uuid4().hex, "sent_at": _now(), "payload": payload})
        )

    def receive(self, *, timeout_s: float = 10.0) -> dict[str, Any]:
        return json.loads(self._socket.recv(timeout=timeout_s))

    def wait_for_ack(self) -> None:
        """AssertionError unless the first frame after the hello is its answer."""
        frame = self.receive()
        assert frame["type"] == "hello_ack", frame

    def receive_type(self, kind: str, *, timeout_s: float = 10.0) -> dict[str, Any]:
        """The payload of the next frame of this type; others before it are passed over."""
        while True:
            frame = self.receive(timeout_s=timeout_s)
            if frame["type"] == kind:
                return frame["payload"]

    def wait_for_close(self, *, timeout_s: float) -> int | None:
        """The code that the portal closes with; TimeoutError when it does not."""
        try:
            while True:
                self._socket.recv(timeout=timeout_s)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()


def _now() -> str:
    return datetime.now(UTC).isoformat()
