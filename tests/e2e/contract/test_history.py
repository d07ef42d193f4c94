"""GET S/metric-windows, S/events and /events. Source: contract 2.3, 2.4, 4.1, 4.2."""

import pytest

from tests import frames
from tests.e2e.contract import shapes
from tests.e2e.contract.orders import FAILURE, SUMMARY, Orders
from tests.e2e.contract.stage import Ago, Stage, ago, began
from tests.e2e.harness.api import Api

NEWEST_FIRST = ["o-2", "o-3", "o-4a", "o-4b", "o-5b", "o-5c", "o-5a", "o-6", "o-hold", "o-40"]


def _ids(items) -> list[str]:
    return [event["event_id"] for event in items]


def _windows(items) -> list[tuple[str, str]]:
    return [(window["task_name"], window["window_id"]) for window in items]


def test_windows_have_the_fields_of_the_contract(orders: Orders) -> None:
    page = orders.view.get("/metric-windows")

    assert set(page) == shapes.PAGE
    assert [set(window) for window in page["items"]] == [shapes.METRIC_WINDOW] * 5


def test_windows_come_by_end_then_task_then_id(orders: Orders) -> None:
    windows = orders.view.items("/metric-windows")

    assert _windows(windows) == [
        ("charge", "w-5"),
        ("charge", "w-5"),
        ("charge", "w-7"),
        ("ship", "w-10"),
        ("charge", "w-40"),
    ]


def test_windows_of_one_end_come_by_task_then_id(stage: Stage) -> None:
    actor = stage.enter("even")
    windows = [frames.window(task, window_id) for task, window_id in (("b", "1"), ("a", "2"), ("a", "1"))]
    actor.tell(actor.agent.metrics(*windows, window={"started_at": ago(3), "ended_at": ago(2)}))

    assert _windows(actor.view.items("/metric-windows")) == [("a", "1"), ("a", "2"), ("b", "1")]


def test_window_is_as_it_was_sent(orders: Orders) -> None:
    window = orders.view.items("/metric-windows", instance_id=orders.first.instance_id, ended_after=ago(5))[0]

    received_at = window.pop("received_at")
    assert received_at == window.pop("created_at")
    assert window == {
        "instance_id": orders.first.instance_id,
        "task_name": "charge",
        "window_id": "w-5",
        "window_started_at": ago(5.5),
        "window_ended_at": ago(5),
        "fetched": 10,
        "started": 8,
        "succeeded": 6,
        "retried": 1,
        "failed": 2,
        "dead_lettered": 2,
        "cancelled": 0,
        "timeouts": 1,
        "inflight": 3,
        "avg_duration_ms": 100.0,
        "p95_duration_ms": 250.0,
    }


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"task_name": "ship"}, ["w-10"]),
        ({"ended_after": Ago(7)}, ["w-5", "w-5", "w-7"]),
        ({"ended_before": Ago(10)}, ["w-10", "w-40"]),
        ({"ended_after": Ago(10), "ended_before": Ago(7)}, ["w-7", "w-10"]),
        ({"limit": 2, "offset": 3}, ["w-10", "w-40"]),
        ({"task_name": "nothing"}, []),
    ],
)
def test_windows_are_narrowed_and_times_inclusive(orders: Orders, query, ids) -> None:
    assert [window["window_id"] for window in orders.view.items("/metric-windows", **query)] == ids


def test_windows_of_one_instance(orders: Orders) -> None:
    windows = orders.view.items("/metric-windows", instance_id=orders.second.instance_id)

    assert [(window["instance_id"], window["inflight"]) for window in windows] == [(orders.second.instance_id, 5)]


def test_window_that_comes_again_counts_once(stage: Stage) -> None:
    actor = stage.enter("repeating")
    frame = actor.agent.metrics(frames.window(fetched=5), window={"started_at": ago(3), "ended_at": ago(2)})
    event = actor.agent.events(frames.event("failed", "repeated", occurred_at=ago(1)))

    actor.tell(frame, event, frame, event)

    assert [window["fetched"] for window in actor.view.items("/metric-windows")] == [5]
    assert _ids(actor.view.items("/events")) == ["repeated"]
    assert actor.view.get()["error_count"] == 1


def test_events_have_the_fields_of_the_contract(orders: Orders) -> None:
    page = orders.view.get("/events")

    assert set(page) == shapes.PAGE
    assert [set(event) for event in page["items"]] == [shapes.EVENT] * 10


def test_events_come_by_time_then_id(orders: Orders) -> None:
    page = orders.view.get("/events")

    assert _ids(page["items"]) == NEWEST_FIRST
    assert (page["total"], page["limit"], page["offset"]) == (10, 50, 0)


def test_event_is_as_it_was_sent(orders: Orders) -> None:
    event = orders.view.items("/events", kind="failed", task_name="charge")[1]

    received_at = event.pop("received_at")
    assert received_at == event.pop("created_at")
    assert event == {
        "event_id": "o-5c",
        "instance_id": orders.first.instance_id,
        "task_name": "charge",
        "kind": "failed",
        "occurred_at": ago(5),
        "attempts": 2,
        "duration_ms": 70,
        "failure_kind": "error",
        "exception_type": FAILURE["exception_type"],
        "message": FAILURE["message"],
        "traceback": FAILURE["traceback"],
        "meta": {"source": "charges"},
        "source_label": "charges",
        "level": "error",
    }


