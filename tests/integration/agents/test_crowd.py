"""Many sockets of one process: what they ask meets, what they send too fast waits, and a database that is away ends
nothing."""

import asyncio
import gc
import json
import threading
import time
from contextlib import contextmanager
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError
from django.db.models import F
from django.test import AsyncClient

from agents.gateways import answers, dispatch, hub
from agents.gateways.hub import stop_hub
from agents.gateways.inbox import READ_AHEAD_MAX
from agents.gateways.onestep.consumer import OneStepConsumer, _heartbeat_interval_s
from agents.models import Command, Event, Replica, Session
from agents.selectors.replicas import queue_figures
from agents.services.orders import Order
from agents.services.tokens import create_agent_token
from controlplane.common.actors import Actor
from tasks_app.services.commands import order_command
from tests import frames
from tests.frames import Agent
from tests.integration.agents.test_hub import Peer
from tests.sockets import AgentSocket, stored

ACTOR = Actor("tester")


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def order(agent, **changes):
    return await sync_to_async(order_command)(UUID(agent.instance_id), Order(kind="ping", **changes), actor=ACTOR)


async def refusal(connect, **options):
    """Status, headers and detail of a refused upgrade."""
    socket = AgentSocket(connect.application, **options)
    await socket.send_input({"type": "websocket.connect"})
    start, body = await socket.receive_output(timeout=10), await socket.receive_output(timeout=10)
    return start["status"], dict(start["headers"]), json.loads(body["body"])["detail"]


class Turnstile:
    """A service that can be held or made to fail; remembers how much it was asked at a time."""

    def __init__(self, service):
        self.service = service
        self.sizes = []
        self.gate = threading.Event()
        self.gate.set()
        self.is_away = False
        self.error = OperationalError

    def __call__(self, items, **options):
        self.sizes.append(len(items))
        self.gate.wait(30)
        if self.is_away:
            raise self.error("the database is away")
        return self.service(items, **options)


@pytest.fixture
def turnstile(monkeypatch):
    """Puts one in front of a service that `module` calls by `name`."""

    def put(module, name):
        made = Turnstile(getattr(module, name))
        monkeypatch.setattr(module, name, made)
        return made

    return put


@contextmanager
def held(turnstile):
    turnstile.gate.clear()
    try:
        yield
    finally:
        turnstile.gate.set()


# --- together


async def test_hellos_that_come_while_one_is_opened_share_a_transaction(connect, turnstile):
    opening = turnstile(hub, "open_sessions")
    agents = [Agent() for _ in range(20)]
    sockets = [await connect() for _ in agents]

    with held(opening):
        await sockets[0].send_frame(agents[0].hello())
        await until(lambda: opening.sizes)
        for agent, socket in zip(agents[1:], sockets[1:], strict=True):
            await socket.send_frame(agent.hello())
        await until(lambda: len(connect.hub._hellos._waiting) == 19)

    assert {(await socket.frame())["type"] for socket in sockets} == {"hello_ack"}
    assert opening.sizes == [1, 19]


async def test_tokens_that_come_while_one_is_checked_are_checked_together(connect, turnstile):
    checking = turnstile(hub, "check_stored_tokens")
    shown = [
        (
            await sync_to_async(create_agent_token)(
                name=name, dialects=[], environments=[], expires_at=None, actor=ACTOR
            )
        )[1]
        for name in "abc"
    ]

    with held(checking):
        first = asyncio.create_task(connect(token=shown[0]))
        await until(lambda: checking.sizes)
        others = [asyncio.create_task(connect(token=secret)) for secret in shown[1:]]
        bad = asyncio.create_task(refusal(connect, token="unknown"))
        await until(lambda: len(connect.hub._tokens._waiting) == 3)

    await asyncio.gather(first, *others)
    assert (await bad)[0] == 401
    assert checking.sizes == [1, 3]


async def test_topologies_that_miss_while_one_is_asked_for_are_asked_for_together(connect, turnstile):
    agents = [Agent() for _ in range(10)]
    sockets = [await connect(agent) for agent in agents]
    asking = turnstile(hub, "push_sync")

    with held(asking):
        await sockets[0].send_frame(agents[0].heartbeat())
        await until(lambda: asking.sizes)
        for agent, socket in zip(agents[1:], sockets[1:], strict=True):
            await socket.send_frame(agent.heartbeat())
        await until(lambda: len(connect.hub._syncs._waiting) == 9)

    assert {(await socket.frame())["payload"]["kind"] for socket in sockets} == {"sync_now"}
    assert asking.sizes == [1, 9]


