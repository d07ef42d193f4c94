"""GET S/instances, S/instances/{id} and S/sessions. Source: contract 1.9, 4.1 to 4.3."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests import frames
from tests.e2e.contract import shapes
from tests.e2e.contract.orders import TASKS, Orders
from tests.e2e.contract.stage import TELEMETRY, Actor, Agent, Stage, View, ago
from tests.e2e.harness.waiting import eventually


def _ids(items) -> list[str]:
    return [item["instance_id"] for item in items]


def test_page_has_the_fields_of_the_contract(orders: Orders) -> None:
    page = orders.view.get("/instances")

    assert set(page) == shapes.PAGE
    assert [set(instance) for instance in page["items"]] == [shapes.INSTANCE] * 5
    assert [set(instance["active_session"]) for instance in page["items"]] == [shapes.SESSION] * 5


def test_instances_come_last_seen_first(orders: Orders) -> None:
    page = orders.view.get("/instances")

    seen = [instance["last_seen_at"] for instance in page["items"]]
    assert seen == sorted(seen, reverse=True)
    assert sorted(_ids(page["items"])) == sorted(actor.instance_id for actor in orders.actors)


@pytest.mark.parametrize(
    ("query", "nodes"),
    [
        ({"status": "degraded"}, ["n-2"]),
        ({"status": "unknown"}, ["n-4"]),
        ({"connectivity": "online"}, ["n-1", "n-2", "n-3", "n-4", "n-5"]),
        ({"connectivity": "online", "status": "error"}, ["n-5"]),
        ({"connectivity": "offline"}, []),
        ({"connectivity": "never_reported"}, []),
        ({"offset": 5}, []),
    ],
)
def test_instances_are_narrowed(orders: Orders, query, nodes) -> None:
    assert sorted(instance["node_name"] for instance in orders.view.items("/instances", **query)) == nodes


def test_pages_hold_every_instance_once(orders: Orders) -> None:
    pages = [orders.view.get("/instances", limit=2, offset=offset) for offset in (0, 2, 4)]

    ids = [instance_id for page in pages for instance_id in _ids(page["items"])]
    assert sorted(ids) == sorted(actor.instance_id for actor in orders.actors)
    assert [(page["total"], len(page["items"])) for page in pages] == [(5, 2), (5, 2), (5, 1)]


def test_instance_tells_what_the_agent_said(orders: Orders) -> None:
    agent = orders.first.agent

    found = orders.first.shown()

    said = {
        "instance_id": agent.instance_id,
        "node_name": "n-1",
        "hostname": "host-1",
        "pid": 42,
        "deployment_version": "2.0",
        "onestep_version": "1.15.0",
        "python_version": "3.11.7",
        "started_at": agent.started_at,
        "last_sync_at": ago(30),
        "last_topology_hash": "sha256:a",
        "last_heartbeat_sequence": agent.sequence,
        "status": "ok",
        "connectivity": "online",
        "view_status": "running",
    }
    assert {name: found[name] for name in said} == said


@pytest.mark.parametrize(
    ("node", "view_status"),
    [("n-1", "running"), ("n-2", "running"), ("n-3", "starting"), ("n-4", "stopped"), ("n-5", "failed")],
)
def test_view_status_of_an_instance(orders: Orders, node: str, view_status: str) -> None:
    found = {instance["node_name"]: instance["view_status"] for instance in orders.view.items("/instances")}

    assert found[node] == view_status


def test_instance_that_said_hello_only_is_online_and_tells_no_more(orders: Orders) -> None:
    found = orders.fourth.shown()

    absent = ("last_sync_at", "last_topology_hash", "last_heartbeat_sent_at", "last_heartbeat_sequence")
    assert [found[name] for name in absent] == [None] * 4
    assert (found["connectivity"], found["status"]) == ("online", "unknown")


def test_beacon_makes_an_instance_online_without_a_session(stage: Stage) -> None:
    agent = Agent("beaconing")

    status = stage.beacon(agent)

    found = View(stage.portal.api(), "beaconing").get(f"/instances/{agent.instance_id}")
    assert status == 204
    assert (found["instance"]["connectivity"], found["instance"]["active_session"]) == ("online", None)
    assert (found["latest_session"], found["app_snapshot"]) == (None, None)


def test_detail_has_the_fields_of_the_contract(orders: Orders) -> None:
    detail = orders.view.get(f"/instances/{orders.first.instance_id}")

    assert set(detail) == shapes.INSTANCE_DETAIL
    assert set(detail["service"]) == shapes.SERVICE
    assert set(detail["instance"]) == shapes.INSTANCE
    assert set(detail["latest_session"]) == shapes.SESSION
    assert [set(window) for window in detail["recent_metric_windows"]] == [shapes.METRIC_WINDOW] * 3
    assert [set(event) for event in detail["recent_events"]] == [shapes.EVENT] * 8


def test_detail_and_list_tell_the_same_of_an_instance(orders: Orders) -> None:
    listed = {instance["instance_id"]: instance for instance in orders.view.items("/instances")}

    detail = orders.view.get(f"/instances/{orders.second.instance_id}")

    assert detail["instance"] == listed[orders.second.instance_id]
    assert detail["latest_session"] == detail["instance"]["active_session"]


def test_snapshot_is_the_last_sync_with_the_controls(orders: Orders) -> None:
    snapshot = orders.view.get(f"/instances/{orders.second.instance_id}")["app_snapshot"]

    controls = snapshot.pop("task_control_states")
    assert snapshot == {
        "name": "orders",
        "shutdown_timeout_s": 30,
        "topology_hash": "sha256:b",
        "tasks": list(TASKS),
    }
    assert [(control["task_name"], control["supported_commands"]) for control in controls] == [
        ("charge", ["pause_task"]),
        ("hold", ["resume_task", "discard_dead_letters"]),
    ]


def test_detail_is_limited_to_its_instance_and_newest(orders: Orders) -> None:
    detail = orders.view.get(
        f"/instances/{orders.first.instance_id}", metric_window_limit=1, event_limit=1, lookback_minutes=60
    )

    assert [window["window_id"] for window in detail["recent_metric_windows"]] == ["w-5"]
    assert [event["event_id"] for event in detail["recent_events"]] == ["o-3"]


def test_older_heartbeat_is_not_shown(stage: Stage) -> None:
    actor = stage.enter("stale")
    actor.tell(status="ok")
    number = actor.agent.sequence

    actor.send(actor.agent.heartbeat(status="error", sequence=number - 1))
    actor.mark()

    assert (actor.shown()["status"], actor.shown()["last_heartbeat_sequence"]) == ("ok", number)


@dataclass
class Visits:
    """One instance that came three times: superseded, left, and still there."""

    view: View
    last: Actor
    agent: Agent


@pytest.fixture(scope="module")
def visits(stage: Stage) -> Iterator[Visits]:
    agent = Agent("visits", commands=("ping", "unheard_of"))
    first = stage.enter(agent)
    second = stage.enter(agent)
    assert first.wait_for_close() == 4001
    second.tell()
    second.leave()
    last = stage.enter(agent)
    other = stage.enter("visits", node="n-2")
    yield Visits(last.view, last, agent)
    other.close()


def test_sessions_have_the_fields_of_the_contract(visits: Visits) -> None:
    page = visits.view.get("/sessions")

    assert set(page) == shapes.PAGE
    assert [set(session) for session in page["items"]] == [shapes.SESSION] * 4


def test_sessions_come_newest_first(visits: Visits) -> None:
    items = visits.view.items("/sessions", instance_id=visits.agent.instance_id)

    assert [session["status"] for session in items] == ["active", "disconnected", "superseded"]
    assert [session["connected_at"] for session in items] == sorted(
        (session["connected_at"] for session in items), reverse=True
    )


def test_ends_of_sessions_are_told(visits: Visits) -> None:
    active, left, superseded = visits.view.items("/sessions", instance_id=visits.agent.instance_id)

    assert (active["superseded_at"], active["disconnected_at"]) == (None, None)
    assert (left["superseded_at"], left["disconnected_at"] > left["connected_at"]) == (None, True)
    assert superseded["superseded_at"] == superseded["disconnected_at"]


def test_session_tells_what_was_asked_and_what_was_accepted(visits: Visits) -> None:
    session = visits.last.shown()["active_session"]

    assert session["capabilities"] == [*TELEMETRY, "command.ping", "command.unheard_of"]
    assert session["accepted_capabilities"] == [*TELEMETRY, "command.ping", "telemetry.custom_metrics"]
    assert (session["node_name"], session["hostname"], session["protocol_version"]) == ("n-1", "host-1", "1")
    assert session["session_id"][:5] == "sess_"


@pytest.mark.parametrize(
    ("query", "count"), [({"status": "superseded"}, 1), ({"status": "active"}, 2), ({"limit": 3}, 3)]
)
def test_sessions_are_narrowed(visits: Visits, query, count: int) -> None:
    assert len(visits.view.items("/sessions", **query)) == count


def test_session_moves_with_what_it_says(visits: Visits) -> None:
    before = visits.last.shown()["active_session"]["last_message_at"]

    visits.last.tell(visits.agent.events(frames.event(occurred_at=frames.now())))

    # Sessions are written once a second, all together.
    eventually(lambda: visits.last.shown()["active_session"]["last_message_at"] > before, "the session moved")
