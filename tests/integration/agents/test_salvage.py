"""Telemetry that was read is stored, whatever ends its session or its server, and a silent database is seen."""

import asyncio
import sys
import threading

import msgspec
import pytest

from agents.gateways import hub
from agents.gateways.onestep import consumer as consumers
from agents.gateways.onestep import salvaging
from agents.gateways.onestep.consumer import CLOSE_INTERNAL_ERROR
from agents.gateways.onestep.reading import LARGE_FRAME_CHARS
from agents.gateways.share import weigh
from agents.models import Event, Session
from tests import frames
from tests.frames import Agent
from tests.integration.agents.test_crowd import Turnstile, held, until
from tests.sockets import stored

started = Event.objects.filter(kind="task.started")


@pytest.fixture
def turnstile(monkeypatch):
    """Puts one in front of a service of the hub."""

    def put(name):
        made = Turnstile(getattr(hub, name))
        monkeypatch.setattr(hub, name, made)
        return made

    return put


@pytest.fixture
async def full_buffer(settings, turnstile):
    """A process whose buffer takes little and whose writer can be held; must come before `connect`."""
    settings.INGEST_QUEUE_SIZE = 10
    return turnstile("store_reports")


async def read_ahead(connect, agent, count):
    """A socket of this agent that sent `count` events, read ahead while the writer is held; with its consumer."""
    socket = await connect(agent)
    for number in range(count):
        await socket.send_frame(agent.events(frames.event(event_id=f"e{number:02}")))
    [consumer] = connect.hub._sockets.values()
    await until(lambda: len(consumer._inbox) and socket.input_queue.empty())
    return socket, consumer


async def cancelled(socket):
    """What the server does with those who do not come to an end by themselves."""
    socket.future.cancel()
    await asyncio.wait({socket.future})


# --- the session ends


async def test_what_was_read_ahead_of_a_superseded_socket_is_stored(full_buffer, connect):
    agent = Agent()
    with held(full_buffer):
        old, _consumer = await read_ahead(connect, agent, 30)
        new = await connect(agent)
        assert (await old.closed())[0] == 4001

    await until(lambda: len(connect.hub.batcher) == 0 and connect.hub.read_ahead.size == 0)
    await stored(connect.hub, new)
    assert await started.acount() == 30


@pytest.mark.parametrize(("reason", "takes_all"), [("lost", True), ("token_revoked", False)])
async def test_only_a_token_that_was_revoked_costs_what_was_read_ahead(full_buffer, connect, reason, takes_all):
    with held(full_buffer):
        _socket, consumer = await read_ahead(connect, Agent(), 30)
        consumer.cut(reason)

    await until(lambda: connect.hub.read_ahead.size == 0)
    await stored(connect.hub, await connect(Agent()))
    assert (await started.acount() == 30) is takes_all


async def test_a_server_that_ends_stores_what_a_superseded_socket_still_owed(full_buffer, connect):
    agent = Agent()
    with held(full_buffer):
        old, _consumer = await read_ahead(connect, agent, 30)
        await connect(agent)
        await cancelled(old)

    await until(lambda: len(connect.hub.batcher) == 0)
    assert await started.acount() == 30


# --- the server ends


async def test_the_frame_that_is_held_back_for_its_pace_is_stored(connect, settings):
    settings.AGENT_FRAME_BURST, settings.AGENT_FRAMES_PER_S = 3, 0.001
    agent = Agent()
    socket = await connect(agent)
    for number in range(6):
        await socket.send_frame(agent.events(frames.event(event_id=f"e{number}")))
    assert (await socket.frame())["payload"]["code"] == "rate_limited"
    taken = 6 - socket.input_queue.qsize()

    await cancelled(socket)

    await stored(connect.hub)
    assert await started.acount() == taken


async def test_a_large_frame_that_is_being_read_in_a_thread_is_stored(connect, monkeypatch):
    entered, gate = threading.Event(), threading.Event()
    parse = consumers.parse_envelope

    def parse_later(text):
        if len(text) >= LARGE_FRAME_CHARS:
            entered.set()
            gate.wait(30)
        return parse(text)

    monkeypatch.setattr(consumers, "parse_envelope", parse_later)
    agent = Agent()
    socket = await connect(agent)
    try:
        await socket.send_frame(agent.events(frames.event(meta={"pad": "x" * LARGE_FRAME_CHARS})))
        await until(entered.is_set)
        await cancelled(socket)
    finally:
        gate.set()

    await stored(connect.hub)
    assert await started.acount() == 1