async def test_sockets_woken_while_a_claim_runs_are_claimed_for_together(connect, turnstile):
    agents = [Agent() for _ in range(10)]
    sockets = [await connect(agent) for agent in agents]
    await until(connect.hub.dispatcher._running.done)
    claiming = turnstile(dispatch, "claim_waiting")

    with held(claiming):
        connect.hub.dispatcher.wake([UUID(int=0), next(iter(connect.hub._sockets))])
        await until(lambda: claiming.sizes)
        made = [await order(agent) for agent in agents]
        connect.hub._wake(UUID(agent.instance_id) for agent in agents)

    received = [(await socket.frame())["payload"]["command_id"] for socket in sockets]
    assert received == [command.public_id for command in made]
    assert claiming.sizes[:2] == [1, 10]


async def test_a_reader_that_stalls_delays_no_order_of_others(connect):
    peer = Peer()
    slow, quick = Agent(), Agent()
    await connect(slow, behind=peer)
    socket = await connect(quick)
    peer.stalling = True

    for _ in range(3):
        await order(slow)
    command = await order(quick)

    assert (await socket.frame())["payload"]["command_id"] == command.public_id


async def test_nothing_more_is_claimed_for_a_reader_that_stalls_until_it_reads(connect, monkeypatch):
    monkeypatch.setattr("agents.gateways.outbox.OUTBOX_MAX", 1)
    peer = Peer()
    agent = Agent()
    await connect(agent, behind=peer)
    peer.stalling = True
    first = await order(agent)
    [consumer] = connect.hub._sockets.values()
    await until(lambda: consumer._outbox._sending is not None)
    second = await order(agent)
    await until(lambda: consumer.is_congested)

    third = await order(agent)
    connect.hub._wake([UUID(agent.instance_id)])
    await until(connect.hub.dispatcher._running.done)

    for command in (first, second, third):
        await command.arefresh_from_db()
    assert [command.status for command in (first, second, third)] == ["dispatched", "dispatched", "pending"]


# --- admission and pace


async def test_one_connection_too_many_is_told_to_come_again(connect, settings):
    settings.AGENT_CONNECTIONS_MAX = 1
    first = await connect(Agent())

    status, headers, detail = await refusal(connect)
    assert (status, detail) == (503, "This process holds as many connections as it may.")
    assert int(headers[b"retry-after"]) > 0

    await first.disconnect()
    await until(lambda: connect.hub.admission.connections == 0)
    assert await connect(Agent())


async def test_a_refused_token_leaves_its_place(connect):
    await refusal(connect, token="wrong")

    await until(lambda: connect.hub.admission.connections == 0)


async def test_too_many_frames_are_read_more_slowly_and_none_is_dropped(connect, settings):
    settings.AGENT_FRAME_BURST, settings.AGENT_FRAMES_PER_S = 3, 50
    agent = Agent()
    socket = await connect(agent)

    for number in range(20):
        await socket.send_frame(agent.events(frames.event(event_id=f"e{number}")))
    error = (await socket.frame())["payload"]

    assert (error["code"], error["close_connection"]) == ("rate_limited", False)
    assert "50 frames a second" in error["message"]
    await stored(connect.hub, socket)
    assert await Event.objects.filter(kind="task.started").acount() == 20
    assert await socket.receive_nothing()


async def test_the_records_of_a_frame_count_too(connect, settings):
    settings.AGENT_FRAME_BURST, settings.AGENT_FRAMES_PER_S = 5, 2
    agent = Agent()
    socket = await connect(agent)

    await socket.send_frame(agent.events(*[frames.event(event_id=f"e{number}") for number in range(100)]))
    assert await socket.receive_nothing()
    await socket.send_frame(agent.events(frames.event(event_id="next")))

    assert (await socket.frame())["payload"]["code"] == "rate_limited"
    await stored(connect.hub, socket)
    assert await Event.objects.filter(kind="task.started").acount() == 101


async def test_answers_that_were_asked_for_are_never_held_back(connect, settings):
    settings.AGENT_FRAME_BURST, settings.AGENT_FRAMES_PER_S = 2, 0.001
    agent = Agent()
    socket = await connect(agent)
    command = await order(agent)
    assert (await socket.frame())["type"] == "command"

    await socket.send_frame(frames.ack(command.public_id))
    await socket.send_frame(frames.result(command.public_id))

    async with asyncio.timeout(30):
        while (await Command.objects.aget(pk=command.pk)).status != "succeeded":
            await asyncio.sleep(0.01)


def test_a_fleet_is_told_different_intervals_within_a_tenth():
    told = {_heartbeat_interval_s() for _ in range(500)}

    assert len(told) > 1
    assert min(told) >= 27
    assert max(told) <= 33


# --- the database away


