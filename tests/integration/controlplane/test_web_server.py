"""The WebSocket protocol of the web part, below the application: what came before a broken frame is kept."""

import asyncio

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from controlplane.runtime.parts import AgentProtocol

MAX_BYTES = 1000


class Wire(asyncio.Transport):
    """A transport that remembers what was written to it."""

    def __init__(self):
        super().__init__({"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)})
        self.written = b""
        self.closing = False

    def write(self, data):
        self.written += data

    def close(self):
        self.closing = True

    def is_closing(self):
        return self.closing

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


@pytest.mark.parametrize("whole_before", [0, 1, 3])
async def test_frames_before_a_too_large_one_in_one_read_reach_the_application(whole_before):
    taken = []

    async def application(_scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            taken.append(message["text"])
        taken.append(message["code"])

    config = Config(application, ws_max_size=MAX_BYTES, ws_per_message_deflate=False, log_config=None)
    config.load()
    state = ServerState()
    protocol, wire = AgentProtocol(config, state, {}), Wire()
    client = ClientProtocol(parse_uri("ws://portal.example/"))
    protocol.connection_made(wire)
    client.send_request(client.connect())
    protocol.data_received(b"".join(client.data_to_send()))
    while not wire.written:
        await asyncio.sleep(0)
    client.receive_data(wire.written)

    for number in range(whole_before):
        client.send_text(str(number).encode())
    client.send_text(b"x" * (MAX_BYTES + 1))
    protocol.data_received(b"".join(client.data_to_send()))
    await asyncio.gather(*state.tasks)

    assert taken == [*map(str, range(whole_before)), 1009]
    assert wire.closing
    protocol.connection_lost(None)
