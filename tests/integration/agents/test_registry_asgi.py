"""The node registry behind the ASGI application: bodies in chunks, probes beside pages that hang, TLS."""

import json
import threading

import pytest
from asgiref.testing import ApplicationCommunicator
from django.db import OperationalError
from django.utils import timezone

from agents.gateways.argus import views
from agents.models import Instance, Node, Service
from controlplane import asgi, health
from tests.integration.agents.registry import BASE, registration
from tests.sockets import ANSWER_WITHIN_S

MEBIBYTE = 1024 * 1024


async def ask(method, path, *chunks, headers=()):
    """Status and body of the answer to a request whose body comes in these chunks."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }
    communicator = ApplicationCommunicator(asgi.application, scope)
    for number, chunk in enumerate(chunks or (b"",), 1):
        await communicator.send_input({"type": "http.request", "body": chunk, "more_body": number < len(chunks)})
    start = await communicator.receive_output(ANSWER_WITHIN_S)
    body = b""
    while True:
        message = await communicator.receive_output(ANSWER_WITHIN_S)
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    # It closes the body after the answer.
    await communicator.wait(ANSWER_WITHIN_S)
    return start["status"], json.loads(body)


@pytest.mark.django_db(transaction=True)
async def test_body_in_chunks_is_read_up_to_one_mebibyte_and_no_further():
    body = json.dumps(registration()).encode().ljust(MEBIBYTE)
    halves = (body[: MEBIBYTE // 2], body[MEBIBYTE // 2 :])

    status, node = await ask("POST", f"{BASE}/nodes", *halves)
    assert (status, node["id"]) == (201, "A1")

    for method, path in (("POST", "/nodes"), ("PUT", "/nodes/A1/status"), ("PUT", "/nodes/A1/config")):
        for chunks, headers in (((*halves, b"x"), ()), ((b"",), [(b"content-length", b"1048577")])):
            answer = await ask(method, BASE + path, *chunks, headers=headers)
            assert answer == (413, {"error": "The body may have 1048576 bytes at most."})


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", [f"{BASE}/healthz", f"{BASE}/readyz"])
async def test_probes_answer_while_every_page_waits(path):
    release = threading.Event()
    for _ in range(asgi.HTTP_THREADS):
        asgi.pages.threads.submit(release.wait)
    try:
        assert (await ask("GET", path))[0] == 200
    finally:
        release.set()


@pytest.mark.django_db
def test_readiness_is_503_with_the_reason_while_the_database_is_away(client, monkeypatch):
    monkeypatch.setattr(health, "_answering_probe", health._Probe(lambda: "The database does not answer: Gone."))

    response = client.get(f"{BASE}/readyz")

    assert (response.status_code, response.json()) == (503, {"error": "The database does not answer: Gone."})


@pytest.mark.django_db(transaction=True)
def test_readiness_is_200_while_the_database_answers(client):
    response = client.get(f"{BASE}/readyz")

    assert response.status_code == 200
    assert response.json()["status"] == "ready"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/healthz", "/readyz", f"{BASE}/healthz", f"{BASE}/readyz"])
def test_probes_are_answered_in_plain_http(client, settings, path):
    settings.SECURE_SSL_REDIRECT = True

    assert client.get(path).status_code != 301
    assert client.get(f"{BASE}/nodes").status_code == 301


@pytest.mark.django_db
def test_database_that_is_away_is_503_with_retry_after(client, monkeypatch):
    def away(*_args, **_options):
        raise OperationalError("gone")

    monkeypatch.setattr(views, "nodes_listed", away)

    response = client.get(f"{BASE}/nodes")

    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert response.json() == {"error": "The database is unavailable; try again later."}


@pytest.mark.django_db
def test_list_of_ten_thousand_nodes_is_one_query_and_one_array(client, django_assert_num_queries):
    now, service = timezone.now(), Service.objects.create(name="agent", environment="prod")
    instances = Instance.objects.bulk_create(
        Instance(dialect="argus", external_id=f"A{number}", service=service) for number in range(1, 10_001)
    )
    Node.objects.bulk_create(
        Node(
            instance=row, number=number, name=f"n{number}", type="agent", version="1", registered_at=now, updated_at=now
        )
        for number, row in enumerate(instances, 1)
    )

    with django_assert_num_queries(1):
        listed = client.get(f"{BASE}/nodes").json()

    assert [len(listed), listed[0]["id"], listed[-1]["id"]] == [10_000, "A1", "A10000"]
