"""Commands to one instance: whether they are taken, how they are read and cancelled. Source: contract 3.1 to 3.4."""

import pytest
import requests

from tests import frames
from tests.e2e.contract import shapes
from tests.e2e.contract.stage import KINDS, TASK_KINDS, Actor, Agent, Stage, View
from tests.e2e.harness.api import Api

HELD = {"delivery_mode": "queue_until_reconnect"}
OF_SINGLE = {"service_name", "environment", "task_name", "delivery_mode", "deadline_at"}


def _refusal(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["detail"]


def test_command_is_taken_and_reaches_the_agent(stage: Stage) -> None:
    actor = stage.enter("taken")

    answer = actor.order("ping", args={"深": [1, None]}, reason="  why  ", timeout_s=30)

    made = answer.json()
    assert (answer.status_code, set(made)) == (200, shapes.COMMAND)
    said = {
        "instance_id": actor.instance_id,
        "node_name": "n-1",
        "created_by": "contract-admin",
        "reason": "why",
        "source_surface": "instance_detail",
        "kind": "ping",
        "args": {"深": [1, None]},
        "timeout_s": 30,
    }
    assert {name: made[name] for name in said} == said
    frame = actor.receive_type("command")
    assert frame == {
        "command_id": made["command_id"],
        "kind": "ping",
        "args": {"深": [1, None]},
        "timeout_s": 30,
        "created_at": made["created_at"],
    }


def test_what_is_left_out_has_its_default(stage: Stage) -> None:
    actor = stage.enter("plain")

    made = actor.view.api.post(f"/api/v1/instances/{actor.instance_id}/commands", {"kind": "ping"}).json()

    assert (made["args"], made["timeout_s"], made["reason"]) == ({}, 10, None)
    assert actor.view.api.command(made["command_id"])["delivery_mode"] == "dispatch_now_only"


def test_every_kind_is_carried_out(stage: Stage) -> None:
    actor = stage.enter("obedient")
    actor.tell(actor.agent.sync(frames.task("tick")), controls=[frames.control("tick", *TASK_KINDS)])

    for kind in KINDS:
        actor.make(kind, args={"task_name": "tick"} if kind in TASK_KINDS else {})
        actor.answer(kind)

    assert [command["kind"] for command in actor.view.items("/commands", status="succeeded")] == [*reversed(KINDS)]


@pytest.mark.parametrize("mode", [{}, HELD])
def test_session_without_the_capability(stage: Stage, mode) -> None:
    actor = stage.enter("unable", commands=("sync_now",))

    status, detail = _refusal(actor.order("ping", **mode))

    assert (status, "command.ping" in detail) == (409, True)
    assert actor.view.get("/commands")["total"] == 0


@pytest.mark.parametrize(
    "controls", [[], [frames.control("other", "pause_task")], [frames.control("tick", "resume_task")]]
)
def test_task_that_did_not_say_that_it_can(stage: Stage, controls) -> None:
    actor = stage.enter("unsaid")
    actor.tell(actor.agent.sync(frames.task("tick"), frames.task("other")), controls=controls)

    assert actor.order("pause_task", args={"task_name": "tick"}).status_code == 409


def test_instance_without_a_session(stage: Stage) -> None:
    actor = stage.enter("away")
    actor.leave()

    status, detail = _refusal(actor.order("ping"))

    assert (status, "no active control session" in detail) == (409, True)


def test_instance_without_a_session_can_be_waited_for(stage: Stage) -> None:
    actor = stage.enter("awaited")
    actor.leave()

    made = actor.order("ping", timeout_s=60, **HELD).json()

    assert (made["status"], made["session_id"], made["dispatched_at"]) == ("pending", None, None)
    back = stage.enter(actor.agent)
    assert back.receive_type("command")["command_id"] == made["command_id"]
    assert back.wait_for(made["command_id"], "dispatched")["session_id"] == back.shown()["active_session"]["session_id"]


def test_nothing_waits_for_whoever_never_had_a_session(stage: Stage, api: Api) -> None:
    agent = Agent("beaconed")
    stage.beacon(agent)

    answers = [
        api.post(f"/api/v1/instances/{agent.instance_id}/commands", {"kind": "ping", **mode}) for mode in ({}, HELD)
    ]

    assert [answer.status_code for answer in answers] == [409, 409]


def test_nothing_waits_for_whoever_could_not_when_it_left(stage: Stage) -> None:
    actor = stage.enter("unable-away", commands=("sync_now",))
    actor.leave()

    status, detail = _refusal(actor.order("ping", **HELD))

    assert (status, "command.ping" in detail) == (409, True)


# --- reading and cancelling


def test_command_by_its_id(stage: Stage) -> None:
    actor = stage.enter("single")
    actor.tell(actor.agent.sync(frames.task("tick")), controls=[frames.control("tick", "pause_task")])
    command_id = actor.make("pause_task", args={"task_name": "tick"})
    actor.answer("pause_task")

    found = actor.view.api.command(command_id)
    [listed] = [each for each in actor.view.items("/commands") if each["command_id"] == command_id]

    assert set(found) == shapes.COMMAND | OF_SINGLE
    assert {name: found[name] for name in shapes.COMMAND} == listed
    assert (found["service_name"], found["environment"], found["task_name"]) == ("single", "dev", "tick")


@pytest.mark.parametrize(("command_id", "status"), [("cmd_" + "0" * 32, 404), ("cmd_1", 422), ("0" * 32, 422)])
@pytest.mark.parametrize("verb", ["get", "cancel"])
def test_unknown_command(api: Api, verb: str, command_id: str, status: int) -> None:
    path = f"/api/v1/commands/{command_id}"

    answer = api.ask(path) if verb == "get" else api.post(f"{path}/cancel", {})

    assert answer.status_code == status


def test_pending_command_is_cancelled(stage: Stage) -> None:
    actor = stage.enter("cancelled")
    actor.leave()
    command_id = actor.make("ping", timeout_s=60, **HELD)

    answer = actor.view.api.post(f"/api/v1/commands/{command_id}/cancel", {})

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert answer.json()["finished_at"] is not None
    back = stage.enter(actor.agent)
    assert back.make("sync_now") == back.take("sync_now")


def test_command_that_was_sent_is_not_cancelled(stage: Stage) -> None:
    actor = stage.enter("sent")
    command_id = actor.make("ping")
    actor.take("ping")
    actor.wait_for(command_id, "dispatched")

    answer = actor.view.api.post(f"/api/v1/commands/{command_id}/cancel", {})

    assert (answer.status_code, actor.view.api.command(command_id)["status"]) == (409, "dispatched")


@pytest.fixture(scope="module")
def counted(stage: Stage) -> tuple[View, list[Actor], list[str]]:
    """Five commands to two instances: succeeded, failed, rejected, accepted, pending; by when they were made."""
    actors = [stage.enter("counted"), stage.enter("counted", node="n-2")]
    first, second = actors
    ids = [
        first.make("ping"),
        first.make("sync_now"),
        first.make("flush_events"),
        first.make("ping", timeout_s=600),
    ]
    first.answer("ping")
    first.answer("sync_now", "failed")
    first.take("flush_events")
    first.send(frames.ack(ids[2], "rejected"))
    first.take("ping")
    first.send(frames.ack(ids[3]))
    first.wait_for(ids[3], "accepted")
    second.leave()
    ids.append(second.make("ping", timeout_s=600, **HELD))
    return first.view, actors, ids


def test_commands_of_a_service_have_the_fields_of_the_contract(counted) -> None:
    page = counted[0].get("/commands")

    assert set(page) == shapes.PAGE
    assert [set(command) for command in page["items"]] == [shapes.COMMAND] * 5
    assert (page["total"], page["limit"], page["offset"]) == (5, 50, 0)


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [4, 3, 2, 1, 0]),
        ({"kind": "ping"}, [4, 3, 0]),
        ({"status": "failed"}, [1]),
        ({"kind": "ping", "status": "pending"}, [4]),
        ({"limit": 2, "offset": 2}, [2, 1]),
        ({"kind": "drain"}, []),
    ],
)
def test_commands_of_a_service_come_newest_first_and_are_narrowed(counted, query, numbers) -> None:
    view, _actors, ids = counted

    assert [command["command_id"] for command in view.items("/commands", **query)] == [
        ids[number] for number in numbers
    ]


