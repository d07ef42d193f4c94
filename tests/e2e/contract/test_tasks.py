"""GET S/tasks and S/tasks/{task}. Source: contract 4.1 to 4.3."""

from datetime import UTC, datetime, timedelta

import pytest

from tests import frames
from tests.e2e.contract import shapes
from tests.e2e.contract.orders import CHARGE, SHIPMENTS_URL, Orders
from tests.e2e.contract.stage import TASK_KINDS, Stage, ago, began


def _tasks(orders: Orders, **query):
    return {task["task_name"]: task for task in orders.view.items("/tasks", **query)}


def test_page_has_the_fields_of_the_contract(orders: Orders) -> None:
    page = orders.view.get("/tasks")

    assert set(page) == shapes.PAGE | shapes.LOOKBACK
    assert [set(task) for task in page["items"]] == [shapes.TASK] * 5
    assert [set(task["event_counts"]) for task in page["items"]] == [shapes.EVENT_KINDS] * 5


def test_tasks_come_by_latest_activity_then_name_backwards(orders: Orders) -> None:
    page = orders.view.get("/tasks")

    assert [task["task_name"] for task in page["items"]] == ["charge", "hold", "ship", "sweep", "extra"]
    assert (page["total"], page["limit"], page["offset"]) == (5, 50, 0)


@pytest.mark.parametrize(
    ("query", "names"),
    [({"task_name": "ship"}, ["ship"]), ({"task_name": "shi"}, []), ({"limit": 2, "offset": 1}, ["hold", "ship"])],
)
def test_tasks_are_narrowed(orders: Orders, query, names) -> None:
    assert [task["task_name"] for task in orders.view.items("/tasks", **query)] == names


def test_definition_is_that_of_the_sync(orders: Orders) -> None:
    charge = _tasks(orders)["charge"]

    assert charge["description"] == CHARGE["description"]
    assert (charge["source_kind"], charge["source_name"]) == ("rabbitmq_queue", "charges")
    assert charge["source_config"] == CHARGE["source"]["config"]
    assert charge["emit"] == CHARGE["emit"]
    assert (charge["concurrency"], charge["timeout_s"], charge["retry_policy"]) == (2, 1.5, CHARGE["retry"])
    assert charge["topology_hash"] == "sha256:b"


def test_task_without_parts_says_null(orders: Orders) -> None:
    sweep = _tasks(orders)["sweep"]

    absent = ("description", "source_kind", "source_name", "source_config", "concurrency", "timeout_s", "retry_policy")
    assert [sweep[name] for name in absent] == [None] * len(absent)
    assert (sweep["emit"], sweep["source_label"], sweep["sink_label"]) == ([], None, None)


def test_task_that_only_a_heartbeat_knows_is_shown(orders: Orders) -> None:
    extra = _tasks(orders)["extra"]

    assert (extra["topology_hash"], extra["config_yaml"], extra["pause_requested"]) == (None, None, False)


def test_windows_of_all_instances_are_summed(orders: Orders) -> None:
    charge = _tasks(orders)["charge"]

    assert {name: charge[name] for name in shapes.COUNTERS} == {
        "fetched": 16,
        "started": 11,
        "succeeded": 8,
        "retried": 1,
        "failed": 2,
        "dead_lettered": 2,
        "cancelled": 1,
        "timeouts": 1,
    }
    assert charge["metric_window_count"] == 3
    assert (charge["latest_window_started_at"], charge["latest_window_ended_at"]) == (ago(5.5), ago(5))


def test_average_is_weighted_by_starts_and_p95_the_largest(orders: Orders) -> None:
    charge = _tasks(orders)["charge"]

    # 8 at 100 ms, 2 of which no average was told, 1 at 40 ms.
    assert charge["weighted_avg_duration_ms"] == pytest.approx(840 / 11)
    assert charge["max_p95_duration_ms"] == 250


def test_durations_are_null_without_windows(orders: Orders) -> None:
    hold = _tasks(orders)["hold"]

    assert (hold["weighted_avg_duration_ms"], hold["max_p95_duration_ms"], hold["metric_window_count"]) == (
        None,
        None,
        0,
    )


def test_events_are_counted_by_kind(orders: Orders) -> None:
    charge = _tasks(orders)["charge"]

    assert charge["event_counts"] == {
        "started": 1,
        "failed": 2,
        "retried": 1,
        "dead_lettered": 2,
        "cancelled": 1,
        "succeeded": 1,
    }
    assert (charge["last_event_at"], charge["uptime_reference_at"]) == (ago(2), ago(2))


@pytest.mark.parametrize(
    ("task", "rate", "per_minute", "errors"),
    [("charge", 72.73, 1.07, 2), ("hold", 100.0, 0.0, 1), ("ship", 100.0, 0.07, 0), ("sweep", 100.0, 0.0, 0)],
)
def test_figures_of_a_task(orders: Orders, task: str, rate: float, per_minute: float, errors: int) -> None:
    found = _tasks(orders)[task]

    assert (found["success_rate"], found["throughput_per_min"], found["error_count"]) == (rate, per_minute, errors)


