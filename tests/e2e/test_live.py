"""The live stream over real sockets: from any process, beside a real agent, across a restart, with many readers."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from tests.e2e.harness.agents import Agent
from tests.e2e.harness.portal import Portal
from tests.e2e.harness.stream import StreamReader
from tests.e2e.harness.waiting import eventually

CLIENTS = 50
# What 50 clients and 2,000 events may add: a client takes some 100 KiB, and an event is held once for all.
GROWTH_MAX_KIB = 30 * 1024
MAKE_EVENTS = """
from django.db import transaction
from django.utils import timezone
from agents.services.events import portal_event, record_events
for _ in range({batches}):
    with transaction.atomic():
        record_events([portal_event("token.created", at=timezone.now(), message="x" * {size}) for _ in range(500)])
"""
MAKE_TOKENS = """
from django.contrib.auth.models import User
from controlplane.common.actors import SYSTEM
from controlplane.access.services import create_api_token
for number in range(3):
    user = User.objects.create_superuser("watcher-%d" % number)
    print(create_api_token(actor=SYSTEM, name=user.username, user=user)[1])
"""


@pytest.fixture(scope="module")
def agent(portal: Portal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """A real agent that hangs on the last web process; the first test starts it."""
    agent = Agent(
        "live",
        generation="current",
        service="live",
        url=portal.urls[-1],
        token=portal.ingest_token,
        work_dir=tmp_path_factory.mktemp("live"),
    )
    try:
        yield agent
    finally:
        agent.kill()


def test_every_process_tells_of_an_agent_what_happens_once(portal: Portal, agent: Agent) -> None:
    with ExitStack() as stack:
        streams = [
            stack.enter_context(closing(StreamReader(url, portal.api_token, service="live"))) for url in portal.urls
        ]
        agent.start()
        for stream in streams:
            stream.wait_for(lambda message: message.get("kind") == "instance.online", "the agent comes online")
            stream.wait_for(lambda message: message.get("kind") == "task.failed", "a task fails")
        command = portal.api(0).run(agent.instance_id, "ping")
        for stream in streams:
            stream.wait_for(lambda message: message.get("kind") == "command.succeeded", "the command is answered")

        told = [
            [message["kind"] for message in stream.messages if message.get("command_id") == command["command_id"]]
            for stream in streams
        ]
        opened = [
            [message for message in stream.messages if message.get("kind") == "session.opened"] for stream in streams
        ]

    assert told == [["command.queued", "command.dispatched", "command.accepted", "command.succeeded"]] * len(streams)
    assert {message["channel"] for messages in opened for message in messages} == {"sessions"}
    for stream in streams:
        assert len(set(stream.event_ids)) == len(stream.event_ids)
        assert all(message["service"] == {"name": "live", "environment": "dev"} for message in stream.messages[1:])


def test_client_goes_on_in_another_process_when_its_own_stops(portal: Portal, agent: Agent) -> None:
    with ExitStack() as stack:

        def reader(index: int, place: str = "") -> StreamReader:
            stream = StreamReader(portal.urls[index], portal.api_token, last_event_id=place)
            return stack.enter_context(closing(stream))

        place = reader(0).last_id
        first = reader(0, place)
        first.wait_for(lambda message: message.get("kind") == "task.failed", "a task fails")

        began = time.monotonic()
        portal.web(0).terminate()
        stopped_within_s = time.monotonic() - began
        first.wait_for_end()
        if len(portal.urls) == 1:
            portal.start()
        second = reader(-1, first.last_id)
        eventually(lambda: second.messages[-1].get("kind", "").startswith("task."), "the agent goes on")
        portal.start()
        witness = reader(-1, place)
        seen, told = first.event_ids + second.event_ids, witness.event_ids

    assert (first.messages[-1]["channel"], first.messages[-1]["reason"]) == ("closed", "shutdown")
    assert stopped_within_s < 5
    assert "timeout graceful shutdown exceeded" not in portal.web(0).log()
    assert seen[: len(told)] == told[: len(seen)]


def test_many_clients_cost_a_process_little_and_each_gets_all(portal: Portal) -> None:
    tokens = portal.run_python(MAKE_TOKENS).split()[-3:]
    with ExitStack() as stack:
        one = stack.enter_context(closing(StreamReader(portal.urls[0], tokens[0], kind="token.created")))
        before = _memory_kib(portal)
        streams = [
            stack.enter_context(closing(StreamReader(portal.urls[0], tokens[n % 3], kind="token.created")))
            for n in range(CLIENTS - 1)
        ]

        portal.run_python(MAKE_EVENTS.format(batches=4, size=100))
        for stream in (one, *streams):
            eventually(lambda stream=stream: len(stream.event_ids) == 2000, "all events came")  # type: ignore[misc]
        grown_kib = _memory_kib(portal) - before
        print(f"{CLIENTS} clients: {grown_kib} KiB more")

        assert {tuple(stream.event_ids) for stream in streams} == {tuple(one.event_ids)}
    assert grown_kib < GROWTH_MAX_KIB


def test_reader_that_never_reads_is_hung_up_on(portal: Portal) -> None:
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", portal.ports[0]))
        headers = f"Host: localhost\r\nAuthorization: Bearer {portal.api_token}"
        stuck.sendall(f"GET /api/v1/ui/stream HTTP/1.1\r\n{headers}\r\n\r\n".encode())
        assert stuck.recv(12) == b"HTTP/1.1 200"

        portal.run_python(MAKE_EVENTS.format(batches=40, size=490))
        eventually(lambda: "stream.hung_up reason=slow_reader" in portal.web(0).log(), "the portal hangs up")

        assert not _rest_of(stuck).endswith(b"0\r\n\r\n")


def _rest_of(connection: socket.socket) -> bytes:
    """What was on its way when the connection ended."""
    connection.settimeout(30)
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def _memory_kib(portal: Portal) -> int:
    """The resident memory of the first web process."""
    process = portal.web(0).process
    assert process is not None
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])
