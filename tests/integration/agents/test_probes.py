"""The probes as a server asks them: beside a hub, and beside pages that hang."""

import json
import threading

import pytest
from channels.testing import HttpCommunicator

from controlplane import asgi
from tests.sockets import ANSWER_WITHIN_S

pytestmark = pytest.mark.django_db(transaction=True)


async def ask(application, path):
    client = HttpCommunicator(application, "GET", path, headers=[(b"host", b"localhost")])
    answer = await client.get_response(timeout=ANSWER_WITHIN_S)
    # It closes the body after the answer.
    await client.wait(timeout=ANSWER_WITHIN_S)
    return answer["status"], json.loads(answer["body"])


async def test_readyz_tells_how_this_process_stores_what_agents_report(connect):
    _status, body = await ask(connect.application, "/readyz")

    assert {name: check["ready"] for name, check in body["checks"]["ingest"].items()} == {
        "ingest": True,
        "answers": True,
    }


async def test_healthz_answers_while_every_page_waits(connect):
    release = threading.Event()
    for _ in range(asgi.HTTP_THREADS):
        asgi.pages.threads.submit(release.wait)
    try:
        assert (await ask(connect.application, "/healthz"))[0] == 200
    finally:
        release.set()