def test_figures_are_over_the_lookback(orders: Orders) -> None:
    charge = _tasks(orders, lookback_minutes=60)["charge"]

    assert (charge["fetched"], charge["error_count"], charge["metric_window_count"]) == (116, 3, 4)
    # 58 of 58 + 52 + 1.
    assert (charge["success_rate"], charge["throughput_per_min"]) == (52.25, 1.93)


def test_latest_activity_is_told_however_old(orders: Orders) -> None:
    charge = _tasks(orders, lookback_minutes=1)["charge"]

    assert (charge["metric_window_count"], charge["error_count"]) == (0, 0)
    assert (charge["latest_window_ended_at"], charge["last_event_at"]) == (ago(5), ago(2))


@pytest.mark.parametrize(
    ("task", "status"),
    [("charge", "failed"), ("hold", "paused"), ("ship", "running"), ("sweep", "idle"), ("extra", "idle")],
)
def test_view_status_of_a_task(orders: Orders, task: str, status: str) -> None:
    assert _tasks(orders)[task]["view_status"] == status


@pytest.mark.parametrize(("task", "paused"), [("charge", False), ("hold", True), ("ship", None)])
def test_pause_is_what_any_online_instance_says(orders: Orders, task: str, paused: bool | None) -> None:
    assert _tasks(orders)[task]["pause_requested"] is paused


@pytest.mark.parametrize(
    ("task", "kinds"),
    [
        ("charge", set(TASK_KINDS)),
        # The second offers discard_dead_letters, which its session did not; of three the list is unknown.
        ("hold", {"pause_task", "resume_task"}),
        # Nobody told of it: what every agent knows, as far as a session has it.
        ("ship", {"pause_task", "resume_task", "restart_task"}),
    ],
)
def test_supported_commands_are_those_of_task_and_session(orders: Orders, task: str, kinds: set[str]) -> None:
    supported = _tasks(orders)[task]["supported_commands"]

    assert len(supported) == len(kinds)
    assert set(supported) == kinds


@pytest.mark.parametrize(("task", "attempts"), [("charge", 3), ("hold", 1), ("sweep", 0)])
def test_retry_attempts(orders: Orders, task: str, attempts: int) -> None:
    assert _tasks(orders)[task]["retry_attempts"] == attempts


@pytest.mark.parametrize(
    ("task", "source", "sink"),
    [("charge", "charges", "ledger"), ("ship", "shipments", "shipped"), ("hold", "hold-source", "work")],
)
def test_labels_are_short_names(orders: Orders, task: str, source: str, sink: str) -> None:
    found = _tasks(orders)[task]

    assert (found["source_label"], found["sink_label"]) == (source, sink)


def test_queue_of_sqs_keeps_its_name_beside_the_label(orders: Orders) -> None:
    assert _tasks(orders)["ship"]["source_name"] == SHIPMENTS_URL


def test_config_is_text_to_look_at(orders: Orders) -> None:
    lines = _tasks(orders)["charge"]["config_yaml"].splitlines()

    assert lines[:5] == ['id: "charge"', 'topology_hash: "sha256:b"', "concurrency: 2", "timeout_s: 1.5", "retry:"]


def test_detail_has_the_fields_of_the_contract(orders: Orders) -> None:
    detail = orders.view.task("charge")

    assert set(detail) == shapes.TASK_DETAIL
    assert set(detail["service"]) == shapes.SERVICE
    assert set(detail["summary"]) == shapes.TASK
    assert set(detail["task_control"]) == {"task_name", "instances"}
    assert [set(each) for each in detail["task_control"]["instances"]] == [shapes.TASK_CONTROL] * 5
    assert {frozenset(point) for point in detail["recent_metric_points"]} == {frozenset(shapes.METRIC_POINT)}
    assert [set(window) for window in detail["recent_metric_windows"]] == [shapes.METRIC_WINDOW] * 3
    assert [set(event) for event in detail["recent_events"]] == [shapes.EVENT] * 8


@pytest.mark.parametrize("task", ["charge", "hold", "sweep", "extra"])
def test_detail_and_list_tell_the_same_of_a_task(orders: Orders, task: str) -> None:
    detail = orders.view.task(task)

    assert detail["summary"] == _tasks(orders)[task]
    assert detail["task_name"] == task


