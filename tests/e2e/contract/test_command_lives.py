"""The life of a command until it ends, and beyond: late, again, or never. Source: contract 1.11, 3.5."""

from datetime import datetime, timedelta

import pytest

from tests import frames
from tests.e2e.contract.stage import Actor, Agent, Stage

HELD = {"delivery_mode": "queue_until_reconnect"}


@pytest.fixture(scope="module")
def actor(stage: Stage) -> Actor:
    return stage.enter("lives")


def test_life_of_a_command_that_succeeds(actor: Actor) -> None:
    command_id = actor.make("ping")

    assert actor.take("ping") == command_id
    dispatched = actor.wait_for(command_id, "dispatched")
    actor.send(frames.ack(command_id))
    accepted = actor.wait_for(command_id, "accepted")
    actor.send(frames.result(command_id, result={"ok": True}, duration_ms=7))
    ended = actor.wait_for(command_id, "succeeded")

    assert dispatched["session_id"] == actor.shown()["active_session"]["session_id"]
    assert (dispatched["ack_status"], dispatched["acked_at"], dispatched["finished_at"]) == (None, None, None)
    assert (accepted["ack_status"], accepted["finished_at"]) == ("accepted", None)
    assert (ended["result"], ended["duration_ms"], ended["error_code"]) == ({"ok": True}, 7, None)
    assert ended["created_at"] <= ended["dispatched_at"] <= ended["acked_at"] <= ended["finished_at"]


@pytest.mark.parametrize("status", ["failed", "timeout", "cancelled"])
def test_result_of_any_status_ends_it(actor: Actor, status: str) -> None:
    command_id = actor.make("ping")

    actor.answer("ping", status, result=None, error_code="command_execution_failed", error_message="no such table")

    ended = actor.view.api.command(command_id)
    assert (ended["status"], ended["ack_status"], ended["result"]) == (status, "accepted", None)
    assert (ended["error_code"], ended["error_message"]) == ("command_execution_failed", "no such table")


def test_ack_that_rejects_ends_it(actor: Actor) -> None:
    command_id = actor.make("ping")

    actor.take("ping")
    actor.send(frames.ack(command_id, "rejected", error_code="unsupported_command", error_message="cannot"))

    ended = actor.wait_for(command_id, "rejected")
    assert ended["ack_status"] == "rejected"
    assert (ended["error_code"], ended["error_message"]) == ("unsupported_command", "cannot")
    assert ended["finished_at"] == ended["acked_at"]


def test_result_without_an_ack_counts_as_accepted(actor: Actor) -> None:
    command_id = actor.make("ping")

    actor.take("ping")
    actor.send(frames.result(command_id))

    ended = actor.wait_for(command_id, "succeeded")
    assert (ended["ack_status"], ended["acked_at"] is not None) == ("accepted", True)


def test_second_result_is_refused_and_changes_nothing(actor: Actor) -> None:
    command_id = actor.make("ping")
    actor.answer("ping", result={"n": 1})

    actor.send(frames.result(command_id, "failed", result={"n": 2}))

    assert actor.receive_type("error")["code"] == "duplicate_command_result"
    ended = actor.view.api.command(command_id)
    assert (ended["status"], ended["result"]) == ("succeeded", {"n": 1})


def test_late_ack_is_passed_over(actor: Actor) -> None:
    command_id = actor.make("ping")
    actor.answer("ping")

    actor.send(frames.ack(command_id, "rejected"))

    assert actor.settle() == []
    assert actor.view.api.command(command_id)["status"] == "succeeded"


def test_nobody_answers_for_another(actor: Actor, stage: Stage) -> None:
    other = stage.enter("lives", node="n-2")
    command_id = actor.make("ping")
    actor.take("ping")

    other.send(frames.result(command_id))

    assert other.receive_type("error")["code"] == "unknown_command"
    assert actor.view.api.command(command_id)["status"] == "dispatched"


# --- what nobody answers


