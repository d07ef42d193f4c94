"""One command to many instances of a service, or to a task on many of them. Source: contract 3.1, 3.3."""

from dataclasses import dataclass

import pytest

from tests import frames
from tests.e2e.contract import shapes
from tests.e2e.contract.stage import KINDS, TASK_KINDS, Actor, Agent, Stage, View

OUTCOMES = ("dispatched", "queued", "skipped", "rejected")
WITHOUT_PING = tuple(kind for kind in KINDS if kind != "ping")


@dataclass
class Crew:
    """`ready` obeys everything, `unable` cannot ping, `away` and `gone` left (`gone` could not ping), `unseen` only
    sent a beacon. Of the task `tick`, `ready` said that it can be paused, `unable` only resumed, the others nothing."""

    ready: Actor
    unable: Actor
    away: Actor
    gone: Actor
    unseen: Agent

    @property
    def view(self) -> View:
        return self.ready.view

    @property
    def ids(self) -> list[str]:
        return [each.instance_id for each in (self.ready, self.unable, self.away, self.gone, self.unseen)]

    def send(self, kind: str = "ping", *, task: str | None = None, targets: list[str] | None = None, **body):
        """The answer to an order that is taken; without targets it is for all who are online."""
        mode: dict[str, object] = {"target_mode": "all_online"}
        if targets is not None:
            mode = {"target_mode": "selected_instances", "target_instance_ids": targets}
        answer = self.view.order({"kind": kind, "reason": "contract", **mode, **body}, task=task)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def crew(stage: Stage) -> Crew:
    name = "crew"
    crew = Crew(
        stage.enter(name, node="c-1"),
        stage.enter(name, node="c-2", commands=WITHOUT_PING),
        stage.enter(name, node="c-3"),
        stage.enter(name, node="c-4", commands=WITHOUT_PING),
        Agent(name, node="c-5"),
    )
    crew.ready.tell(crew.ready.agent.sync(frames.task("tick")), controls=[frames.control("tick", *TASK_KINDS)])
    crew.unable.tell(controls=[frames.control("tick", "resume_task")])
    # The portal asks whoever did not send its topology for it.
    crew.unable.answer("sync_now")
    assert stage.beacon(crew.unseen) == 204
    for actor in (crew.away, crew.gone):
        actor.leave()
    return crew


def _outcomes(answer) -> dict[str, tuple[str, str | None]]:
    """Outcome and reason of each target, by node."""
    return {
        target["node_name"]: (target["outcome"], target["reason_code"])
        for outcome in OUTCOMES
        for target in answer[outcome]
    }


def test_answer_has_the_fields_of_the_contract(crew: Crew) -> None:
    answer = crew.send("flush_metrics", targets=crew.ids)

    assert set(answer) == shapes.FAN_OUT
    assert set(answer["counts"]) == {*OUTCOMES, "total"}
    targets = [target for outcome in OUTCOMES for target in answer[outcome]]
    assert [set(target) for target in targets] == [shapes.TARGET] * 5


def test_each_target_gets_what_it_can(crew: Crew) -> None:
    answer = crew.send(targets=crew.ids)

    assert _outcomes(answer) == {
        "c-1": ("dispatched", None),
        "c-2": ("rejected", "missing_capability"),
        "c-3": ("skipped", "no_active_session"),
        "c-4": ("skipped", "no_active_session"),
        "c-5": ("skipped", "no_active_session"),
    }
    assert answer["counts"] == {"dispatched": 1, "queued": 0, "skipped": 3, "rejected": 1, "total": 5}
    assert (answer["kind"], answer["target_mode"], answer["offline_behavior"]) == ("ping", "selected_instances", "skip")


def test_whoever_is_away_can_be_waited_for(crew: Crew) -> None:
    answer = crew.send(targets=crew.ids, offline_behavior="queue")

    assert _outcomes(answer) == {
        "c-1": ("dispatched", None),
        "c-2": ("rejected", "missing_capability"),
        "c-3": ("queued", "no_active_session"),
        "c-4": ("rejected", "missing_capability"),
        "c-5": ("rejected", "no_known_session"),
    }