def test_a_frame_that_cannot_be_salvaged_costs_none_of_the_others(monkeypatch, caplog):
    put = []

    class Batcher:
        def put_late(self, reports, *, size_bytes):
            put.extend(reports)

    class Context:
        instance_id = "i"

    def read(text, context):
        if text == "bad":
            raise KeyError(text)
        return [text]

    monkeypatch.setattr(salvaging, "read_telemetry", read)

    salvaging.salvage(["first", "bad", "last"], Context(), Batcher())

    assert put == ["first", "last"]
    assert "onestep.unsalvaged instance=i" in caplog.messages


# --- hellos that fail or wait


async def test_a_hello_that_fails_for_an_unforeseen_reason_ends_its_socket(connect, monkeypatch):
    def fail(openings, *, replica_id):
        raise KeyError("unforeseen")

    monkeypatch.setattr(hub, "open_sessions", fail)
    socket = await connect()

    await socket.send_frame(Agent().hello())

    assert await socket.closed_after_error() == ("internal_error", CLOSE_INTERNAL_ERROR)


async def test_an_agent_that_hangs_up_while_its_hello_waits_leaves_its_place_and_no_session(connect, turnstile):
    opening = turnstile("open_sessions")
    first, second = await connect(), await connect()
    with held(opening):
        await first.send_frame(Agent().hello())
        await until(lambda: opening.sizes)
        await second.send_frame(Agent().hello())
        await until(lambda: connect.hub._hellos._waiting)
        for socket in (first, second):
            await socket.send_input({"type": "websocket.disconnect", "code": 1006})
        await until(lambda: connect.hub.admission.connections == 0)

    await until(connect.hub._hellos._running.done)
    await connect.hub.end_detached()
    assert opening.sizes == [1]
    assert not await Session.objects.filter(status="active").aexists()


# --- a database that says nothing


async def test_a_hello_that_gets_no_answer_tells_that_the_database_is_away(connect, turnstile, monkeypatch):
    monkeypatch.setattr(hub, "SILENT_AFTER_S", 0.05)
    opening = turnstile("open_sessions")
    socket = await connect()
    with held(opening):
        await socket.send_frame(Agent().hello())
        await until(lambda: connect.hub.is_database_away)

    assert (await socket.frame())["type"] == "hello_ack"
    await until(lambda: not connect.hub.is_database_away)


async def test_a_pulse_that_gets_no_answer_tells_that_the_database_is_away(connect, monkeypatch):
    monkeypatch.setattr(hub, "SILENT_AFTER_S", 0.05)
    gate, beat = threading.Event(), hub.pulse

    def beat_later(*args, **options):
        gate.wait(30)
        return beat(*args, **options)

    monkeypatch.setattr(hub, "pulse", beat_later)
    pulsing = asyncio.create_task(connect.hub._pulse())
    try:
        await until(lambda: connect.hub.is_database_away)
    finally:
        gate.set()

    await pulsing
    await until(lambda: not connect.hub.is_database_away)


async def test_a_flush_that_gets_no_answer_tells_that_the_database_is_away(full_buffer, connect, monkeypatch):
    monkeypatch.setattr(hub, "SILENT_AFTER_S", 0.05)
    agent = Agent()
    socket = await connect(agent)
    with held(full_buffer):
        await socket.send_frame(agent.heartbeat())
        await until(lambda: connect.hub.is_database_away)

    await until(lambda: not connect.hub.is_database_away)


# --- what a frame weighs


def memory(value):
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sys.getsizeof(value) + sum(memory(item) for item in below)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100 + "]" * 100,
        '{"a":' * 100 + "1" + "}" * 100,
        "[" + ",".join(["{}"] * 500) + "]",
        "[" + ",".join(['{"a":1}'] * 500) + "]",
        "[" + ",".join(["[]"] * 500) + "]",
        "[" + ",".join(["1.5"] * 500) + "]",
        "{" + ",".join(f'"{number}":"{number}"' for number in range(500)) + "}",
    ],
    ids=["lists", "objects", "empty-objects", "small-objects", "empty-lists", "numbers", "one-object"],
)
def test_a_frame_weighs_about_what_it_takes_in_memory(text):
    assert memory(msgspec.json.decode(text)) < 2 * weigh(text)


async def test_one_agents_share_of_the_buffer_is_bounded_in_bytes_too(connect, turnstile, settings):
    settings.INGEST_QUEUE_BYTES = 100_000  # A tenth of it is one agent's, whatever the batcher was made with.
    storing = turnstile("store_reports")
    connect.hub.batcher._write = storing
    agent = Agent()
    socket = await connect(agent)
    with held(storing):
        for number in range(20):
            await socket.send_frame(agent.events(frames.event(event_id=f"e{number}", meta={"deep": [{}] * 10})))
        await until(socket.input_queue.empty)
        assert 0 < connect.hub.batcher.waiting_bytes <= 10_000

    await stored(connect.hub, socket)
    assert await started.acount() == 20
