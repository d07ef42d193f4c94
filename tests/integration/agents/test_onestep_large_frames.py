"""Large frames, of which none may hold up the other sockets of the process."""

import asyncio
import time

import pytest

from tests import frames
from tests.frames import Agent

# The work takes a few hundredths of a second; what is asserted leaves room for a busy machine.
PAUSE_MAX_S = 2.0


async def longest_pause(work):
    """For how long the event loop stood still at most while `work` was done."""
    pauses = [0.0]

    async def tick():
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0)
            pauses.append(time.perf_counter() - before)

    ticking = asyncio.create_task(tick())
    try:
        await work
    finally:
        ticking.cancel()
    return max(pauses)


async def answer_to(socket, literal):
    await socket.send_frame(literal)
    return await socket.frame()


def filled(frame, filling):
    return frames.text(frame).replace('"FILL"', filling)


@pytest.mark.parametrize("attack", ["zeros", "zeros-and-nul", "nested-and-nan"])
@pytest.mark.django_db(transaction=True)
async def test_a_large_frame_does_not_hold_up_the_others(connect, attack):
    agent = Agent()
    socket = await connect(agent)
    zeros = "0," * 2_000_000 + "0"
    literal = {
        "zeros": filled(agent.events("FILL"), zeros),
        "zeros-and-nul": filled(agent.events("FILL", later="\0"), zeros),
        "nested-and-nan": filled(agent.events(0, later=["FILL"]), "NaN," + "[[[[[[[[[[]]]]]]]]]]," * 8_900 + "0"),
    }[attack]

    pause = await longest_pause(answer_to(socket, literal))

    assert pause < PAUSE_MAX_S
    assert (await answer_to(socket, frames.ack("cmd_" + "0" * 32)))["payload"]["code"] == "unknown_command"