def test_all_online_are_those_whose_connectivity_is(crew: Crew) -> None:
    answer = crew.send()

    # Nobody has been silent for long enough to be offline.
    assert sorted(_outcomes(answer)) == ["c-1", "c-2", "c-3", "c-4", "c-5"]
    assert (answer["target_mode"], answer["noop_reason_code"]) == ("all_online", None)


def test_commands_are_stored_for_whoever_gets_one(crew: Crew) -> None:
    before = crew.view.get("/commands")["total"]

    answer = crew.send(targets=crew.ids, offline_behavior="queue")

    [dispatched], [queued] = answer["dispatched"], answer["queued"]
    newest = crew.view.items("/commands", limit=2)
    assert crew.view.get("/commands")["total"] == before + 2
    assert {command["command_id"] for command in newest} == {dispatched["command_id"], queued["command_id"]}
    assert {target["command_id"] for target in answer["rejected"]} == {None}
    assert {(command["source_surface"], command["reason"]) for command in newest} == {
        ("service_detail_fanout", "contract")
    }


def test_target_names_the_session_that_it_goes_to(crew: Crew) -> None:
    answer = crew.send(targets=crew.ids[:1])

    [target] = answer["dispatched"]
    assert target["instance_id"] == crew.ready.instance_id
    assert target["session_id"] == crew.ready.shown()["active_session"]["session_id"]
    assert (target["connectivity"], target["reason_message"]) == ("online", None)


def test_targets_keep_the_order_in_which_they_were_named(crew: Crew) -> None:
    skipped = [crew.ids[4], crew.ids[2], crew.ids[3]]

    answer = crew.send(targets=skipped)

    assert [target["instance_id"] for target in answer["skipped"]] == skipped


def test_agent_obeys_what_was_sent_to_many(crew: Crew) -> None:
    answer = crew.send("flush_events", args={"n": 1}, targets=crew.ids[:2])

    for actor, target in zip((crew.ready, crew.unable), answer["dispatched"], strict=True):
        while (command := actor.receive_type("command"))["command_id"] != target["command_id"]:
            pass
        assert (command["kind"], command["args"]) == ("flush_events", {"n": 1})


def test_task_command_carries_the_task_of_the_path(crew: Crew) -> None:
    answer = crew.send("replay_dead_letters", task="tick", args={"limit": 5}, targets=crew.ids[:1])

    [target] = answer["dispatched"]
    command = crew.view.api.command(target["command_id"])
    assert (command["args"], command["source_surface"]) == ({"limit": 5, "task_name": "tick"}, "task_detail")


def test_each_target_gets_the_task_command_that_its_task_knows(crew: Crew, stage: Stage) -> None:
    silent = stage.enter("crew", node="c-6", commands=TASK_KINDS)

    answer = crew.send("pause_task", task="tick", targets=[*crew.ids, silent.instance_id])

    assert _outcomes(answer) == {
        "c-1": ("dispatched", None),
        "c-2": ("rejected", "task_command_unsupported"),
        "c-3": ("skipped", "no_active_session"),
        "c-4": ("skipped", "no_active_session"),
        "c-5": ("skipped", "no_active_session"),
        "c-6": ("rejected", "task_state_unknown"),
    }
    silent.close()


def test_manual_run_goes_to_named_instances(crew: Crew) -> None:
    answer = crew.send("run_task_once", task="tick", args={"payload": {"日": 1}}, targets=crew.ids[:1])

    assert answer["counts"]["dispatched"] == 1


def test_reasons_are_told_in_words(crew: Crew) -> None:
    answer = crew.send(targets=crew.ids)

    [rejected] = answer["rejected"]
    assert "command.ping" in rejected["reason_message"]
    assert "no active control session" in answer["skipped"][0]["reason_message"]
