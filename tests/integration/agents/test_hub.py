"""The hub of a process: bad peers hold up nobody, and a process that was declared dead comes back whole."""

import asyncio
import threading
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.utils import timezone

from agents.gateways.hub import _CALL_THREADS, Hub
from agents.models import Session
from agents.services.orders import Order
from agents.services.replicas import stop_replica
from agents.services.sessions import reconcile_dead_replicas
from agents.services.tokens import create_agent_token, revoke_agent_token
from controlplane.common.actors import Actor
from tasks_app.services.commands import order_command
from tests import frames
from tests.factories import ReplicaFactory, SessionFactory
from tests.frames import Agent
from tests.sockets import ANSWER_WITHIN_S, stored

ACTOR = Actor("tester")


@sync_to_async
def sessions():
    return sorted(Session.objects.values_list("status", "end_reason"))


class Peer:
    """Stands between the application and its client: from `fail` or `stall` on, what is sent raises or never ends."""

    def __init__(self):
        self.failing = self.stalling = False

    def __call__(self, application):
        async def behind(scope, receive, send):
            async def send_or_not(message):
                if self.failing:
                    raise OSError("the client is gone")
                if self.stalling:
                    await asyncio.Event().wait()
                await send(message)

            await application(scope, receive, send_or_not)

        return behind


async def make_token():
    return await sync_to_async(create_agent_token)(name="t", dialects=[], environments=[], expires_at=None, actor=ACTOR)


@pytest.mark.parametrize("trouble", ["failing", "stalling"])
async def test_a_bad_peer_holds_up_no_other_cut_and_no_pulse(connect, trouble):
    token, secret = await make_token()
    peer = Peer()
    await connect(Agent(), token=secret, behind=peer)
    good = await connect(Agent(), token=secret)
    setattr(peer, trouble, True)

    await sync_to_async(revoke_agent_token)(token, actor=ACTOR)

    assert (await good.frame())["payload"]["code"] == "unauthorized"
    assert (await good.closed())[0] == 4003
    await asyncio.wait_for(connect.hub._pulse(), 5)
    await stored(connect.hub)
    assert await sessions() == [("disconnected", "token_revoked")] * 2


async def test_an_agent_that_leaves_before_it_is_greeted_leaves_no_active_session(connect):
    peer = Peer()
    socket = await connect(behind=peer)
    peer.failing = True

    await socket.send_frame(Agent().hello())
    async with asyncio.timeout(30):
        while await sessions() != [("disconnected", "closed_early")]:
            await asyncio.sleep(0.01)


async def test_a_second_hello_that_is_refused_ends_the_first_session(connect):
    agent = Agent()
    other = Agent(instance_id=agent.instance_id, name="other")
    socket = await connect(agent)

    await socket.send_frame(other.hello())

    assert (await socket.frame())["payload"]["code"] == "instance_conflict"
    await stored(connect.hub)
    assert await sessions() == [("disconnected", "closed_1008")]


async def test_hello_over_and_over_is_refused(connect):
    agent = Agent()
    socket = await connect()
    for _ in range(10):
        await socket.hello(agent)

    await socket.send_frame(agent.hello())

    assert (await socket.frame())["payload"]["code"] == "rate_limited"
    assert (await socket.closed())[0] == 1008


async def test_a_process_declared_dead_takes_a_new_name_and_hears_hints_by_it(connect):
    agent = Agent()
    socket = await connect(agent)
    old = connect.hub.replica_id
    await sync_to_async(stop_replica)(old)
    await sync_to_async(reconcile_dead_replicas)()

    refused = await connect()
    await refused.send_frame(Agent().hello())
    assert (await refused.frame())["payload"]["code"] == "replica_stopped"

    await connect.hub._pulse()
    assert (await socket.closed())[0] == 1012
    assert connect.hub.replica_id != old

    again = await connect(agent)
    command = await sync_to_async(order_command)(UUID(agent.instance_id), Order(kind="ping"), actor=ACTOR)
    frame = await again.receive_output(timeout=ANSWER_WITHIN_S)
    assert command.public_id in frame["text"]


async def test_a_socket_that_finds_its_session_lost_is_told_to_come_again(connect):
    socket = await connect(Agent())
    await sync_to_async(stop_replica)(connect.hub.replica_id)
    await sync_to_async(reconcile_dead_replicas)()

    await socket.send_frame(frames.result(f"cmd_{uuid4().hex}"))

    assert (await socket.closed())[0] == 1012


@pytest.mark.django_db
def test_sessions_of_every_stopped_process_are_ended():
    late = SessionFactory(replica=ReplicaFactory(stopped_at=timezone.now() - timedelta(hours=1)))

    assert reconcile_dead_replicas() == 1

    late.refresh_from_db()
    assert (late.status, late.end_reason) == ("disconnected", "replica_lost")


class Held:
    def __init__(self, instance_id, opened_at):
        self.session_id, self.instance_id, self.opened_at = frames.uuid.uuid4(), instance_id, opened_at
        self.cuts = []
        self.is_congested = True

    def cut(self, reason):
        self.cuts.append(reason)


async def test_of_two_sockets_of_one_instance_the_one_opened_earlier_is_cut():
    instance_id, now = frames.uuid.uuid4(), timezone.now()
    for order in ((0, 1), (1, 0)):
        held = [Held(instance_id, now), Held(instance_id, now + timedelta(seconds=1))]
        hub = Hub()
        for index in order:
            hub.attach(held[index])
        assert [socket.cuts for socket in held] == [["superseded"], []]


@pytest.mark.needs_postgres
async def test_a_connection_that_the_server_ended_meanwhile_is_replaced(connect):
    """All threads of the hub are asked at once, so that each has its connection ended and is asked again."""

    def backend(barrier):
        barrier.wait(30)
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return cursor.fetchone()[0]

    async def backends():
        barrier = threading.Barrier(_CALL_THREADS)
        return set(await asyncio.gather(*(connect.hub.call(backend, barrier) for _ in range(_CALL_THREADS))))

    @sync_to_async
    def end(pids):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid, 10000) FROM unnest(%s) AS pid", [list(pids)])
            return cursor.fetchall()

    before = await backends()
    assert len(before) == _CALL_THREADS
    assert await backends() == before

    assert await end(before) == [(True,)] * _CALL_THREADS

    assert not await backends() & before


@pytest.mark.needs_postgres
async def test_the_hub_waits_for_no_connection_of_the_pool(connect):
    assert connection.pool is not None

    assert await connect.hub.call(lambda: connections["default"].pool) is None
