"""What silence does: offline after seconds here, and out of the count some seconds later. Source: contract 4.3."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests import frames
from tests.e2e.contract.conftest import contract_portal
from tests.e2e.contract.stage import TASK_KINDS, Actor, Stage, View, ago
from tests.e2e.harness.waiting import eventually

OFFLINE_AFTER_S, PARTICIPATION_S = 3, 8


@dataclass
class Ageing:
    """Three services, by who of them is heard: `whole` everybody, `half` one of two, `silent` nobody any more.

    The silent one of `half` still tells its topology, so it counts. The one of `silent` said that its task is paused.
    """

    stage: Stage
    whole: Actor
    half: Actor
    quiet: Actor
    silent: Actor
    hashes: int = field(default=0)

    def keep(self) -> None:
        """Let everybody be heard who is to be, until the portal shows it."""
        self.hashes += 1
        self.quiet.send(
            self.quiet.agent.sync(frames.task("tick"), topology_hash=f"sha256:{self.hashes}", sent_at=frames.now())
        )
        for actor in (self.whole, self.half):
            actor.tell()

    def connectivity(self, actor: Actor) -> str:
        return actor.shown()["connectivity"]

    def services(self, **query):
        self.keep()
        return self.whole.view.api.get("/api/v1/services", **query)


@pytest.fixture(scope="module")
def ageing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ageing]:
    settings = {
        "INSTANCE_OFFLINE_AFTER_S": str(OFFLINE_AFTER_S),
        "INSTANCE_HEALTH_PARTICIPATION_WINDOW_S": str(PARTICIPATION_S),
    }
    with contract_portal(tmp_path_factory.mktemp("ageing"), **settings) as portal:
        stage = Stage(portal)
        ageing = Ageing(
            stage,
            stage.enter("z-whole"),
            stage.enter("m-half", node="n-1"),
            stage.enter("m-half", node="n-2"),
            stage.enter("a-silent"),
        )
        _begin(ageing)
        yield ageing
        stage.close()


def _begin(ageing: Ageing) -> None:
    for actor in (ageing.whole, ageing.half, ageing.silent):
        actor.tell(
            actor.agent.sync(frames.task("tick"), frames.task("busy"), frames.task("broken"), sent_at=ago(60)),
            actor.agent.metrics(frames.window("busy", started=1), window={"started_at": ago(3), "ended_at": ago(2)}),
            actor.agent.events(
                frames.event("failed", f"failed-{actor.instance_id}", task_name="broken", occurred_at=ago(1))
            ),
            controls=[frames.control("tick", *TASK_KINDS, pause_requested=actor is ageing.silent)],
        )

    def has_aged() -> bool:
        ageing.keep()
        return (
            ageing.connectivity(ageing.quiet) == "offline"
            and ageing.connectivity(ageing.silent) == "offline"
            and ageing.silent.view.get()["instance_count"] == 0
        )

    eventually(has_aged, "whoever is silent is offline, and out of the count")


def test_services_come_by_status_first(ageing: Ageing) -> None:
    page = ageing.services()

    assert [(item["name"], item["service_status"], item["view_status"]) for item in page["items"]] == [
        ("z-whole", "online", "running"),
        ("m-half", "attention", "degraded"),
        ("a-silent", "offline", "stopped"),
    ]


def test_totals_tell_the_statuses(ageing: Ageing) -> None:
    summary = ageing.services()["summary"]

    assert summary == {
        "total_services": 3,
        "online_services": 1,
        "attention_services": 1,
        "offline_services": 1,
        "ready_services": 1,
        "total_instances": 3,
        "online_instances": 2,
        "total_tasks": 7,
        "failing_tasks": 3,
    }


@pytest.mark.parametrize(
    ("name", "count", "online", "standby"), [("z-whole", 1, 1, 0), ("m-half", 2, 1, 1), ("a-silent", 0, 0, 0)]
)
def test_instances_are_counted(ageing: Ageing, name: str, count: int, online: int, standby: int) -> None:
    [service] = ageing.services(q=name)["items"]

    found = service["instance_count"], service["online_instance_count"], service["standby_instance_count"]
    assert found == (count, online, standby)


@pytest.mark.parametrize(("name", "online"), [("z-whole", 2), ("a-silent", 0)])
def test_tasks_are_online_where_an_instance_is(ageing: Ageing, name: str, online: int) -> None:
    [service] = ageing.services(q=name)["items"]

    # One of three fails.
    assert (service["task_count"], service["failing_task_count"], service["online_task_count"]) == (3, 1, online)


def test_dashboard_counts_who_is_offline(ageing: Ageing) -> None:
    ageing.keep()

    board = ageing.half.view.get("/dashboard")

    assert board["instance_connectivity"] == {"total": 2, "online": 1, "offline": 1, "never_reported": 0}
    assert board["instance_statuses"] == {"ok": 1, "degraded": 0, "error": 0, "starting": 0, "unknown": 1}
    # That of the one who is offline does not count.
    assert (board["topology_hashes"], board["topology_consistent"]) == (["sha256:1"], True)


@pytest.mark.parametrize(("connectivity", "node"), [("online", "n-1"), ("offline", "n-2")])
def test_instances_are_narrowed_by_connectivity(ageing: Ageing, connectivity: str, node: str) -> None:
    ageing.keep()

    items = ageing.half.view.items("/instances", connectivity=connectivity)

    assert [instance["node_name"] for instance in items] == [node]


def test_instance_that_is_offline_is_stopped(ageing: Ageing) -> None:
    ageing.keep()

    found = ageing.quiet.shown()

    assert (found["connectivity"], found["view_status"], found["active_session"] is None) == (
        "offline",
        "stopped",
        False,
    )


def test_instance_that_no_longer_counts_is_left_out_of_lists(ageing: Ageing) -> None:
    view = ageing.silent.view

    assert view.get("/instances")["total"] == 0
    assert view.get("/dashboard")["instance_connectivity"]["total"] == 0
    assert ageing.silent.shown()["instance_id"] == ageing.silent.instance_id


@pytest.mark.parametrize(("task", "status"), [("tick", "offline"), ("busy", "running"), ("broken", "failed")])
def test_tasks_of_whom_nobody_is_online(ageing: Ageing, task: str, status: str) -> None:
    found = ageing.silent.view.task(task)["summary"]

    assert (found["view_status"], found["pause_requested"], found["supported_commands"]) == (status, None, [])


def test_control_shows_who_is_offline_and_offers_nothing(ageing: Ageing) -> None:
    [control] = ageing.silent.view.task("tick")["task_control"]["instances"]

    assert (control["connectivity"], control["state_known"], control["pause_requested"]) == ("offline", True, True)
    assert control["supported_commands"] == []


def test_fan_out_where_nobody_is_online_is_no_error(ageing: Ageing) -> None:
    view: View = ageing.silent.view

    answer = view.order({"kind": "ping", "reason": "contract", "target_mode": "all_online"})

    body = answer.json()
    assert (answer.status_code, body["noop_reason_code"]) == (200, "no_online_instances")
    assert body["noop_reason_message"]
    assert body["counts"] == {"dispatched": 0, "queued": 0, "skipped": 0, "rejected": 0, "total": 0}


def test_fan_out_to_all_online_leaves_out_who_is_offline(ageing: Ageing) -> None:
    ageing.keep()

    body = ageing.half.view.order({"kind": "ping", "reason": "contract", "target_mode": "all_online"}).json()

    assert [target["node_name"] for target in body["dispatched"]] == ["n-1"]
    assert body["counts"]["total"] == 1


def test_instance_that_speaks_again_is_online_again(ageing: Ageing) -> None:
    # The last test of this portal: somebody is heard again.
    ageing.silent.tell()

    found = ageing.silent.shown()
    assert (found["connectivity"], found["view_status"]) == ("online", "running")
    assert ageing.silent.view.get()["service_status"] == "online"
