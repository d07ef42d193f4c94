"""The frames of the load are whole, and are what a OneStep agent sends."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from websockets.server import ServerProtocol

from bench import wire
from bench.frames import FIRST_NUMBER, AgentFrames, Identity


@pytest.fixture
def frames():
    return AgentFrames(Identity("run", 7, "service-%-7"))


def read(data):
    """Every frame in `data` as a server reads it."""
    server = ServerProtocol()
    server.receive_data(wire.upgrade_request("127.0.0.1", 80, "/", "token", "onestep-agent.v1"))
    [request] = server.events_received()
    server.send_response(server.accept(request))
    server.receive_data(data)
    return [json.loads(bytes(frame.data)) for frame in server.events_received()]


def body(data):
    [frame] = read(data)
    assert frame["type"] == "telemetry"
    return frame["payload"]["body"]


def test_hello_says_who_the_agent_is(frames):
    [hello] = read(frames.hello())

    assert hello["type"] == "hello"
    assert hello["payload"]["service"] == frames.identity.descriptor
    assert hello["payload"]["runtime"] == frames.identity.runtime


def test_numbers_grow_with_each_frame(frames):
    sequences = [body(build())["sequence"] for build in (frames.sync, frames.heartbeat, frames.heartbeat)]

    assert sequences == [FIRST_NUMBER + 1, FIRST_NUMBER + 2, FIRST_NUMBER + 3]
    assert frames.number == FIRST_NUMBER + 3


def test_frames_carry_the_time_of_sending(frames):
    before = datetime.now(tz=UTC) - timedelta(microseconds=1)

    sent_at = datetime.fromisoformat(body(frames.heartbeat())["sent_at"])

    assert before <= sent_at <= datetime.now(tz=UTC)


@pytest.mark.parametrize("count", [1, 20])
def test_events_have_ids_of_their_own(frames, count):
    events = [event for _ in range(3) for event in body(frames.events(count))["events"]]

    assert len({event["event_id"] for event in events}) == len(events) == 3 * count
    assert events[-1]["event_id"] == frames.last_event_id
    assert {event["kind"] for event in events} == ({"started", "succeeded"} if count > 1 else {"started"})


def test_windows_of_a_frame_are_of_different_tasks_and_of_no_other_frame(frames):
    windows = [window for _ in range(2) for window in body(frames.metrics(5))["tasks"]]

    assert len({window["task_name"] for window in windows[:5]}) == 5
    assert len({window["window_id"] for window in windows}) == 10
    assert windows[5]["window_id"].endswith(str(frames.number))


def test_a_command_is_accepted_and_then_succeeds(frames):
    command_id = "cmd_" + "a" * 32

    ack, result = read(frames.answers(command_id))

    assert (ack["type"], ack["payload"]["command_id"], ack["payload"]["status"]) == (
        "command_ack",
        command_id,
        "accepted",
    )
    assert (result["type"], result["payload"]["command_id"], result["payload"]["status"]) == (
        "command_result",
        command_id,
        "succeeded",
    )


def test_the_same_agent_of_the_same_run_is_the_same_instance():
    identity, again, other = Identity("a", 1, "s"), Identity("a", 1, "s"), Identity("b", 1, "s")

    assert identity.instance_id == again.instance_id != other.instance_id
