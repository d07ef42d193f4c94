"""Names of any characters, through the socket and in paths. Source: contract 0."""

from urllib.parse import quote

import pytest

from tests import frames
from tests.e2e.contract.stage import ContractPortal, Stage, ago

NAMES = ("web/shop", "a%2Fb", "100% sure", "订单 服务", "a..b", "a?b#c", "trailing ", "é+&;=", "😀/%/\\\"'")


@pytest.fixture(scope="module", params=NAMES)
def named(request: pytest.FixtureRequest, stage: Stage):
    """A service and its only task under one name, with an event."""
    name = request.param
    actor = stage.enter(name)
    actor.tell(
        actor.agent.sync(frames.task(name, description=name)),
        actor.agent.metrics(frames.window(name, f"w-{name}"), window={"started_at": ago(3), "ended_at": ago(2)}),
        actor.agent.events(frames.event("failed", f"e-{name}", task_name=name, occurred_at=ago(1))),
        controls=[frames.control(name, "pause_task")],
    )
    return actor


def test_service_is_found_by_its_name(named) -> None:
    assert named.view.get()["name"] == named.agent.name


def test_service_is_found_by_a_part_of_its_name(named) -> None:
    found = named.view.api.get("/api/v1/services", q=named.agent.name)

    assert named.agent.name in [service["name"] for service in found["items"]]


def test_task_is_found_by_its_name(named) -> None:
    detail = named.view.task(named.agent.name)

    assert (detail["task_name"], detail["summary"]["description"]) == (named.agent.name, named.agent.name)


def test_tasks_windows_and_events_are_narrowed_by_the_name(named) -> None:
    name = named.agent.name

    pages = [named.view.items(rest, task_name=name) for rest in ("/tasks", "/metric-windows", "/events")]

    assert [[item["task_name"] for item in page] for page in pages] == [[name]] * 3


def test_history_of_the_task(named) -> None:
    items = named.view.items(f"/tasks/{quote(named.agent.name, safe='')}/events")

    assert [item["id"] for item in items] == [f"runtime:e-{named.agent.name}"]


def test_events_of_the_fleet_are_narrowed_by_the_name(named) -> None:
    page = named.view.api.get("/api/v1/events", service_name=named.agent.name)

    assert {event["service_name"] for event in page["items"]} == {named.agent.name}


def test_order_for_the_task_reaches_the_agent(named) -> None:
    order = {"kind": "pause_task", "reason": "contract", "target_mode": "all_online"}

    answer = named.view.order(order, task=named.agent.name)

    assert (answer.status_code, answer.json()["counts"]["dispatched"]) == (200, 1)
    command = named.receive_type("command")
    assert (command["kind"], command["args"]) == ("pause_task", {"task_name": named.agent.name})


def test_refusal_names_it(named) -> None:
    answer = named.view.ask("/tasks/nothing")

    assert answer.json()["detail"] == f"task nothing was not found for service {named.agent.name}/dev"


def test_encoded_slash_is_no_separator(portal: ContractPortal, stage: Stage) -> None:
    stage.enter("web")
    stage.enter("web/tasks")

    found = [
        portal.api().get(path, environment="dev")
        for path in ("/api/v1/services/web/tasks", "/api/v1/services/web%2ftasks")
    ]

    assert ("items" in found[0], found[1].get("name")) == (True, "web/tasks")
