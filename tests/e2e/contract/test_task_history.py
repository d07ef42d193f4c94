"""GET S/tasks/{task}/events where commands are among what happened. Source: contract 4.2, 4.3."""

from dataclasses import dataclass

import pytest

from tests import frames
from tests.e2e.contract import shapes
from tests.e2e.contract.stage import TASK_KINDS, Actor, Stage, ago

OF_EVENTS = ("attempts", "duration_ms", "failure_kind", "exception_type", "traceback", "source_label")


@dataclass
class Ledger:
    """A task with an event of a minute ago and commands since then, each under what became of it."""

    actor: Actor
    commands: dict[str, str]

    def items(self, **query):
        return self.actor.view.items("/tasks/post/events", **query)

    def item(self, name: str):
        [found] = [item for item in self.items() if item["command_id"] == self.commands[name]]
        return found


@pytest.fixture(scope="module")
def ledger(stage: Stage) -> Ledger:
    actor = stage.enter("ledger")
    actor.tell(
        actor.agent.sync(frames.task("post"), frames.task("other")),
        actor.agent.events(
            frames.event("failed", "l-1", task_name="post", occurred_at=ago(1)),
            frames.event("failed", "l-other", task_name="other", occurred_at=ago(1)),
        ),
        controls=[frames.control(name, *TASK_KINDS) for name in ("post", "other")],
    )

    def make(kind: str, task: str = "post", **args) -> str:
        body = {"kind": kind, "reason": f"why {kind}", "target_mode": "selected_instances"}
        targets = {"target_instance_ids": [actor.instance_id], "args": args, "timeout_s": 600}
        [target] = actor.view.order(body | targets, task=task).json()["dispatched"]
        return target["command_id"]

    make("pause_task", task="other")
    actor.answer("pause_task")
    commands = {"succeeded": make("pause_task")}
    actor.take("pause_task")
    commands["failed"] = make("run_task_once", payload={"n": 1})
    actor.answer("run_task_once", "failed", result=None, error_code="command_execution_failed", error_message="no luck")
    commands["rejected"] = make("replay_dead_letters", limit=3)
    actor.take("replay_dead_letters")
    actor.send(frames.ack(commands["rejected"], "rejected"))
    actor.wait_for(commands["rejected"], "rejected")
    commands["accepted"] = make("resume_task")
    actor.take("resume_task")
    actor.send(frames.ack(commands["accepted"]))
    actor.wait_for(commands["accepted"], "accepted")
    # Made first and ended last.
    actor.send(frames.result(commands["succeeded"], result={"paused": True}, duration_ms=4))
    actor.wait_for(commands["succeeded"], "succeeded")
    return Ledger(actor, commands)


def test_events_and_commands_are_merged_newest_first(ledger: Ledger) -> None:
    page = ledger.actor.view.get("/tasks/post/events")

    commands = [f"command:{ledger.commands[name]}" for name in ("succeeded", "accepted", "rejected", "failed")]
    assert [item["id"] for item in page["items"]] == [*commands, "runtime:l-1"]
    assert [set(item) for item in page["items"]] == [shapes.HISTORY_ITEM] * 5
    assert page["total"] == 5


def test_command_that_succeeded(ledger: Ledger) -> None:
    command = ledger.actor.view.api.command(ledger.commands["succeeded"])

    item = ledger.item("succeeded")

    assert [item.pop(name) for name in OF_EVENTS] == [None] * len(OF_EVENTS)
    assert item == {
        "id": f"command:{command['command_id']}",
        "source_type": "command",
        "instance_id": ledger.actor.instance_id,
        "task_name": "post",
        "kind": "pause_task",
        "occurred_at": command["finished_at"],
        "level": "info",
        "message": "why pause_task",
        "meta": {
            "status": "succeeded",
            "args": {"task_name": "post"},
            "source_surface": "task_detail",
            "created_by": "contract-admin",
            "reason": "why pause_task",
            "result": {"paused": True},
        },
        "command_id": command["command_id"],
        "command_status": "succeeded",
        "ack_status": "accepted",
        "created_at": command["created_at"],
        "updated_at": command["updated_at"],
    }


@pytest.mark.parametrize(
    ("name", "said", "ack"),
    [
        ("failed", ("run_task_once", "error", "no luck"), "accepted"),
        ("rejected", ("replay_dead_letters", "error", "why replay_dead_letters"), "rejected"),
        ("accepted", ("resume_task", "warn", "why resume_task"), "accepted"),
    ],
)
def test_command_in_another_state(ledger: Ledger, name: str, said: tuple[str, str, str], ack: str) -> None:
    item = ledger.item(name)

    assert (item["kind"], item["level"], item["message"]) == said
    assert (item["command_status"], item["ack_status"]) == (name, ack)


def test_command_under_way_is_listed_when_it_was_accepted(ledger: Ledger) -> None:
    command = ledger.actor.view.api.command(ledger.commands["accepted"])

    assert (ledger.item("accepted")["occurred_at"], command["finished_at"]) == (command["acked_at"], None)


def test_meta_leaves_out_what_there_is_not(ledger: Ledger) -> None:
    assert sorted(ledger.item("accepted")["meta"]) == ["args", "created_by", "reason", "source_surface", "status"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"kind": "pause_task"}, ["succeeded"]),
        ({"kind": ["pause_task", "resume_task"]}, ["succeeded", "accepted"]),
        ({"limit": 2, "offset": 1}, ["accepted", "rejected"]),
        ({"kind": "discard_dead_letters"}, []),
    ],
)
def test_commands_are_narrowed(ledger: Ledger, query, names) -> None:
    assert [item["command_id"] for item in ledger.items(**query)] == [ledger.commands[name] for name in names]


def test_runtime_kinds_leave_commands_out(ledger: Ledger) -> None:
    assert [item["id"] for item in ledger.items(kind="failed")] == ["runtime:l-1"]
