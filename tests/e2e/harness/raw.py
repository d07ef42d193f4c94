"""A client of the agent protocol without a runtime behind it, for what the real one never does."""

import json
import uuid

from tests.e2e.harness.agent_socket import AgentSocket, now

CAPABILITIES = ["telemetry.sync", "telemetry.heartbeat", "telemetry.metrics", "telemetry.events", "command.ping"]


class RawAgent(AgentSocket):
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
            "started_at": now(),
        }
        super().__init__(url, token)
        self.send(
            "hello",
            {"protocol_version": "1", "capabilities": CAPABILITIES, "service": self.service, "runtime": self.runtime},
        )

    @property
    def instance_id(self) -> str:
        return self.service["instance_id"]

    def send(self, kind: str, payload: dict[str, object]) -> None:
        self._connection.send(
            json.dumps({"type": kind, "message_id": uuid.uuid4().hex, "sent_at": now(), "payload": payload})
        )

    def wait_for_ack(self) -> None:
        """AssertionError unless the first frame after the hello is its answer."""
        frame = self.receive()
        assert frame["type"] == "hello_ack", frame
