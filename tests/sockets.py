"""Agent sockets through the real ASGI application, in process. Needs `django_db(transaction=True)`."""

import asyncio
import json
from contextlib import asynccontextmanager

from channels.testing import WebsocketCommunicator

from agents.gateways.hub import running_hub, stop_hub
from tests import frames

PATH = "/api/v1/agents/ws"
NO_COMMAND = "cmd_" + "0" * 32
# Answers take milliseconds; a machine that does other work may take its time.
ANSWER_WITHIN_S = 20


class AgentSocket(WebsocketCommunicator):
    """A connection as a OneStep agent makes it."""

    def __init__(self, application, *, token="dev-token", subprotocols=("onestep-agent.v1",), headers=None):
        headers = [(b"authorization", f"Bearer {token}".encode())] if headers is None and token else headers or []
        super().__init__(application, PATH, headers=headers, subprotocols=list(subprotocols))
        # What uvicorn offers: an answer to the upgrade other than 403.
        self.scope["extensions"] = {"websocket.http.response": {}}

    async def send_frame(self, frame):
        await self.send_to(text_data=frame if isinstance(frame, str) else frames.text(frame))

    async def frame(self):
        """The next frame of the portal, decoded."""
        return json.loads(await self.receive_from(timeout=ANSWER_WITHIN_S))

    async def closed(self):
        """The close code and reason that come next."""
        message = await self.receive_output(timeout=ANSWER_WITHIN_S)
        assert message["type"] == "websocket.close", message
        return message["code"], message.get("reason", "")

    async def closed_after_error(self):
        """The code of the error frame that comes next, and the close code after it."""
        error = await self.frame()
        return error["payload"]["code"], (await self.closed())[0]

    async def refusal(self):
        """The HTTP status and detail with which the upgrade is refused."""
        await self.send_input({"type": "websocket.connect"})
        start = await self.receive_output(timeout=ANSWER_WITHIN_S)
        body = await self.receive_output(timeout=ANSWER_WITHIN_S)
        return start["status"], json.loads(body["body"])["detail"]

    async def hello(self, agent, **changes):
        """Say hello and return the payload of the answer."""
        await self.send_frame(agent.hello(**changes))
        answer = await self.frame()
        assert answer["type"] == "hello_ack", answer
        return answer["payload"]


@asynccontextmanager
async def serving():
    """The application with a hub for as long as the block; yields a function that opens sockets."""
    from controlplane.asgi import application

    sockets = []

    async def connect(agent=None, *, behind=None, **options):
        socket = AgentSocket(behind(application) if behind else application, **options)
        sockets.append(socket)
        is_open, _subprotocol = await socket.connect(timeout=ANSWER_WITHIN_S)
        assert is_open
        if agent is not None:
            await socket.hello(agent)
        return socket

    connect.application = application
    connect.hub = await running_hub()
    try:
        yield connect
    finally:
        try:
            for socket in sockets:
                if not socket.future.done():
                    await socket.disconnect()
        finally:
            await stop_hub()


async def stored(hub, *sockets):
    """Wait until all that these sockets sent is in the database, and every end of a session with it.

    Telemetry is not acknowledged, but frames are handled in order: when the portal answers an acknowledgement of a
    command that does not exist, it has taken what came before.
    """
    async with asyncio.timeout(ANSWER_WITHIN_S):
        for socket in sockets:
            await socket.send_frame(frames.ack(NO_COMMAND))
            while (await socket.frame())["payload"].get("code") != "unknown_command":
                pass
        while len(hub.batcher):
            await asyncio.sleep(0.005)
    await hub.end_detached()
