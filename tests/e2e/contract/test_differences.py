"""Where the portal means to differ from the reference control plane, as docs/api.md lists it. Source: contract W24.

What else is listed there is asserted where it belongs: sums and lists in test_services, orders in test_command_bodies,
late results and redelivery in test_commands, names in test_names.
"""

import pytest

from tests import frames
from tests.e2e.contract.orders import FAILURE, Orders
from tests.e2e.contract.stage import Actor, Agent, Stage, ago
from tests.e2e.harness.api import Api


@pytest.fixture(scope="module")
def slow(stage: Stage) -> Actor:
    """Seven fetched in a quarter of an hour, of which one failed for good and was dead-lettered."""
    actor = stage.enter("slow")
    window = frames.window("tick", fetched=7, started=7, succeeded=3, failed=1, dead_lettered=1)
    actor.tell(
        actor.agent.sync(frames.task("tick")),
        actor.agent.metrics(window, window={"started_at": ago(3), "ended_at": ago(2)}),
        actor.agent.events(
            frames.event("dead_lettered", failure=FAILURE, occurred_at=ago(2)),
            frames.event("failed", failure=FAILURE, occurred_at=ago(2)),
        ),
        status="degraded",
    )
    return actor


def _everywhere(slow: Actor, figure: str) -> set[float]:
    """The figure of the service and of its only task, wherever one of them is shown."""
    [listed] = slow.view.api.get("/api/v1/services", q="slow")["items"]
    detail = slow.view.task("tick")
    shown = [
        listed,
        slow.view.get(),
        slow.view.get("/dashboard")["service"],
        slow.view.get(f"/instances/{slow.instance_id}")["service"],
        *slow.view.items("/tasks"),
        detail["service"],
        detail["summary"],
    ]
    return {each[figure] for each in shown}


def test_throughput_of_a_slow_service_is_not_nothing(slow: Actor) -> None:
    # The reference says 0.
    assert _everywhere(slow, "throughput_per_min") == {0.47}


def test_dead_lettered_delivery_is_one_error(slow: Actor) -> None:
    # The reference says 2.
    assert _everywhere(slow, "error_count") == {1}


def test_dead_lettered_delivery_is_one_outcome(slow: Actor) -> None:
    # The reference says 60.0.
    assert _everywhere(slow, "success_rate") == {75.0}


def test_degraded_instance_runs(slow: Actor) -> None:
    found = slow.shown()

    # The reference says failed.
    assert (found["status"], found["view_status"]) == ("degraded", "running")


def test_totals_are_of_what_is_asked_for(api: Api, orders: Orders) -> None:
    summary = api.get("/api/v1/services", q="orders", environment="staging")["summary"]

    # The reference counts the tasks of all services.
    assert (summary["total_tasks"], summary["failing_tasks"]) == (1, 0)


def test_second_process_of_an_identity_is_heard_from_its_first_heartbeat(stage: Stage) -> None:
    first = stage.enter("reborn")
    first.agent.sequence = 10**6
    first.tell()

    second = stage.enter(Agent("reborn", instance_id=first.instance_id))
    second.tell()

    # The reference passes over a million heartbeats.
    assert second.shown()["last_heartbeat_sequence"] == 1


def test_socket_that_was_superseded_is_closed(stage: Stage) -> None:
    first = stage.enter("replaced")

    stage.enter(first.agent)

    # The reference leaves it open and takes what comes.
    assert first.wait_for_close() == 4001


def test_custom_metrics_are_asked_for(stage: Stage) -> None:
    session = stage.enter("asked").shown()["active_session"]

    # The reference accepts only what was requested, and no client requests it.
    assert ("telemetry.custom_metrics" in session["capabilities"], session["accepted_capabilities"][-1]) == (
        False,
        "telemetry.custom_metrics",
    )


def test_time_of_a_clock_that_runs_ahead_is_brought_back(stage: Stage) -> None:
    actor = stage.enter("ahead")
    actor.tell(actor.agent.events(frames.event("started", occurred_at=ago(-600))))

    [event] = actor.view.items("/events")

    # The reference keeps it, and for ten hours it is the newest of all.
    assert event["occurred_at"] < ago(-70)
    assert event["meta"]["reported_occurred_at"] == ago(-600)
