"""An unmodified OneStep agent lives in the portal: seen through the API, and it obeys.

The tests of one client generation share a fleet and run in this order; those at the end stop agents and processes.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Fleet
from tests.e2e.harness.agents import RESTART_EXIT_STATUS, Agent
from tests.e2e.harness.portal import Portal
from tests.e2e.harness.raw import RawAgent
from tests.e2e.harness.scraping import scrape
from tests.e2e.harness.waiting import eventually

TASKS = ["hang", "helper", "manual", "tick", "work"]


def test_service_shows_two_instances_online(fleet: Fleet) -> None:
    service = eventually(
        lambda: (found := fleet.api.service(fleet.service)) and found["online_instance_count"] == 2 and found,
        "two instances are online",
    )

    assert (service["environment"], service["instance_count"]) == ("dev", 2)


def test_topology_shows_tasks_with_source_and_sinks(fleet: Fleet) -> None:
    eventually(lambda: len(fleet.api.of_service(fleet.service, "tasks")) == len(TASKS), "five tasks are known")

    tasks = {task["task_name"]: task for task in fleet.api.of_service(fleet.service, "tasks")}

    assert sorted(tasks) == TASKS
    assert tasks["tick"]["source_kind"] == "interval"
    assert [(sink["kind"], sink["name"]) for sink in tasks["tick"]["emit"]] == [("memory_queue", "work")]
    assert (tasks["work"]["source_name"], tasks["work"]["timeout_s"]) == ("work", 0.4)
    assert tasks["work"]["retry_policy"]["config"]["max_attempts"] == 2
    assert tasks["helper"]["source_kind"] is None
    assert tasks["manual"]["source_config"]["expression"] == "0 0 29 2 *"


def test_task_controls_show_what_each_task_supports(fleet: Fleet) -> None:
    # The very first heartbeat is older than the runners.
    eventually(
        lambda: all(_control(fleet, agent, "work")["runner_count"] == 1 for agent in fleet.agents),
        "both instances told their task controls",
    )

    control = _control(fleet, fleet.far, "work")
    assert sorted(control["supported_commands"]) == [
        "discard_dead_letters",
        "pause_task",
        "replay_dead_letters",
        "restart_task",
        "resume_task",
        "run_task_once",
    ]
    assert (control["paused"], control["accepting_new_work"]) == (False, True)


def test_every_event_kind_arrives(fleet: Fleet) -> None:
    restarted = fleet.api.run(fleet.far.instance_id, "restart_task", args={"task_name": "hang"})
    assert restarted["status"] == "succeeded", restarted

    def kinds() -> set[str]:
        return {
            kind
            for kind in ("started", "succeeded", "retried", "failed", "dead_lettered", "cancelled")
            if fleet.api.of_service(fleet.service, "events", kind=kind, instance_id=fleet.far.instance_id)
        }

    eventually(lambda: len(kinds()) == 6, "all six kinds of events")
    succeeded = fleet.api.of_service(fleet.service, "events", kind="succeeded", task_name="tick")[0]
    failed = fleet.api.of_service(fleet.service, "events", kind="failed", task_name="work")
    assert succeeded["meta"]["notification"]["summary"] == "tick ok"
    assert {event["failure_kind"] for event in failed} == {"error", "timeout"}
    boom = next(event for event in failed if event["failure_kind"] == "error")
    assert (boom["exception_type"], boom["message"]) == ("ValueError", "boom \u00e4\u4e2d")
    assert "Traceback" in boom["traceback"]


def test_metric_windows_carry_counters_and_custom_metrics(portal: Portal, fleet: Fleet) -> None:
    def windows() -> list[dict[str, object]]:
        return fleet.api.of_service(
            fleet.service, "metric-windows", task_name="work", instance_id=fleet.far.instance_id
        )

    eventually(lambda: len(windows()) >= 3, "three metric windows of the task")
    total = {
        name: sum(int(str(window[name])) for window in windows())
        for name in ("fetched", "started", "succeeded", "retried", "failed", "dead_lettered", "timeouts")
    }
    assert all(total.values()), total

    samples = portal.run_python(
        "from tasks_app.models import CustomMetric\n"
        f"rows = CustomMetric.objects.filter(instance_id='{fleet.far.instance_id}', task_name='tick')\n"
        "for row in rows.order_by('name').values_list('name', 'kind', 'labels').distinct(): print(row)"
    )
    assert "('lag_seconds', 'gauge', {})" in samples
    assert "('rows_total', 'counter', {'table': 'orders'})" in samples


def test_what_tasks_count_is_exported_by_any_process(portal: Portal, fleet: Fleet) -> None:
    def exported(name: str, **labels: str) -> list[float]:
        labels |= {"service": fleet.service, "instance_id": fleet.far.instance_id, "task": "tick"}
        samples = [sample for url in portal.urls for sample in scrape(url, portal.ingest_token).get(name, ())]
        return [value for given, value in samples if given.items() >= labels.items()]

    eventually(
        lambda: len(exported("onestep_task_custom_counter_total", metric="rows_total")) == len(portal.urls),
        "what the task counts is exported",
    )

    rows = exported("onestep_task_custom_counter_total", metric="rows_total", table="orders", environment="dev")
    assert all(count > 0 and count % 3 == 0 for count in rows)
    assert exported("onestep_task_custom_gauge", metric="lag_seconds") == [1.5] * len(portal.urls)
    assert all(count > 0 for count in exported("onestep_task_succeeded_total"))


def test_what_processes_count_is_exported_after_their_pulse(portal: Portal, fleet: Fleet) -> None:
    def telemetry_frames() -> float:
        frames = scrape(portal.urls[0], portal.ingest_token).get("portal_agent_frames_received_total", ())
        return sum(count for labels, count in frames if labels["type"] == "telemetry")

    first = eventually(telemetry_frames, "frames are counted")
    eventually(lambda: telemetry_frames() > first, "the counts go on")


def test_ping_echoes_across_processes(fleet: Fleet) -> None:
    for agent in fleet.agents:
        command = fleet.api.run(agent.instance_id, "ping", args={"say": "\u4f60\u597d", "n": [1, 2.5, None]})

        assert command["status"] == "succeeded"
        assert command["result"] == {"ok": True, "echo": {"say": "\u4f60\u597d", "n": [1, 2.5, None]}}
        assert command["ack_status"] == "accepted"


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("sync_now", {"synced": True}),
        ("flush_metrics", {"flushed_metrics": True}),
        ("flush_events", {"flushed_events": True}),
    ],
)
def test_telemetry_command_succeeds(fleet: Fleet, kind: str, result: dict[str, object]) -> None:
    command = fleet.api.run(fleet.far.instance_id, kind)

    assert (command["status"], command["result"]) == ("succeeded", result)


def test_command_to_the_service_reaches_both_instances(fleet: Fleet) -> None:
    response = fleet.api.post(
        f"/api/v1/services/{fleet.service}/commands",
        {"kind": "ping", "reason": "all of them", "target_mode": "all_online", "offline_behavior": "skip"},
        environment="dev",
    )

    assert response.status_code == 200, response.text
    assert response.json()["counts"]["dispatched"] == 2, response.text
    for target in response.json()["dispatched"]:
        assert fleet.api.wait_for_command(target["command_id"])["status"] == "succeeded"


def test_pause_really_stops_the_task_and_resume_starts_it(fleet: Fleet) -> None:
    agent, task = fleet.far, {"task_name": "tick"}
    paused = fleet.api.run(agent.instance_id, "pause_task", args=task)
    assert (paused["status"], paused["result"]["paused"]) == ("succeeded", True)

    def started_since_pause() -> list[Any]:
        return fleet.api.of_service(
            fleet.service,
            "events",
            kind="started",
            task_name="tick",
            instance_id=agent.instance_id,
            occurred_after=paused["finished_at"],
        )

    ran, near_ran = len(agent.journal("tick")), len(fleet.near.journal("tick"))
    # Work goes on elsewhere while this one task stands still: long enough for a dozen runs of it.
    eventually(lambda: len(fleet.near.journal("tick")) >= near_ran + 12, "the other instance goes on")
    assert fleet.api.run(agent.instance_id, "flush_events")["status"] == "succeeded"
    eventually(lambda: _control(fleet, agent, "tick")["paused"], "the portal shows the task as paused")

    assert len(agent.journal("tick")) == ran
    assert started_since_pause() == []

    resumed = fleet.api.run(agent.instance_id, "resume_task", args=task)
    assert (resumed["status"], resumed["result"]["accepting_new_work"]) == ("succeeded", True)
    eventually(lambda: len(agent.journal("tick")) > ran, "the task runs again")
    eventually(started_since_pause, "started events arrive again")
    eventually(lambda: not _control(fleet, agent, "tick")["paused"], "the portal shows the task as running")


def _control(fleet: Fleet, agent: Agent, task: str) -> dict[str, Any]:
    detail = fleet.api.get(f"/api/v1/services/{fleet.service}/tasks/{task}", environment="dev")
    return next(row for row in detail["task_control"]["instances"] if row["instance_id"] == agent.instance_id)


def test_run_task_once_runs_exactly_once(fleet: Fleet) -> None:
    command = fleet.api.run(
        fleet.far.instance_id, "run_task_once", args={"task_name": "manual", "payload": {"mark": "once"}}
    )

    assert (command["status"], command["result"]["attempted_count"]) == ("succeeded", 1)
    assert len([run for run in fleet.far.journal("manual") if run.get("mark") == "once"]) == 1
    assert not [run for run in fleet.near.journal("manual") if run.get("mark") == "once"]


def test_dead_letters_are_discarded_and_replayed(fleet: Fleet) -> None:
    agent = fleet.far
    discarded = fleet.api.run(agent.instance_id, "discard_dead_letters", args={"task_name": "work", "limit": 1})
    assert (discarded["status"], discarded["result"]["discarded_count"]) == ("succeeded", 1)

    agent.set_flag("repaired")
    before = time.time()
    replayed = fleet.api.run(agent.instance_id, "replay_dead_letters", args={"task_name": "work", "limit": 3})

    assert (replayed["status"], replayed["result"]["completion"]) == ("succeeded", "complete")
    assert replayed["result"]["replayed_count"] >= 1
    eventually(
        lambda: [
            run for run in agent.journal("work") if float(str(run["at"])) > before and run["mode"] in ("fail", "slow")
        ],
        "replayed payloads run again",
    )
    agent.clear_flag("repaired")


def test_duplicate_frames_of_an_agent_are_answered_but_applied_once(portal: Portal, fleet: Fleet) -> None:
    with RawAgent(portal.urls[-1], portal.ingest_token, service="proof-raw") as raw:
        raw.wait_for_ack()
        order = fleet.api.order(raw.instance_id, "ping")
        command = raw.receive_type("command")
        while command["command_id"] != order["command_id"]:
            command = raw.receive_type("command")
        ack = {"command_id": command["command_id"], "status": "accepted", "received_at": order["created_at"]}
        first = {
            "command_id": command["command_id"],
            "status": "succeeded",
            "finished_at": order["created_at"],
            "result": {"n": 1},
        }

        raw.send("command_ack", ack)
        raw.send("command_ack", ack)
        raw.send("command_result", first)
        raw.send("command_result", {**first, "status": "failed", "result": {"n": 2}})
        error = raw.receive_type("error")

        assert (error["code"], error["close_connection"]) == ("duplicate_command_result", False)
        stored = fleet.api.wait_for_command(command["command_id"])
        assert (stored["status"], stored["result"]) == ("succeeded", {"n": 1})


def test_superseded_socket_is_closed_at_once(portal: Portal) -> None:
    with RawAgent(portal.urls[-1], portal.ingest_token, service="proof-raw") as first:
        first.wait_for_ack()
        with RawAgent(
            portal.urls[0], portal.ingest_token, service="proof-raw", instance_id=first.instance_id
        ) as second:
            second.wait_for_ack()

            # Well below the poll interval: the hint has to do it.
            assert first.wait_for_close(timeout_s=1.5) == 4001


def test_second_process_of_an_identity_takes_over_once_a_minute_at_most(portal: Portal, fleet: Fleet) -> None:
    agent = fleet.near
    interval_s = int(portal.environment["TAKEOVER_INTERVAL_S"])

    with RawAgent(
        portal.urls[-1], portal.ingest_token, service=fleet.service, instance_id=agent.instance_id
    ) as intruder:
        taken_at = time.monotonic()
        intruder.wait_for_ack()
        # The agent is back only after the interval, however often it tries; then the intruder's socket is closed.
        code = intruder.wait_for_close(timeout_s=interval_s * 3)
        held_s = time.monotonic() - taken_at

    assert code == 4001
    assert held_s >= interval_s * 0.9
    sessions = fleet.api.of_service(fleet.service, "sessions", instance_id=agent.instance_id)
    assert [session["status"] for session in sessions[:3]] == ["active", "superseded", "superseded"]
    row = f"Instance.objects.get(pk='{agent.instance_id}')"
    assert portal.run_python(f"from agents.models import Instance; print({row}.conflict_seen_at)").strip() != "None"
    fleet.wait_until_online(agent)


def test_revoked_token_cuts_its_session_within_five_seconds(
    portal: Portal, fleet: Fleet, generation: str, work_dir: Path
) -> None:
    name = f"revoked-{generation}"
    secret = portal.run_python(
        "from controlplane.common.actors import Actor\n"
        "from agents.services.tokens import create_agent_token\n"
        f"print(create_agent_token(name='{name}', dialects=['onestep'], environments=['dev'], expires_at=None,"
        " actor=Actor('test'))[1])"
    ).splitlines()[-1]
    agent = Agent(
        name, generation=generation, service=fleet.service, url=portal.urls[-1], token=secret, work_dir=work_dir
    )
    try:
        agent.start()
        fleet.wait_until_online(agent)

        portal.run_python(
            "from agents.models import AgentToken\n"
            "from controlplane.common.actors import Actor\n"
            "from agents.services.tokens import revoke_agent_token\n"
            f"revoke_agent_token(AgentToken.objects.get(name='{name}'), actor=Actor('test'))"
        )

        eventually(
            lambda: (
                not [
                    session
                    for session in fleet.api.of_service(fleet.service, "sessions", instance_id=agent.instance_id)
                    if session["status"] == "active"
                ]
            ),
            "the session is closed",
            timeout_s=5,
        )
        eventually(lambda: "HTTP 401" in agent.log(), "the agent is refused when it comes back")
    finally:
        agent.kill()


def test_blocked_loop_stays_online_only_by_the_beacon(fleet: Fleet, generation: str) -> None:
    agent = fleet.far
    order = fleet.api.order(
        agent.instance_id,
        "run_task_once",
        args={"task_name": "manual", "payload": {"mark": "block", "blocked_seconds": 12}},
        timeout_s=60,
    )
    seen = set()

    def is_done() -> bool:
        seen.add(fleet.api.instance(fleet.service, agent.instance_id)["connectivity"])
        return bool([run for run in agent.journal("manual-done") if run.get("mark") == "block"])

    eventually(is_done, "the blocking handler ends", timeout_s=30)

    # The older client has no beacon: silence must show, or the verdict of the newer one would prove nothing.
    assert seen == ({"online"} if generation == "current" else {"online", "offline"})
    assert fleet.api.wait_for_command(order["command_id"])["status"] == "succeeded"
    fleet.wait_until_online(agent)


def test_result_arrives_though_the_portal_was_killed_while_the_command_ran(portal: Portal, fleet: Fleet) -> None:
    agent, web = fleet.far, portal.web(len(portal.urls) - 1)
    order = fleet.api.order(
        agent.instance_id,
        "run_task_once",
        args={"task_name": "manual", "payload": {"mark": "killed", "seconds": 2}},
        timeout_s=60,
    )
    eventually(lambda: fleet.api.command(order["command_id"])["status"] == "accepted", "the command is accepted")

    web.kill()
    eventually(lambda: _runs(agent, "manual-done", "killed"), "the agent finishes while nobody listens")
    web.start()
    portal.wait_until_ready()

    command = fleet.api.wait_for_command(order["command_id"])
    assert (command["status"], command["result"]["completion"]) == ("succeeded", "complete")
    assert len(_runs(agent, "manual", "killed")) == 1


def test_command_is_executed_once_though_the_portal_was_killed_before_the_answer(portal: Portal, fleet: Fleet) -> None:
    agent, web = fleet.far, portal.web(len(portal.urls) - 1)
    fleet.wait_until_online(agent)
    assert agent.process is not None
    os.killpg(agent.process.pid, signal.SIGSTOP)
    try:
        order = fleet.api.order(
            agent.instance_id,
            "run_task_once",
            args={"task_name": "manual", "payload": {"mark": "unanswered"}},
            timeout_s=60,
        )
        eventually(lambda: fleet.api.command(order["command_id"])["status"] == "dispatched", "the command is sent")
        web.kill()
    finally:
        os.killpg(agent.process.pid, signal.SIGCONT)
    web.start()
    portal.wait_until_ready()

    command = fleet.api.wait_for_command(order["command_id"])
    assert command["status"] == "succeeded"
    assert len(_runs(agent, "manual", "unanswered")) == 1


def _runs(agent: Agent, task: str, mark: str) -> list[dict[str, object]]:
    return [run for run in agent.journal(task) if run.get("mark") == mark]


def test_topology_comes_back_when_the_portal_lost_it(portal: Portal, fleet: Fleet) -> None:
    for index in range(len(portal.urls)):
        portal.web(index).kill()
    portal.run_python(f"from agents.models import Service; Service.objects.filter(name='{fleet.service}').delete()")
    assert fleet.api.service(fleet.service) is None
    portal.start()

    # The older client sends its topology once in its life: the portal has to ask for it.
    eventually(lambda: len(fleet.api.of_service(fleet.service, "tasks")) == len(TASKS), "the tasks are known again")
    for agent in fleet.agents:
        fleet.wait_until_online(agent)


def test_drain_stops_all_work(fleet: Fleet) -> None:
    eventually(lambda: _control(fleet, fleet.near, "hang")["state_known"], "task controls are known")
    # The task that hangs would be waited for.
    assert fleet.api.run(fleet.near.instance_id, "restart_task", args={"task_name": "hang"})["status"] == "succeeded"

    drained = fleet.api.run(fleet.near.instance_id, "drain")

    assert (drained["status"], drained["result"]["drained"]) == ("succeeded", True)
    ran, far_ran = len(fleet.near.journal("tick")), len(fleet.far.journal("tick"))
    eventually(lambda: len(fleet.far.journal("tick")) >= far_ran + 8, "the other instance goes on")
    assert len(fleet.near.journal("tick")) == ran
    assert fleet.is_online(fleet.near)


def test_restart_is_not_repeated_to_the_new_process(fleet: Fleet) -> None:
    agent = fleet.near
    restarted = fleet.api.run(agent.instance_id, "restart")
    assert (restarted["status"], restarted["result"]["completion"]) == ("succeeded", "partial")
    assert agent.wait_for_exit() == RESTART_EXIT_STATUS
    before = fleet.api.instance(fleet.service, agent.instance_id)["started_at"]

    agent.start()

    eventually(
        lambda: fleet.api.instance(fleet.service, agent.instance_id)["started_at"] != before, "the new process shows"
    )
    fleet.wait_until_online(agent)
    assert fleet.api.run(agent.instance_id, "ping")["status"] == "succeeded"
    assert agent.is_running


def test_accepted_command_is_not_run_again_by_a_new_process(fleet: Fleet) -> None:
    agent = fleet.near
    eventually(lambda: _control(fleet, agent, "manual")["state_known"], "task controls are known")
    order = fleet.api.order(
        agent.instance_id,
        "run_task_once",
        args={"task_name": "manual", "payload": {"mark": "died", "seconds": 60}},
        timeout_s=4,
    )
    eventually(lambda: fleet.api.command(order["command_id"])["status"] == "accepted", "the command is accepted")

    agent.kill()
    agent.start()
    eventually(lambda: fleet.api.instance(fleet.service, agent.instance_id)["active_session"], "it is back")

    assert fleet.api.wait_for_command(order["command_id"])["status"] == "timeout"
    assert fleet.api.run(agent.instance_id, "ping")["status"] == "succeeded"
    assert len(_runs(agent, "manual", "died")) == 1


def test_shutdown_ends_the_agent_and_shows_it_offline(fleet: Fleet) -> None:
    agent = fleet.near

    stopped = fleet.api.run(agent.instance_id, "shutdown")

    assert (stopped["status"], stopped["result"]["shutdown_requested"]) == ("succeeded", True)
    assert agent.wait_for_exit() == 0
    row = eventually(
        lambda: (found := fleet.api.instance(fleet.service, agent.instance_id))["connectivity"] == "offline" and found,
        "the instance shows offline",
    )
    assert row["active_session"] is None