async def test_a_hello_waits_for_the_database_and_newcomers_are_turned_away(connect, turnstile):
    opening = turnstile(hub, "open_sessions")
    opening.is_away = True
    socket = await connect()
    await socket.send_frame(Agent().hello())
    await until(lambda: connect.hub.is_database_away)

    status, headers, detail = await refusal(connect)
    assert (status, detail) == (503, "The database is away.")
    assert int(headers[b"retry-after"]) > 0

    opening.is_away = False
    assert (await socket.frame())["type"] == "hello_ack"
    assert await connect(Agent())


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
async def test_a_topology_that_could_not_be_asked_for_is_asked_for_by_the_next_heartbeat(connect, turnstile, error):
    agent = Agent()
    socket = await connect(agent)
    asking = turnstile(hub, "push_sync")
    asking.is_away, asking.error = True, error

    await socket.send_frame(agent.heartbeat())
    assert await socket.receive_nothing()
    asking.is_away = False
    for _ in range(2):
        await socket.send_frame(agent.heartbeat())

    assert (await socket.frame())["payload"]["kind"] == "sync_now"
    assert await socket.receive_nothing()
    assert asking.sizes == [1, 1]


async def test_answers_wait_for_the_database_and_the_socket_stays(connect, turnstile):
    agent = Agent()
    socket = await connect(agent)
    command = await order(agent)
    await socket.frame()
    recording = turnstile(answers, "record_answers")
    recording.is_away = True

    await socket.send_frame(frames.ack(command.public_id))
    await socket.send_frame(frames.result(command.public_id))
    await until(lambda: connect.hub.answers.stats.retries > 1)
    assert await socket.receive_nothing()
    recording.is_away = False

    async with asyncio.timeout(30):
        while (await Command.objects.aget(pk=command.pk)).status != "succeeded":
            await asyncio.sleep(0.01)


async def test_what_a_new_session_must_get_waits_for_the_database(connect, turnstile):
    """The pulse looks for what is pending; nobody else would send again what was sent on the session before."""
    agent = Agent()
    first = await connect(agent)
    command = await order(agent, timeout_s=60)
    await first.frame()
    await first.disconnect()
    await stored(connect.hub)
    claiming = turnstile(dispatch, "claim_for_new_sessions")
    claiming.is_away = True

    again = await connect(agent)
    await until(lambda: claiming.sizes)
    claiming.is_away = False

    assert (await again.frame())["payload"]["command_id"] == command.public_id


@pytest.fixture
async def full_buffer(settings, turnstile):
    """A process whose buffer takes little and whose writer is held; must come before `connect`."""
    settings.INGEST_QUEUE_SIZE = 10
    return turnstile(hub, "store_reports")


async def test_a_socket_that_waits_for_room_is_read_ahead_and_all_is_stored(full_buffer, connect):
    agent = Agent()
    socket = await connect(agent)
    with held(full_buffer):
        for number in range(30):
            await socket.send_frame(agent.events(frames.event(event_id=f"e{number:02}", occurred_at=frames.SENT_AT)))
        [consumer] = connect.hub._sockets.values()
        # Ten wait in the buffer at most, one in the socket's hands, and the rest ahead of its turn.
        await until(lambda: len(consumer._inbox) and socket.input_queue.empty())
        assert connect.hub.read_ahead.size > 0
        assert len(consumer._inbox) <= READ_AHEAD_MAX

    await stored(connect.hub, socket)
    names = [
        name
        async for name in Event.objects.filter(kind="task.started").order_by("id").values_list("event_id", flat=True)
    ]
    assert names == [f"e{number:02}" for number in range(30)]
    assert connect.hub.read_ahead.size == 0


async def test_reading_ahead_has_an_end(full_buffer, connect):
    agent = Agent()
    socket = await connect(agent)
    with held(full_buffer):
        for number in range(READ_AHEAD_MAX + 30):
            await socket.send_frame(agent.events(frames.event(event_id=f"e{number}")))
        [consumer] = connect.hub._sockets.values()
        await until(lambda: len(consumer._inbox) == READ_AHEAD_MAX)
        assert not socket.input_queue.empty()

    await stored(connect.hub, socket)
    assert await Event.objects.filter(kind="task.started").acount() == READ_AHEAD_MAX + 30


async def test_one_agent_holds_its_share_of_the_buffer_and_leaves_the_rest_to_others(connect, turnstile, settings):
    settings.INGEST_QUEUE_SIZE = 100  # A tenth of it is one agent's, whatever the batcher itself was made with.
    storing = turnstile(hub, "store_reports")
    connect.hub.batcher._write = storing
    greedy, modest = Agent(), Agent()
    flood, other = await connect(greedy), await connect(modest)
    with held(storing):
        for number in range(40):
            await flood.send_frame(greedy.events(frames.event(event_id=f"flood{number}")))
        await until(lambda: flood.input_queue.qsize() == 0)
        await other.send_frame(modest.events(frames.event(event_id="other")))
        await until(other.input_queue.empty)

        held_by_flood = [
            item for item, *_rest in connect.hub.batcher._items if getattr(item, "event_id", "").startswith("flood")
        ]
        assert 0 < len(held_by_flood) <= 10

    await stored(connect.hub, flood, other)
    assert await Event.objects.filter(kind="task.started").acount() == 41


