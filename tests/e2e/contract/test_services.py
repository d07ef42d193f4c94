"""GET /services, S and S/dashboard. Source: contract 4.1 to 4.3."""

import pytest

from tests import frames
from tests.e2e.contract import shapes
from tests.e2e.contract.orders import Orders
from tests.e2e.contract.stage import Stage, View, ago
from tests.e2e.harness.api import Api

HERE = ("orders", "dev"), ("orders", "prod"), ("Orders 100%", "staging")


def _names(page) -> list[tuple[str, str]]:
    return [(item["name"], item["environment"]) for item in page["items"]]


def test_list_has_the_fields_of_the_contract(api: Api, orders: Orders) -> None:
    page = api.get("/api/v1/services", q="orders")

    assert set(page) == shapes.SERVICE_PAGE
    assert [set(item) for item in page["items"]] == [shapes.SERVICE] * 3
    assert set(page["summary"]) == shapes.FLEET


def test_services_of_one_status_come_by_environment_and_name(api: Api, orders: Orders) -> None:
    page = api.get("/api/v1/services", q="ORDERS")

    assert _names(page) == list(HERE)
    assert (page["total"], page["limit"], page["offset"]) == (3, 50, 0)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"environment": "prod"}, [HERE[1]]),
        ({"source_kind": "sqs_queue"}, [HERE[1]]),
        ({"source_kind": "interval"}, list(HERE)),
        ({"source_kind": "unheard_of"}, []),
        ({"q": "rders 100%"}, [HERE[2]]),
        ({"q": "orders_"}, []),
        ({"limit": 1, "offset": 1}, [HERE[1]]),
        ({"offset": 3}, []),
    ],
)
def test_list_is_narrowed(api: Api, orders: Orders, query, found) -> None:
    assert _names(api.get("/api/v1/services", **({"q": "orders"} | query))) == found


def test_kinds_of_sources_are_counted_by_service(api: Api, orders: Orders) -> None:
    page = api.get("/api/v1/services", q="orders", source_kind="sqs_queue")

    assert page["source_kind_counts"] == {"interval": 3, "rabbitmq_queue": 1, "sqs_queue": 1}


def test_totals_are_of_all_pages(api: Api, orders: Orders) -> None:
    page = api.get("/api/v1/services", q="orders", limit=1)

    assert page["summary"] == {
        "total_services": 3,
        "online_services": 3,
        "attention_services": 0,
        "offline_services": 0,
        "ready_services": 3,
        "total_instances": 7,
        "online_instances": 7,
        "total_tasks": 6,
        "failing_tasks": 2,
    }


def test_service_tells_what_it_is_and_how_it_fares(orders: Orders) -> None:
    service = orders.view.get()

    last_seen_at = max(actor.shown()["last_seen_at"] for actor in orders.actors)
    assert {name: value for name, value in service.items() if name not in ("created_at", "updated_at")} == {
        "name": "orders",
        "environment": "prod",
        "description": "Takes orders",
        "latest_deployment_version": "2.0",
        "service_status": "online",
        "view_status": "running",
        "latest_topology_hash": "sha256:b",
        "latest_sync_at": ago(20),
        "instance_count": 5,
        "online_instance_count": 5,
        "standby_instance_count": 0,
        "last_seen_at": last_seen_at,
        "uptime_reference_at": last_seen_at,
        "source_kinds": ["interval", "rabbitmq_queue", "sqs_queue"],
        "task_count": 4,
        "failing_task_count": 2,
        "online_task_count": 2,
        # 9 of 12 outcomes: charge 8 of 11, ship 1 of 1.
        "success_rate": 75.0,
        # 16 of charge and 1 of ship in 15 minutes.
        "throughput_per_min": 1.13,
        # charge 2, hold 1.
        "error_count": 3,
    }


def test_list_and_every_detail_tell_the_same_of_a_service(api: Api, orders: Orders) -> None:
    listed = api.get("/api/v1/services", q="orders", environment="prod")["items"][0]

    told = [
        orders.view.get(),
        orders.view.get("/dashboard")["service"],
        orders.view.task("charge")["service"],
        orders.view.get(f"/instances/{orders.first.instance_id}")["service"],
    ]

    assert told == [listed] * 4


