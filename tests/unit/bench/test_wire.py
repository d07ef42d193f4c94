"""The client's side of the WebSocket protocol, against the server's side of another implementation."""

import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from bench import wire


def serving():
    """A server's protocol after the upgrade, and what it answered to it."""
    server = ServerProtocol(subprotocols=["onestep-agent.v1"])
    server.receive_data(wire.upgrade_request("127.0.0.1", 80, "/agents", "secret", "onestep-agent.v1"))
    [request] = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    return server, request, b"".join(server.data_to_send())


def test_upgrade_is_accepted_and_carries_the_token():
    _server, request, response = serving()

    assert request.path == "/agents"
    assert request.headers["Authorization"] == "Bearer secret"
    assert wire.upgrade_answer(response + b"rest") == (wire.Answer(101, None), b"rest")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_000])
def test_server_reads_a_frame_of_any_size(size):
    server, _request, _response = serving()
    payload = b"x" * size

    server.receive_data(wire.encode(payload))

    [frame] = server.events_received()
    assert (frame.opcode, bytes(frame.data)) == (Opcode.TEXT, payload)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1 << 20])
def test_reader_cuts_frames_however_they_arrive(piece):
    payloads = [b"", b"a", b"b" * 125, b"c" * 126, b"d" * 65_535, b"e" * 65_536] if piece > 3 else [b"", b"a" * 130]
    stream = b"".join(Frame(Opcode.TEXT, payload).serialize(mask=False) for payload in payloads)
    stream += Frame(Opcode.PING, b"now").serialize(mask=False) + Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=False)
    reader = wire.FrameReader()

    found = [frame for at in range(0, len(stream), piece) for frame in reader.feed(stream[at : at + piece])]

    assert found == [
        *((wire.TEXT, payload) for payload in payloads),
        (wire.PING, b"now"),
        (wire.CLOSE, b"\x03\xe8"),
    ]


def test_reader_refuses_fragments():
    with pytest.raises(wire.WireError):
        wire.FrameReader().feed(Frame(Opcode.TEXT, b"part", fin=False).serialize(mask=False))


def test_answer_is_awaited_until_its_head_is_whole():
    assert wire.upgrade_answer(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\n") is None


@pytest.mark.parametrize(("header", "hint"), [("Retry-After: 2\r\n", 2.0), ("retry-after:3\r\n", 3.0), ("", None)])
def test_refusal_tells_when_to_come_again(header, hint):
    answer = wire.upgrade_answer(f"HTTP/1.1 503 Service Unavailable\r\n{header}\r\nbody".encode())

    assert answer == (wire.Answer(503, hint), b"body")


def test_no_http_is_an_error():
    with pytest.raises(wire.WireError):
        wire.upgrade_answer(b"SSH-2.0\r\n\r\n")