def test_control_names_every_instance(orders: Orders) -> None:
    control = orders.view.task("charge")["task_control"]

    found = {each["node_name"]: each for each in control["instances"]}
    assert control["task_name"] == "charge"
    assert {node: each["instance_id"] for node, each in found.items()} == {
        f"n-{number}": actor.instance_id for number, actor in enumerate(orders.actors, 1)
    }
    assert [(node, each["status"]) for node, each in sorted(found.items())] == [
        ("n-1", "ok"),
        ("n-2", "degraded"),
        ("n-3", "starting"),
        ("n-4", "unknown"),
        ("n-5", "error"),
    ]
    assert {each["connectivity"] for each in found.values()} == {"online"}


def test_control_tells_what_the_instance_said(orders: Orders) -> None:
    control = orders.view.task("charge")["task_control"]["instances"][0]

    assert {name: control[name] for name in ("state_known", "pause_requested", "paused", "accepting_new_work")} == {
        "state_known": True,
        "pause_requested": False,
        "paused": False,
        "accepting_new_work": True,
    }
    counts = ("runner_count", "parked_runner_count", "fetching_runner_count", "inflight_task_count")
    assert [control[name] for name in counts] == [2, 0, 1, 3]
    assert sorted(control["supported_commands"]) == sorted(TASK_KINDS)


def test_control_of_an_instance_that_said_nothing_is_unknown(orders: Orders) -> None:
    control = orders.view.task("charge")["task_control"]["instances"][3]

    assert control["state_known"] is False
    assert {control[name] for name in ("pause_requested", "paused", "accepting_new_work", "runner_count")} == {None}
    assert control["supported_commands"] == ["pause_task", "resume_task"]


@pytest.mark.parametrize("minutes", [1, 15, 60])
def test_metric_points_are_the_minutes_of_the_lookback(orders: Orders, minutes: int) -> None:
    points = orders.view.task("charge", lookback_minutes=minutes)["recent_metric_points"]

    starts = [datetime.fromisoformat(point["bucket_started_at"]) for point in points]
    ends = [datetime.fromisoformat(point["bucket_ended_at"]) for point in points]
    assert len(points) == minutes
    assert starts[1:] == ends[:-1]
    assert {end - start for start, end in zip(starts, ends, strict=True)} == {timedelta(minutes=1)}
    # The last is the minute that runs.
    assert began() <= starts[-1] <= datetime.now(UTC)


def test_metric_point_merges_the_windows_that_ended_in_its_minute(orders: Orders) -> None:
    points = {point["bucket_started_at"]: point for point in orders.view.task("charge")["recent_metric_points"]}

    assert points[ago(5)] == {
        "bucket_started_at": ago(5),
        "bucket_ended_at": ago(4),
        "reported_window_count": 2,
        "fetched": 15,
        "started": 10,
        "succeeded": 8,
        "retried": 1,
        "failed": 2,
        "dead_lettered": 2,
        "cancelled": 0,
        "timeouts": 1,
        "inflight": 5,
        "avg_duration_ms": 80.0,
        "p95_duration_ms": 250.0,
    }


def test_metric_points_without_windows_are_empty(orders: Orders) -> None:
    points = orders.view.task("charge")["recent_metric_points"]

    empty = [point for point in points if point["bucket_started_at"] not in (ago(5), ago(7))]
    assert len(empty) == 13
    assert {point["reported_window_count"] for point in empty} == {0}
    assert {point["inflight"] for point in empty} == {0}
    assert {point["avg_duration_ms"] for point in empty} == {None}
    assert {sum(point[name] for name in shapes.COUNTERS) for point in empty} == {0}


def test_newest_windows_and_events_are_limited(orders: Orders) -> None:
    detail = orders.view.task("charge", metric_window_limit=1, event_limit=2, lookback_minutes=60)

    assert [window["window_id"] for window in detail["recent_metric_windows"]] == ["w-5"]
    assert [event["event_id"] for event in detail["recent_events"]] == ["o-2", "o-3"]


def test_service_that_never_synced_shows_the_tasks_that_it_reported(stage: Stage) -> None:
    actor = stage.enter("unsynced", commands=("ping",))
    bounds = {"started_at": ago(3), "ended_at": ago(2)}
    actor.tell(
        actor.agent.metrics(frames.window("by-window"), window=bounds),
        actor.agent.events(frames.event("started", task_name="by-event", occurred_at=ago(1))),
    )

    names = [task["task_name"] for task in actor.view.items("/tasks")]

    assert names == ["by-event", "by-window"]
    assert actor.view.get()["task_count"] == 2


def test_sync_takes_away_the_tasks_that_it_lacks(stage: Stage) -> None:
    actor = stage.enter("shrinking")
    actor.tell(actor.agent.sync(frames.task("kept"), frames.task("gone"), topology_hash="sha256:1"))
    before = [task["task_name"] for task in actor.view.items("/tasks")]
    actor.tell(actor.agent.sync(frames.task("kept"), topology_hash="sha256:2"))

    assert (before, [task["task_name"] for task in actor.view.items("/tasks")]) == (["kept", "gone"], ["kept"])
    assert actor.view.ask("/tasks/gone").status_code == 404
