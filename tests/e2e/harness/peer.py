"""One socket that a test drives by hand, speaking through `tests.frames`."""

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import frames
from tests.e2e.harness.agent_socket import AgentSocket, now
from tests.sockets import NO_COMMAND


class Peer(AgentSocket):
    """The given agent, or a new one of the service; says hello when opened, unless it is `silent`.

    It takes `read_ahead` frames off the socket before the test asks for them, and none beyond. `trusts` is the
    certificate of an https address.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        service: str = "",
        agent: frames.Agent | None = None,
        silent: bool = False,
        capabilities: Sequence[str] | None = None,
        read_ahead: int = 1000,
        headers: dict[str, str] | None = None,
        trusts: Path | None = None,
    ) -> None:
        self.agent = agent or frames.Agent(name=service)
        if agent is None:
            self.agent.started_at = now()
        super().__init__(
            url,
            token,
            headers=headers,
            ssl=ssl.create_default_context(cafile=trusts) if trusts else None,
            compression=None,
            ping_interval=None,
            close_timeout=1,
            max_queue=read_ahead,
        )
        if not silent:
            self.send(self.agent.hello(**({} if capabilities is None else {"capabilities": list(capabilities)})))
            answer = self.receive()
            assert answer["type"] == "hello_ack", answer

    @property
    def instance_id(self) -> str:
        return self.agent.instance_id

    def send(self, frame: dict[str, Any] | str) -> None:
        self._connection.send(frame if isinstance(frame, str) else frames.text(frame))

    def send_bytes(self, raw: bytes) -> None:
        """Bytes past the client's own notion of frames. Raises OSError when the portal has hung up."""
        self._connection.socket.sendall(raw)

    def settle(self) -> list[dict[str, Any]]:
        """Wait until the portal has taken all frames so far; the errors that it answered meanwhile.

        Frames are handled in order, and an acknowledgement of a command that does not exist is always answered.
        """
        self.send(frames.ack(NO_COMMAND))
        errors: list[dict[str, Any]] = []
        while True:
            frame = self.receive(timeout_s=60)
            if frame["type"] != "error":
                continue
            if frame["payload"]["code"] == "unknown_command":
                return errors
            errors.append(frame["payload"])

    def report_last(self, event_id: str) -> None:
        """An event after everything else: once it is stored, so is what came before."""
        self.send(self.agent.events(frames.event("succeeded", event_id, occurred_at=now()), sent_at=now()))