async def test_a_process_that_ends_while_the_writer_hangs_ends_and_counts_what_it_gives_up(
    full_buffer, connect, settings, caplog
):
    settings.INGEST_DRAIN_S = 1
    agent = Agent()
    socket = await connect(agent)
    with held(full_buffer):
        for number in range(30):
            await socket.send_frame(agent.events(frames.event(event_id=f"e{number}")))
        [consumer] = connect.hub._sockets.values()
        await until(lambda: len(consumer._inbox) and socket.input_queue.empty())

        # What the server does with those who do not come to an end by themselves.
        socket.future.cancel()
        await asyncio.wait({socket.future})
        async with asyncio.timeout(30):
            await stop_hub()

    # The connection that was left behind with the writer.
    await asyncio.to_thread(connect.hub.batcher._close_thread)

    given_up = next(
        record.getMessage() for record in caplog.records if record.getMessage().startswith("batch.given_up")
    )
    assert given_up.startswith("batch.given_up name=ingest items=")
    assert int(given_up.rpartition("=")[2]) >= 30


# --- what is told of it


async def test_the_figures_of_the_queues_go_with_the_pulse(connect):
    agent = Agent()
    socket = await connect(agent)
    await socket.send_frame(agent.heartbeat())
    await stored(connect.hub, socket)

    await connect.hub._pulse()

    replica = await Replica.objects.aget(pk=connect.hub.replica_id)
    assert replica.ingest["connections"] == 1
    ingest, answered = queue_figures(replica)
    assert (ingest.name, answered.name) == ("ingest", "answers")
    assert ingest.written >= 1
    assert (ingest.waiting, ingest.poisoned, ingest.failing_since) == (0, 0, None)


@pytest.mark.parametrize("failing_for_s", [0, 60])
async def test_readiness_fails_where_nothing_was_stored_for_some_seconds(connect, failing_for_s):
    connect.hub.batcher.stats.failing_since = time.time() - failing_for_s

    checks = (await AsyncClient().get("/readyz")).json()["checks"]

    assert checks["ingest"]["ingest"]["ready"] is (failing_for_s == 0)
    assert checks["ingest"]["answers"]["ready"] is True


async def test_busy_agents_move_their_sessions_together_and_now_and_then(connect, monkeypatch):
    turnstile = Turnstile(hub.touch_sessions)
    monkeypatch.setattr(hub, "touch_sessions", turnstile)
    agents = [Agent(), Agent()]
    sockets = [await connect(agent) for agent in agents]
    for _ in range(50):
        for agent, socket in zip(agents, sockets, strict=True):
            await socket.send_frame(agent.heartbeat())
    for socket in sockets:
        await stored(connect.hub, socket)

    async with asyncio.timeout(30):
        while await Session.objects.filter(last_message_at=F("connected_at")).aexists():
            await asyncio.sleep(0.05)
    assert sum(turnstile.sizes) < 50


async def test_a_socket_that_ended_is_gone_without_a_search_for_cycles(connect):
    def consumers():
        # By type alone: isinstance would wake lazy objects of earlier tests.
        return sum(type(found) is OneStepConsumer for found in gc.get_objects())

    before = consumers()
    gc.disable()
    try:
        for _ in range(5):
            agent = Agent()
            socket = await connect(agent)
            await socket.send_frame(agent.heartbeat())
            await order(agent)
            await socket.frame()
            await socket.disconnect()
            del socket
        await until(lambda: not connect.hub._sockets)
        await until(lambda: consumers() <= before)
    finally:
        gc.enable()


async def test_a_session_is_moved_once_more_before_the_process_ends(connect, monkeypatch):
    monkeypatch.setattr(hub, "_TOUCH_EVERY_S", 3600)
    agent = Agent()
    socket = await connect(agent)
    await socket.send_frame(agent.heartbeat())
    await stored(connect.hub, socket)

    await stop_hub()

    session = await Session.objects.aget()
    assert session.last_message_at > session.connected_at


async def test_what_could_not_be_noted_of_sessions_is_noted_later(connect, monkeypatch):
    turnstile = Turnstile(hub.touch_sessions)
    turnstile.is_away = True
    monkeypatch.setattr(hub, "touch_sessions", turnstile)
    monkeypatch.setattr(hub, "_TOUCH_EVERY_S", 0.01)
    agent = Agent()
    socket = await connect(agent)
    await socket.send_frame(agent.heartbeat())
    await until(lambda: turnstile.sizes.count(1) > 1)

    turnstile.is_away = False

    async with asyncio.timeout(30):
        while (session := await Session.objects.aget()).last_message_at == session.connected_at:
            await asyncio.sleep(0.05)