def test_errors_of_a_service_are_the_sum_of_those_of_its_tasks(stage: Stage) -> None:
    actor = stage.enter("sums")
    retried = frames.window("slow", timeouts=2, retried=2)
    failed = {"kind": "timeout", "exception_type": "TimeoutError"}
    # Of the second task's timeout the event came, and the window did not yet.
    actor.tell(
        actor.agent.sync(frames.task("slow"), frames.task("slower")),
        actor.agent.metrics(retried, window={"started_at": ago(3), "ended_at": ago(2)}),
        actor.agent.events(frames.event("failed", task_name="slower", failure=failed, occurred_at=ago(1))),
    )

    of_tasks = {task["task_name"]: task["error_count"] for task in actor.view.items("/tasks")}

    assert of_tasks == {"slow": 2, "slower": 1}
    assert actor.view.get()["error_count"] == 3


def test_description_is_cleared_by_null_and_kept_by_silence(stage: Stage) -> None:
    described = stage.enter("described", description="first")
    silent = stage.enter("described")
    kept = described.view.get()["description"]
    stage.enter("described", description=None)

    assert (kept, silent.view.get()["description"]) == ("first", None)


def test_dashboard_has_the_fields_of_the_contract(orders: Orders) -> None:
    board = orders.view.get("/dashboard")

    assert set(board) == shapes.DASHBOARD
    assert set(board["service"]) == shapes.SERVICE
    assert set(board["command_overview"]) == shapes.COMMAND_OVERVIEW
    assert set(board["command_overview"]["statuses"]) == shapes.COMMAND_STATUSES | {"in_flight", "total"}
    assert [set(event) for event in board["recent_events"]] == [shapes.EVENT] * 10


def test_dashboard_counts_instances(orders: Orders) -> None:
    board = orders.view.get("/dashboard")

    # Whoever says anything on the socket was seen by that: nobody can be there and never have reported.
    assert board["instance_connectivity"] == {"total": 5, "online": 5, "offline": 0, "never_reported": 0}
    assert board["instance_statuses"] == {"ok": 1, "degraded": 1, "starting": 1, "error": 1, "unknown": 1}
    assert board["command_overview"]["active_session_count"] == 5


def test_topologies_that_differ_are_shown(orders: Orders) -> None:
    board = orders.view.get("/dashboard")

    assert (board["topology_hashes"], board["topology_consistent"]) == (["sha256:a", "sha256:b"], False)


def test_one_topology_is_consistent(api: Api, orders: Orders) -> None:
    board = View(api, "orders", "dev").get("/dashboard")

    assert (board["topology_hashes"], board["topology_consistent"]) == (["sha256:t"], True)


def test_figures_are_over_the_lookback(orders: Orders) -> None:
    board = orders.view.get("/dashboard", lookback_minutes=60)

    # What happened 40 minutes ago counts too: 100 fetched, half of them failed, one told by an event.
    assert (board["service"]["success_rate"], board["service"]["throughput_per_min"]) == (52.68, 1.95)
    assert (board["service"]["error_count"], board["failing_task_count"], board["task_count"]) == (4, 2, 4)


@pytest.mark.parametrize(("query", "minutes"), [({}, 15), ({"lookback_minutes": 1440}, 1440)])
@pytest.mark.parametrize("rest", ["/dashboard", "/tasks", "/tasks/charge", "/tasks/charge/events", "/instances/{id}"])
def test_lookback_is_told(orders: Orders, rest: str, query, minutes: int) -> None:
    answer = orders.view.get(rest.format(id=orders.first.instance_id), **query)

    assert answer["lookback_minutes"] == minutes
    assert ago(minutes) <= answer["lookback_started_at"] <= ago(minutes - 10)


def test_recent_events_are_limited(orders: Orders) -> None:
    board = orders.view.get("/dashboard", recent_event_limit=2)

    assert [event["event_id"] for event in board["recent_events"]] == ["o-2", "o-3"]
