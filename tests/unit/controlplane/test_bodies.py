import pytest
from asgiref.testing import ApplicationCommunicator

from controlplane.common.bodies import limit_bodies

LIMIT = 10


async def echo_length(scope, receive, send):
    """Reads the whole body and answers with its length, as Django does; stays silent when the client is gone."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


async def answer(*chunks, headers=()):
    """Status and body of the answer to a request with these chunks."""
    scope = {"type": "http", "headers": list(headers)}
    communicator = ApplicationCommunicator(limit_bodies(echo_length, max_bytes=LIMIT), scope)
    for number, chunk in enumerate(chunks, 1):
        await communicator.send_input({"type": "http.request", "body": chunk, "more_body": number < len(chunks)})
    start = await communicator.receive_output()
    body = await communicator.receive_output()
    await communicator.wait()
    return start["status"], body["body"]


@pytest.mark.parametrize("chunks", [(b"",), (b"x" * LIMIT,), (b"x" * 5, b"x" * 5)])
async def test_a_body_up_to_the_limit_passes(chunks):
    assert await answer(*chunks) == (200, str(sum(map(len, chunks))).encode())


@pytest.mark.parametrize("chunks", [(b"x" * (LIMIT + 1),), (b"x" * 9, b"xx"), (b"x" * 9, b"xx", b"x" * 99)])
async def test_a_body_over_the_limit_is_413_whatever_its_header_says(chunks):
    for headers in ((), [(b"content-length", b"1")], [(b"content-length", b"many")]):
        status, body = await answer(*chunks, headers=headers)
        assert (status, b"10 bytes at most" in body) == (413, True)


async def test_a_declared_length_over_the_limit_is_refused_unread():
    assert (await answer(b"", headers=[(b"content-length", b"11")]))[0] == 413