@pytest.fixture(scope="module")
def overdue(stage: Stage) -> dict[str, tuple[Actor, str]]:
    """Commands of one second that were not sent, not acknowledged, and not answered; by what becomes of them."""
    away = stage.enter("overdue-away")
    away.leave()
    deaf, stuck = stage.enter("overdue-deaf"), stage.enter("overdue-stuck")
    found = {"unsent": (away, away.make("ping", timeout_s=1, **HELD))}
    found |= {name: (each, each.make("ping", timeout_s=1)) for name, each in (("deaf", deaf), ("stuck", stuck))}
    for name in ("deaf", "stuck"):
        found[name][0].take("ping")
    stuck.send(frames.ack(found["stuck"][1]))
    return found


@pytest.mark.parametrize("name", ["unsent", "deaf"])
def test_command_that_was_not_accepted_in_time_expires(overdue, name: str) -> None:
    actor, command_id = overdue[name]

    ended = actor.wait_for(command_id, "expired")

    assert (ended["error_code"], ended["ack_status"]) == ("command_delivery_expired", None)
    assert ended["finished_at"] == ended["deadline_at"]
    assert datetime.fromisoformat(ended["deadline_at"]) - datetime.fromisoformat(ended["created_at"]) == timedelta(
        seconds=1
    )


def test_command_that_was_not_answered_in_time_times_out(overdue) -> None:
    actor, command_id = overdue["stuck"]

    ended = actor.wait_for(command_id, "timeout")

    assert (ended["error_code"], ended["ack_status"]) == ("command_timeout_elapsed", "accepted")
    assert ended["finished_at"] == ended["deadline_at"]
    assert 0 <= ended["duration_ms"] <= 1000


@pytest.mark.parametrize(("name", "verdict"), [("deaf", "expired"), ("stuck", "timeout")])
def test_late_result_replaces_the_verdict_of_the_clock(overdue, name: str, verdict: str) -> None:
    actor, command_id = overdue[name]
    actor.wait_for(command_id, verdict)

    actor.send(frames.result(command_id, result={"late": True}))

    ended = actor.wait_for(command_id, "succeeded")
    assert (ended["result"], ended["error_code"], ended["error_message"]) == ({"late": True}, None, None)


# --- coming back


def test_command_that_was_not_acknowledged_comes_again(stage: Stage) -> None:
    actor = stage.enter("again")
    command_id = actor.make("ping", timeout_s=60)
    actor.take("ping")
    before = actor.wait_for(command_id, "dispatched")

    back = stage.enter(actor.agent)

    assert back.take("ping") == command_id
    after = back.view.api.command(command_id)
    assert (after["status"], after["session_id"] != before["session_id"]) == ("dispatched", True)
    assert after["dispatched_at"] > before["dispatched_at"]


def test_accepted_command_comes_again_to_the_same_process_only(stage: Stage) -> None:
    actor = stage.enter("again-accepted")
    command_id = actor.make("ping", timeout_s=60)
    actor.take("ping")
    actor.send(frames.ack(command_id))
    actor.wait_for(command_id, "accepted")

    same = stage.enter(actor.agent)
    assert same.take("ping") == command_id
    same.leave()
    restarted = stage.enter(Agent("again-accepted", instance_id=actor.instance_id))
    other_id = restarted.make("sync_now")

    assert restarted.take("sync_now") == other_id
    assert restarted.view.api.command(command_id)["status"] == "accepted"


def test_command_is_rejected_where_the_capability_went(stage: Stage) -> None:
    actor = stage.enter("again-unable")
    actor.leave()
    command_id = actor.make("ping", timeout_s=60, **HELD)

    back = stage.enter(Agent("again-unable", instance_id=actor.instance_id, commands=("sync_now",)))

    ended = back.wait_for(command_id, "rejected")
    assert (ended["error_code"], ended["ack_status"]) == ("command_capability_missing_on_reconnect", None)
