"""The API through the real ASGI application, with requests as an ASGI server hands them over."""

import json
from urllib.parse import quote, unquote

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.db import database_sync_to_async
from django.conf import settings
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from agents.models import Event
from controlplane.asgi import application
from tests.factories import ServiceFactory, SessionFactory, TaskControlsFactory, TaskFactory, task_control
from tests.integration.api_client import api_as

pytestmark = pytest.mark.django_db(transaction=True)
HOSTILE_NAMES = [
    "a/b",
    "/",
    "a//b",
    "a/tasks/b",
    "/leading and trailing/",
    "with space",
    " padded ",
    "账单 服务",
    "100%",
    "%2F",
    "%252F",
    "a%2Fb",
    "a+b",
    "a?b#c&d=e",
    "tasks",
    "commands",
    "\u202eevil\U0001f600",
    "'; drop table",
    "\\",
    "é",
]


async def call(method, raw_path, headers=(), chunks=(b"",), query=b"", *, server=application, peer="127.0.0.1"):
    """Status and JSON of one request with the scope that uvicorn would build."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode("ascii"),
        "root_path": "",
        "query_string": query,
        "headers": [(name.lower().encode(), value.encode()) for name, value in (("Host", "localhost"), *headers)],
        "client": (peer, 1),
        "server": ("127.0.0.1", 80),
    }
    communicator = ApplicationCommunicator(server, scope)
    for number, chunk in enumerate(chunks):
        await communicator.send_input({"type": "http.request", "body": chunk, "more_body": number < len(chunks) - 1})
    start = await communicator.receive_output(timeout=20)
    body = b""
    while True:
        part = await communicator.receive_output(timeout=20)
        body += part.get("body", b"")
        if not part.get("more_body"):
            break
    await communicator.wait(timeout=20)
    return start["status"], json.loads(body)


def bearer(role):
    return [("Authorization", api_as(role).headers["Authorization"])]


def segment(name):
    return quote(name, safe="")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_any_name_can_be_addressed(name):
    def arrange():
        session = SessionFactory(instance__service=ServiceFactory(name=name))
        TaskFactory(service=session.instance.service, name=name)
        TaskControlsFactory(instance=session.instance, controls=[task_control(name)])
        return bearer("operator")

    headers = await database_sync_to_async(arrange)()
    service = f"/api/v1/services/{segment(name)}"
    order = {"kind": "restart_task", "reason": "why", "target_mode": "all_online"}
    json_headers = [*headers, ("Content-Type", "application/json")]

    status, body = await call("GET", service, headers, query=b"environment=dev")
    assert (status, body.get("name")) == (200, name)
    status, body = await call("GET", f"{service}/tasks/{segment(name)}", headers, query=b"environment=dev")
    assert (status, body.get("task_name")) == (200, name)
    status, body = await call(
        "POST",
        f"{service}/tasks/{segment(name)}/commands",
        json_headers,
        [json.dumps(order).encode()],
        b"environment=dev",
    )
    assert (status, body["counts"]["dispatched"]) == (200, 1)


@pytest.mark.parametrize(
    "raw_path",
    [
        "/api/v1/services/a%2fb",
        "/api/v1/services/%61%2F%62",
        "/api/v1/%73ervices/a%2Fb",
        "/api/v1/services/a%2Fb",
    ],
)
async def test_every_spelling_of_a_path_is_the_same_path(raw_path):
    def arrange():
        ServiceFactory(name="a/b")
        return bearer("viewer")

    headers = await database_sync_to_async(arrange)()

    assert (await call("GET", raw_path, headers, query=b"environment=dev"))[0] == 200


@pytest.mark.parametrize("raw_path", ["/api/v1/services/a/b", "/api/v1/services/a%252Fb", "/api/v1/services/a%2Fb/"])
async def test_another_name_is_another_path(raw_path):
    def arrange():
        ServiceFactory(name="a/b")
        return bearer("viewer")

    headers = await database_sync_to_async(arrange)()

    assert (await call("GET", raw_path, headers, query=b"environment=dev"))[0] == 404


@pytest.mark.parametrize("raw_path", ["/api/v1/services/%00", "/api/v1/services/a%00b/tasks"])
async def test_nul_in_a_path_is_refused(raw_path):
    headers = await database_sync_to_async(bearer)("viewer")

    status, body = await call("GET", raw_path, headers, query=b"environment=dev")

    assert (status, body["detail"][0]["loc"]) == (422, ["path", "service_name"])


@pytest.mark.parametrize("raw_path", ["/api/v1/services/%ff%fe", "/api/v1/services/%ed%a0%80", "/api/v1/services/%"])
async def test_path_that_is_not_unicode_names_nothing(raw_path):
    headers = await database_sync_to_async(bearer)("viewer")

    assert (await call("GET", raw_path, headers, query=b"environment=dev"))[0] == 404


@pytest.mark.parametrize("query", [b"environment=dev&task_name=%ff", b"environment=dev&task_name=%ed%a0%80"])
async def test_query_that_is_not_unicode_matches_nothing(query):
    def arrange():
        return ServiceFactory().name, bearer("viewer")

    name, headers = await database_sync_to_async(arrange)()

    status, body = await call("GET", f"/api/v1/services/{name}/events", headers, query=query)

    assert (status, body["total"]) == (200, 0)


async def test_body_in_chunks_without_a_length_is_read():
    def arrange():
        return SessionFactory().instance_id, bearer("operator")

    instance_id, headers = await database_sync_to_async(arrange)()
    chunked = [*headers, ("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")]

    status, body = await call("POST", f"/api/v1/instances/{instance_id}/commands", chunked, [b'{"kind":', b'"ping"}'])

    assert (status, body["kind"]) == (200, "ping")


async def test_endless_body_is_refused_without_a_length():
    headers = await database_sync_to_async(bearer)("operator")
    chunked = [*headers, ("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")]
    path = "/api/v1/instances/7f0c6a52-7b1e-4a0e-9d53-0d5b5a4f1c11/commands"

    status, body = await call("POST", path, chunked, [b" " * 1024 * 1024] * 3)

    assert (status, body) == (413, {"detail": "request body is too large"})


@pytest.mark.parametrize("raw_path", ["/api/nothing", "/api/v1/services/a/nothing", "/api/v1/services//tasks"])
async def test_unknown_path_is_json(raw_path):
    assert await call("GET", raw_path) == (404, {"detail": "not found"})


@pytest.mark.parametrize(("peer", "told"), [("127.0.0.1", "203.0.113.9"), ("198.51.100.7", "198.51.100.7")])
async def test_history_tells_the_address_that_a_trusted_proxy_names_and_no_other(peer, told):
    session = await database_sync_to_async(SessionFactory)()
    headers = [*await database_sync_to_async(bearer)("operator"), ("X-Forwarded-For", "203.0.113.9")]
    # As uvicorn is started by controlplane/runtime/parts.py.
    server = ProxyHeadersMiddleware(application, trusted_hosts=settings.TRUSTED_PROXIES)
    path = f"/api/v1/instances/{session.instance_id}/commands"

    status, _body = await call("POST", path, headers, (b'{"kind": "ping"}',), server=server, peer=peer)

    event = await Event.objects.aget(kind="command.queued")
    assert (status, event.meta["address"]) == (200, told)
