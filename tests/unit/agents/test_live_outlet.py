"""The bounded queue of one client of the live stream, and the seats of a process."""

import asyncio

import pytest

from agents.api.live.outlet import PORTION_BYTES, Outlet
from agents.api.live.seats import NoSeat, NoSeatForUser, Seats

AT_ONCE = 0
SOON = 10


def outlet(*, most_frames=10, most_bytes=10 * PORTION_BYTES):
    return Outlet(most_frames=most_frames, most_bytes=most_bytes)


async def test_frames_come_out_in_order_and_together():
    queue = outlet()
    for frame in (b"a", b"b", b"c"):
        queue.put(frame)

    assert await queue.take(within_s=AT_ONCE) == b"abc"


async def test_nothing_comes_of_an_empty_outlet():
    assert await outlet().take(within_s=AT_ONCE) == b""


async def test_who_waits_gets_the_next_frame():
    queue = outlet()
    waiting = asyncio.ensure_future(queue.take(within_s=SOON))
    await asyncio.sleep(0)

    queue.put(b"a")

    assert await waiting == b"a"


async def test_a_burst_is_handed_over_in_portions():
    queue = outlet()
    half = b"x" * (PORTION_BYTES // 2)
    for _ in range(3):
        queue.put(half)

    assert len(await queue.take(within_s=AT_ONCE)) == PORTION_BYTES
    assert len(await queue.take(within_s=AT_ONCE)) == PORTION_BYTES // 2


async def test_a_frame_larger_than_a_portion_is_handed_over_alone():
    queue = outlet()
    queue.put(b"x" * (PORTION_BYTES + 1))
    queue.put(b"y")

    assert len(await queue.take(within_s=AT_ONCE)) == PORTION_BYTES + 1
    assert await queue.take(within_s=AT_ONCE) == b"y"


@pytest.mark.parametrize("bounds", [{"most_frames": 2}, {"most_bytes": 2}])
async def test_without_room_it_closes_and_gives_up_what_waits(bounds):
    queue = outlet(**bounds)
    for frame in (b"a", b"b"):
        queue.put(frame)
    assert queue.closed_for == ""

    queue.put(b"c")

    assert queue.closed_for == "slow_reader"
    assert await queue.take(within_s=AT_ONCE) == b""


async def test_what_was_taken_makes_room():
    queue = outlet(most_frames=1, most_bytes=1)
    for _ in range(5):
        queue.put(b"a")
        assert await queue.take(within_s=AT_ONCE) == b"a"

    assert queue.closed_for == ""


async def test_the_first_reason_to_close_counts_and_wakes_who_waits():
    queue = outlet()
    waiting = asyncio.ensure_future(queue.take(within_s=SOON))
    await asyncio.sleep(0)

    queue.close("shutdown")
    queue.close("slow_reader")
    queue.put(b"a")

    assert await waiting == b""
    assert queue.closed_for == "shutdown"


async def test_who_waits_for_it_to_empty_is_told():
    queue = outlet()
    queue.put(b"a")
    waiting = asyncio.ensure_future(queue.emptied())
    await asyncio.sleep(0)
    assert not waiting.done()

    await queue.take(within_s=AT_ONCE)

    await asyncio.wait_for(waiting, SOON)


def test_seats_are_bounded_for_each_user_and_in_all(settings):
    settings.STREAMS_PER_USER_MAX, settings.STREAMS_MAX = 2, 3
    seats = Seats()
    for user_id in (1, 1, 2):
        seats.take(user_id)

    with pytest.raises(NoSeatForUser):
        seats.take(1)
    with pytest.raises(NoSeat):
        seats.take(2)
    seats.leave(1)
    seats.take(2)

    assert seats.taken == 3
