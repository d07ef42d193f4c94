"""The handler of HTTP requests, spoken to as a server does."""

import asyncio
import json
import threading

import pytest
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path

from controlplane.common.serving import ThreadedHandler

DEADLINE_S = 30
seen: dict[str, object] = {}


def echo(request):
    seen["threads"] = {threading.current_thread().name}
    return HttpResponse(request.body, headers={"X-Method": request.method}, status=201)


def fails(request):
    raise RuntimeError("It broke.")


def file(request):
    return FileResponse(iter([b"one", b"two"]))


def endless(request):
    async def parts():
        try:
            while True:
                yield b"part"
                await asyncio.sleep(0)
        finally:
            seen["closed"].set()

    return StreamingHttpResponse(parts())


async def asynchronous(request):
    return HttpResponse(b"from a coroutine")


def held(request):
    seen["gate"].wait(DEADLINE_S)
    return HttpResponse(b"at last")


urlpatterns = [path(view.__name__, view) for view in (echo, held, fails, file, endless, asynchronous)]


@pytest.fixture
def handler(settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
    return ThreadedHandler(threads=2)


class Client:
    """One request: what it sends, and the messages that it gets."""

    def __init__(self, address, *, method="GET", body=b"", headers=()):
        self.scope = {
            "type": "http",
            "method": method,
            "path": address,
            "query_string": b"",
            "headers": [(b"host", b"testserver"), *headers],
        }
        self.received = [{"type": "http.request", "body": body[:3], "more_body": True}]
        self.received += [{"type": "http.request", "body": body[3:]}]
        self.sent = []
        self.left = asyncio.Event()
        self.leaves_after = None

    async def receive(self):
        if self.received:
            return self.received.pop(0)
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)
        if len(self.sent) == self.leaves_after:
            self.left.set()

    async def run(self, handler):
        async with asyncio.timeout(DEADLINE_S):
            await handler(self.scope, self.receive, self.send)
        return self

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def body(self):
        return b"".join(message["body"] for message in self.sent[1:] if "body" in message)


@pytest.mark.django_db(transaction=True)
async def test_a_request_is_answered_in_a_thread_of_the_pool(handler):
    client = await Client("/echo", method="POST", body=b"hello").run(handler)

    assert (client.status, client.body) == (201, b"hello")
    assert (b"X-Method", b"POST") in client.sent[0]["headers"]
    assert all(name.startswith("http_") for name in seen["threads"])


# Those who serve files ignore it too, in controlplane.asgi: files are small, and read whole.
@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
async def test_a_file_is_sent_in_parts(handler):
    client = await Client("/file").run(handler)

    assert (client.status, client.body) == (200, b"onetwo")


@pytest.mark.django_db(transaction=True)
async def test_a_stream_ends_when_the_client_leaves(handler):
    seen["closed"] = asyncio.Event()
    client = Client("/endless")
    client.leaves_after = 5

    await client.run(handler)

    assert client.status == 200
    assert seen["closed"].is_set()


@pytest.mark.django_db(transaction=True)
async def test_an_asynchronous_view_answers(handler):
    assert (await Client("/asynchronous").run(handler)).body == b"from a coroutine"


@pytest.mark.django_db(transaction=True)
async def test_a_broken_view_is_a_500(handler, settings):
    settings.DEBUG_PROPAGATE_EXCEPTIONS = False

    assert (await Client("/fails").run(handler)).status == 500


async def test_a_client_that_leaves_before_its_body_is_whole_is_not_answered(handler):
    client = Client("/echo", method="POST", body=b"hello")
    client.received.pop()
    client.left.set()

    assert (await client.run(handler)).sent == []


@pytest.mark.django_db(transaction=True)
async def test_more_requests_than_threads_are_all_answered(handler):
    clients = await asyncio.gather(*(Client("/echo", method="POST", body=b"%d" % n).run(handler) for n in range(9)))

    assert [client.body for client in clients] == [b"%d" % n for n in range(9)]


@pytest.mark.django_db(transaction=True)
async def test_beyond_so_many_that_wait_the_next_is_told_to_come_again(settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = []
    handler = ThreadedHandler(threads=1, waiting_per_thread=2)
    seen["gate"] = threading.Event()
    waiting = [asyncio.ensure_future(Client("/held").run(handler)) for _ in range(3)]
    try:
        async with asyncio.timeout(DEADLINE_S):
            while handler.taken < 3:
                await asyncio.sleep(0.01)

        refused = await Client("/held").run(handler)

        assert refused.status == 503
        assert (b"Retry-After", b"5") in refused.sent[0]["headers"]
        assert list(json.loads(refused.body)) == ["detail"]
    finally:
        seen["gate"].set()
    assert [client.status for client in await asyncio.gather(*waiting)] == [200, 200, 200]
    assert (await Client("/held").run(handler)).status == 200
