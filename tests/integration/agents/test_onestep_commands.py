"""Commands over the agent's socket: from the order to the frame, the answer, and the next session."""

import asyncio
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async

from agents.models import Command
from agents.services.orders import Order
from controlplane.common.actors import Actor
from tasks_app.services.commands import order_command
from tests import frames
from tests.frames import Agent
from tests.sockets import stored

ACTOR = Actor("operator")


async def send_order(agent, kind="ping", **changes):
    return await sync_to_async(order_command)(UUID(agent.instance_id), Order(kind=kind, **changes), actor=ACTOR)


async def status_of(command):
    await command.arefresh_from_db()
    return command.status


async def test_an_order_reaches_the_agent_as_a_whole_frame(connect):
    agent = Agent()
    socket = await connect(agent)

    command = await send_order(agent, args={"x": "é"}, timeout_s=7)
    frame = await socket.frame()

    assert frame["type"] == "command"
    assert frame["payload"] == {
        "command_id": command.public_id,
        "kind": "ping",
        "args": {"x": "é"},
        "timeout_s": 7,
        "created_at": command.created_at.isoformat(),
    }
    assert await status_of(command) == "dispatched"


async def test_orders_arrive_in_the_order_they_were_made(connect):
    agent = Agent()
    socket = await connect(agent)

    commands = [await send_order(agent, args={"n": number}) for number in range(20)]

    received = [(await socket.frame())["payload"]["command_id"] for _ in commands]
    assert received == [command.public_id for command in commands]


async def test_the_largest_args_still_fit_the_agents_limit(connect):
    agent = Agent()
    socket = await connect(agent)

    await send_order(agent, args={"x": "y" * 899_000})
    frame = await socket.receive_from(timeout=5)

    assert 899_000 < len(frame.encode()) < 1_048_576


async def test_an_ack_and_a_result_finish_it_and_a_second_result_is_refused(connect):
    agent = Agent()
    socket = await connect(agent)
    command = await send_order(agent)
    await socket.frame()

    await socket.send_frame(frames.ack(command.public_id))
    await socket.send_frame(frames.result(command.public_id))
    await socket.send_frame(frames.result(command.public_id, "failed"))
    error = (await socket.frame())["payload"]

    assert (error["code"], error["close_connection"]) == ("duplicate_command_result", False)
    assert await status_of(command) == "succeeded"
    assert command.result == {"ok": True}


async def test_a_result_for_another_instances_command_is_unknown(connect):
    agent, stranger = Agent(), Agent()
    socket, other = await connect(agent), await connect(stranger)
    command = await send_order(agent)
    await socket.frame()

    await other.send_frame(frames.result(command.public_id))

    assert (await other.frame())["payload"]["code"] == "unknown_command"
    assert await status_of(command) == "dispatched"


async def test_a_held_command_follows_the_answer_to_the_next_hello(connect):
    agent = Agent()
    socket = await connect(agent)
    await socket.disconnect()
    await stored(connect.hub)
    command = await send_order(agent, hold=True, timeout_s=60)

    again = await connect()
    await again.hello(agent)

    assert (await again.frame())["payload"]["command_id"] == command.public_id


async def test_an_unanswered_command_comes_again_after_a_cut(connect):
    agent = Agent()
    socket = await connect(agent)
    command = await send_order(agent, timeout_s=60)
    await socket.frame()
    await socket.disconnect()

    again = await connect(agent)

    assert (await again.frame())["payload"]["command_id"] == command.public_id


async def test_a_result_lost_between_ack_and_cut_is_fetched_by_the_same_process(connect):
    agent = Agent()
    socket = await connect(agent)
    command = await send_order(agent, timeout_s=60)
    await socket.frame()
    await socket.send_frame(frames.ack(command.public_id))
    await stored(connect.hub, socket)
    await socket.disconnect()

    again = await connect(agent)
    assert (await again.frame())["payload"]["command_id"] == command.public_id
    await again.send_frame(frames.ack(command.public_id))
    await again.send_frame(frames.result(command.public_id))
    await stored(connect.hub, again)

    assert await status_of(command) == "succeeded"


async def test_a_lost_hint_costs_a_poll_interval_only(connect, settings):
    agent = Agent()
    socket = await connect(agent)
    hub = connect.hub
    hub._tasks[0].cancel()  # the listener

    command = await send_order(agent, timeout_s=60)

    async with asyncio.timeout(settings.HINT_POLL_S + 2):
        frame = await socket.receive_output(timeout=settings.HINT_POLL_S + 2)
    assert command.public_id in frame["text"]


@pytest.mark.parametrize("count", [25])
async def test_nothing_overtakes_the_answer_to_hello(connect, count):
    """Orders made while the agent says hello: the first frame is the answer, then each comes once."""
    agent = Agent()
    socket = await connect(agent)
    await socket.disconnect()
    await stored(connect.hub)
    socket = await connect()

    async def order_all():
        return [await send_order(agent, hold=True, timeout_s=60) for _ in range(count)]

    ordering = asyncio.create_task(order_all())
    await socket.send_frame(agent.hello())
    first = await socket.frame()
    received = [(await socket.frame())["payload"]["command_id"] for _ in range(count)]

    assert first["type"] == "hello_ack"
    assert sorted(received) == sorted(command.public_id for command in await ordering)
    assert await Command.objects.filter(status="dispatched").acount() == count