def test_commands_of_a_service_to_one_instance(counted) -> None:
    view, actors, ids = counted

    assert [command["command_id"] for command in view.items("/commands", instance_id=actors[1].instance_id)] == ids[4:]


def test_commands_of_an_instance_come_newest_first(counted) -> None:
    view, actors, ids = counted

    page = view.api.get(f"/api/v1/instances/{actors[0].instance_id}/commands")

    assert set(page) == shapes.PAGE
    assert [command["command_id"] for command in page["items"]] == ids[3::-1]
    assert (page["total"], page["limit"], page["offset"]) == (4, 20, 0)


def test_commands_of_an_instance_are_paged(counted) -> None:
    view, actors, ids = counted

    page = view.api.get(f"/api/v1/instances/{actors[0].instance_id}/commands", limit=1, offset=2)

    assert ([command["command_id"] for command in page["items"]], page["total"]) == ([ids[1]], 4)


def test_dashboard_counts_commands(counted) -> None:
    view, _actors, ids = counted

    overview = view.get("/dashboard")["command_overview"]

    ended = {"succeeded": 1, "failed": 1, "rejected": 1, "timeout": 0, "cancelled": 0, "expired": 0}
    under_way = {"pending": 1, "dispatched": 0, "accepted": 1}
    assert overview["statuses"] == ended | under_way | {"in_flight": 2, "total": 5}
    assert overview["active_session_count"] == 1
    assert overview["last_command_at"] == view.api.command(ids[4])["created_at"]
    assert overview["last_completed_at"] == view.api.command(ids[2])["finished_at"]