def test_event_that_says_little_says_null(orders: Orders) -> None:
    event = orders.view.items("/events", instance_id=orders.second.instance_id)[0]

    absent = ("attempts", "duration_ms", "failure_kind", "exception_type", "message", "traceback")
    assert (event["event_id"], [event[name] for name in absent]) == ("o-2", [None] * 6)


def test_meta_is_kept_whole(orders: Orders) -> None:
    event = orders.view.items("/events", kind="succeeded")[0]

    assert event["meta"] == {"source": "charges", "notification": SUMMARY}


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        ("failed", "error"),
        ("dead_lettered", "error"),
        ("retried", "warn"),
        ("started", "info"),
        ("cancelled", "info"),
        ("succeeded", "info"),
    ],
)
def test_level_of_an_event(orders: Orders, kind: str, level: str) -> None:
    events = orders.view.items("/events", kind=kind)

    assert {(event["kind"], event["level"]) for event in events} == {(kind, level)}


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"task_name": "hold"}, ["o-hold"]),
        ({"kind": "failed"}, ["o-4b", "o-5c", "o-hold", "o-40"]),
        ({"occurred_after": Ago(4)}, ["o-2", "o-3", "o-4a", "o-4b"]),
        ({"occurred_before": Ago(9)}, ["o-hold", "o-40"]),
        ({"occurred_after": Ago(6), "occurred_before": Ago(5.5)}, ["o-5a", "o-6"]),
        ({"limit": 2, "offset": 8}, ["o-hold", "o-40"]),
        ({"offset": 10}, []),
    ],
)
def test_events_are_narrowed_and_times_inclusive(orders: Orders, query, ids) -> None:
    assert _ids(orders.view.items("/events", **query)) == ids


@pytest.mark.parametrize("spelling", ["offset", "z", "naive", "epoch"])
def test_times_are_read_in_every_spelling(orders: Orders, spelling: str) -> None:
    moment = ago(4)
    written = {
        "offset": moment,
        "z": moment.replace("+00:00", "Z"),
        "naive": moment.removesuffix("+00:00"),
        "epoch": str(int(began().timestamp()) - 240),
    }[spelling]

    assert _ids(orders.view.items("/events", occurred_after=written)) == ["o-2", "o-3", "o-4a", "o-4b"]


def test_events_of_the_fleet_name_their_service(api: Api, orders: Orders) -> None:
    page = api.get("/api/v1/events", service_name="orders")

    assert set(page) == shapes.PAGE
    assert [set(event) for event in page["items"]] == [shapes.FLEET_EVENT] * 10
    assert {(event["service_name"], event["environment"]) for event in page["items"]} == {("orders", "prod")}
    assert _ids(page["items"]) == NEWEST_FIRST


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"environment": "dev"}, []),
        ({"environment": "prod", "kind": "retried"}, ["o-5a"]),
        ({"kind": "failed", "occurred_before": Ago(9)}, ["o-hold", "o-40"]),
        ({"occurred_after": Ago(3)}, ["o-2", "o-3"]),
        ({"limit": 1, "offset": 1}, ["o-3"]),
    ],
)
def test_events_of_the_fleet_are_narrowed(api: Api, orders: Orders, query, ids) -> None:
    assert _ids(api.get("/api/v1/events", **({"service_name": "orders"} | query))["items"]) == ids


def test_history_of_a_task_holds_runtime_events(orders: Orders) -> None:
    page = orders.view.get("/tasks/charge/events")

    assert set(page) == shapes.PAGE | shapes.LOOKBACK
    assert [set(item) for item in page["items"]] == [shapes.HISTORY_ITEM] * 8
    assert [item["id"] for item in page["items"]] == [
        f"runtime:{event_id}" for event_id in NEWEST_FIRST if event_id not in ("o-hold", "o-40")
    ]
    assert (page["total"], page["limit"], page["offset"]) == (8, 20, 0)


def test_history_item_of_an_event(orders: Orders) -> None:
    item = orders.view.items("/tasks/charge/events", kind="failed")[1]

    created_at = item.pop("created_at")
    assert created_at > ago(0)
    assert item == {
        "id": "runtime:o-5c",
        "source_type": "runtime",
        "instance_id": orders.first.instance_id,
        "task_name": "charge",
        "kind": "failed",
        "occurred_at": ago(5),
        "level": "error",
        "message": "declined",
        "meta": {"source": "charges"},
        "attempts": 2,
        "duration_ms": 70,
        "failure_kind": "error",
        "exception_type": "CardError",
        "traceback": "Traceback …",
        "source_label": "charges",
        "command_id": None,
        "command_status": None,
        "ack_status": None,
        "updated_at": None,
    }


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"kind": ["succeeded", "retried"]}, ["o-3", "o-5a"]),
        ({"kind": "pause_task"}, []),
        ({"limit": 2, "offset": 1}, ["o-3", "o-4a"]),
        ({"lookback_minutes": 60, "offset": 8}, ["o-40"]),
        ({"lookback_minutes": 1}, []),
    ],
)
def test_history_of_a_task_is_narrowed(orders: Orders, query, ids) -> None:
    assert [item["id"] for item in orders.view.items("/tasks/charge/events", **query)] == [
        f"runtime:{event_id}" for event_id in ids
    ]


def test_one_bad_record_costs_only_itself(stage: Stage) -> None:
    actor = stage.enter("careless")

    actor.tell(
        actor.agent.events(
            frames.event("failed", "good", occurred_at=ago(1)),
            frames.event("fetched", "of-no-known-kind", occurred_at=ago(1)),
            frames.event("failed", occurred_at=ago(1)) | {"event_id": ""},
        )
    )

    assert _ids(actor.view.items("/events")) == ["good"]
