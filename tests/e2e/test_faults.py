"""What the portal keeps when its own processes and servers fail: PostgreSQL and Redis, two web processes.

FAULTS_FULL=1 makes the outages as long as those of the promises: PostgreSQL 60 s, Redis 30 s.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
import requests

from tests.e2e.harness.api import TERMINAL, Api
from tests.e2e.harness.crowd import Streamer
from tests.e2e.harness.faults import QUEUE_BYTES, FaultPortal
from tests.e2e.harness.ledger import Ledger
from tests.e2e.harness.waiting import eventually

pytestmark = [pytest.mark.needs_postgres, pytest.mark.needs_redis]

IS_FULL = bool(os.environ.get("FAULTS_FULL"))
POSTGRES_AWAY_S = 60 if IS_FULL else 10
REDIS_AWAY_S = 30 if IS_FULL else 4
# What reading the sockets and writing the batch may add to the interval, on a machine with nothing else to do; for each
# second that an answer takes so many more; and on a loaded machine at most.
WRITE_S = 0.25
ANSWERS_PER_WRITE = 5
MACHINE_LAG_S = 1.0
BLOCKED_AFTER_S = 2.0
# The web process that is killed; orders go through the other one.
FAR = 1


def test_killed_web_process_loses_no_more_than_one_flush_interval(faulty: FaultPortal, ledger: Ledger) -> None:
    service = "kill-flush"
    # Few enough that no batch is full before its time: only the interval makes them be written.
    agents = faulty.streamers(6, service=service, first=1, every_s=0.1)
    with faulty.crowd(agents, streamed=10) as crowd:
        # A flush was just seen. Now well beyond the lag that is allowed, and at no particular moment before the next.
        before = max(len(agent.written) for agent in agents)
        answers_s: list[float] = []

        def has_streamed_more() -> bool:
            answers_s.append(_answer_s(faulty))
            return all(len(agent.written) > before + 40 for agent in agents)

        eventually(has_streamed_more, "more is streamed", timeout_s=60)
        # Where the machine halts, it does so before the process answers this, or after: what came before is due.
        asked_at = time.time()
        assert requests.get(f"{faulty.urls[FAR]}/healthz", timeout=60).status_code == 200
        faulty.web(FAR).kill()
        eventually(lambda: all(len(agent.sessions) == 2 for agent in agents), "all agents are back")
        eventually(lambda: all(len(agent.written) > agent.sessions[1] + 20 for agent in agents), "they go on")
        faulty.wait_until_all_stored(crowd)

    lost = faulty.lost_numbers(agents)
    # Negative where only what came while it answered is lost.
    oldest_s = max((asked_at - agent.written[numbers[0]] for agent, numbers in lost.items() if numbers), default=0.0)
    written, lost_count = sum(len(agent.written) for agent in agents), sum(map(len, lost.values()))
    ledger.note(
        "kill -9 of a web process, mid-flush",
        sent=f"{written} events by {len(agents)} agents",
        stored=f"{written - lost_count}, none twice; {lost_count} lost, the oldest sent {oldest_s * 1000:.0f} ms ago",
        answered=f"sockets end without a close frame; all {len(agents)} agents back at the other process",
    )
    for agent, numbers in lost.items():
        # Only what came last before the end of the first session: no hole in what came before or after.
        assert numbers == list(range(agent.sessions[1] - len(numbers), agent.sessions[1]))
    lag_s = min(MACHINE_LAG_S, WRITE_S + ANSWERS_PER_WRITE * max(answers_s))
    assert oldest_s <= _flush_s(faulty) + lag_s
    faulty.start()


def _answer_s(portal: FaultPortal) -> float:
    """How long the process to be killed takes for an answer: how busy the machine is, whatever the writer does."""
    began = time.monotonic()
    assert requests.get(f"{portal.urls[FAR]}/healthz", timeout=60).status_code == 200
    return time.monotonic() - began


def _flush_s(portal: FaultPortal) -> float:
    return int(portal.environment.get("INGEST_FLUSH_MS", "25")) / 1000


def test_killed_web_process_leaves_no_command_open_and_none_done_twice(faulty: FaultPortal, ledger: Ledger) -> None:
    agents = faulty.streamers(4, service="kill-command", first=1, every_s=0.5)
    near = faulty.api(0)

    def order(number: int) -> requests.Response:
        agent = agents[number % len(agents)]
        body: dict[str, object] = {
            "kind": "ping",
            "args": {"n": number},
            "timeout_s": 5,
            "delivery_mode": "queue_until_reconnect",
        }
        return near.post(f"/api/v1/instances/{agent.instance_id}/commands", body)

    with faulty.crowd(agents, streamed=1), ThreadPoolExecutor(4) as threads:
        before = [threads.submit(order, number) for number in range(20)]
        eventually(lambda: sum(sum(agent.received.values()) for agent in agents) >= 5, "some commands arrive")
        during = [threads.submit(order, number) for number in range(20, 40)]
        faulty.web(FAR).kill()
        after = [threads.submit(order, number) for number in range(40, 60)]
        answers = [future.result() for future in (*before, *during, *after)]
        assert [answer.status_code for answer in answers] == [200] * len(answers), [a.text for a in answers]
        commands = [near.wait_for_command(answer.json()["command_id"], timeout_s=90) for answer in answers]

    by_status: dict[str, int] = {}
    for command in commands:
        by_status[command["status"]] = by_status.get(command["status"], 0) + 1
        agent = next(agent for agent in agents if agent.instance_id == command["instance_id"])
        if command["status"] == "succeeded":
            assert agent.received[command["command_id"]] >= 1
            assert command["result"] == {"done_by": agent.instance_id}
        else:
            assert command["error_code"], command
    received_twice = sum(count > 1 for agent in agents for count in agent.received.values())
    ledger.note(
        "kill -9 of a web process, mid-command",
        sent=f"{len(commands)} commands through the other process",
        stored="each ended once: " + ", ".join(f"{count} {status}" for status, count in sorted(by_status.items())),
        answered=f"{received_twice} reached their agent twice, under one id",
    )
    ids = [command["command_id"].removeprefix("cmd_") for command in commands]
    ends = faulty.rows(
        "SELECT command_id, count(*) FROM agents_event"
        " WHERE command_id = ANY(%s::uuid[]) AND kind = ANY(%s) GROUP BY command_id",
        ids,
        [f"command.{status}" for status in TERMINAL],
    )
    assert sorted(count for _command, count in ends) == [1] * len(commands)
    faulty.start()


@pytest.mark.timeout(300)
def test_postgres_away_costs_nothing(faulty: FaultPortal, ledger: Ledger) -> None:
    service = "postgres-away"
    agents = [
        agent
        for first in (0, 1)
        for agent in faulty.streamers(5, service=service, first=first, every_s=0.05, padding=8 * 1024)
    ]
    for agent in agents:
        agent.answering = False
    with faulty.crowd(agents, streamed=20) as crowd:
        orders = [faulty.api(0).order(agent.instance_id, "ping", timeout_s=600)["command_id"] for agent in agents]
        eventually(lambda: all(agent.received for agent in agents), "all orders are there")
        faulty.postgres.stop()
        stopped_at, sent_before = time.time(), sum(len(agent.written) for agent in agents)
        try:
            # Results of work that was done meanwhile.
            for agent in agents:
                agent.answering = True
            eventually(lambda: all(map(_is_blocked, agents)), "the portal stops reading", timeout_s=60)
            blocked_after_s = time.time() - stopped_at
            taken = sum(len(agent.written) for agent in agents) - sent_before
            eventually(lambda: time.time() - stopped_at >= POSTGRES_AWAY_S, "the outage", timeout_s=POSTGRES_AWAY_S + 5)
        finally:
            away_s = time.time() - stopped_at
            faulty.postgres.start()
        faulty.wait_until_all_stored(crowd)
        results = [faulty.api(0).wait_for_command(order, timeout_s=60)["status"] for order in orders]
        # The verdicts that the outage could cause would come with the first sweeps after it.
        faulty.wait_for_jobs("sweep-liveness", "reconcile-sessions")
        closes = [close for agent in agents for close in agent.closes]
        offline = _verdicts(faulty, service)

    written = sum(len(agent.written) for agent in agents)
    lost = [number for numbers in faulty.lost_numbers(agents).values() for number in numbers]
    ledger.note(
        f"PostgreSQL stopped for {away_s:.0f} s",
        sent=f"{written} events by {len(agents)} agents, {taken} of them while it was away",
        stored=f"{written - len(lost)}, none twice; {len(results)} results of commands sent meanwhile",
        answered=f"sockets stay up ({len(closes)} closed), reading stops after {blocked_after_s:.0f} s (buffer of "
        f"{QUEUE_BYTES // 2**20} MiB); {offline} offline verdicts",
    )
    assert (lost, closes, offline) == ([], [], 0)
    assert results == ["succeeded"] * len(agents)
    faulty.wait_until_ready()


def _is_blocked(agent: Streamer) -> bool:
    since = agent.writing_since
    return since is not None and time.monotonic() - since > BLOCKED_AFTER_S


def _verdicts(portal: FaultPortal, service: str) -> Any:
    return portal.value(
        "SELECT count(*) FROM agents_event e JOIN agents_service s ON s.id = e.service_id"
        " WHERE e.kind = 'instance.offline' AND s.name = %s",
        service,
    )


@pytest.mark.timeout(300)
def test_redis_away_and_back_empty_costs_nothing_but_time(faulty: FaultPortal, ledger: Ledger) -> None:
    service = "redis-away"
    # Held by the other process than the one that takes the orders.
    agents = faulty.streamers(4, service=service, first=1, every_s=0.1)
    near = faulty.api(0)
    with faulty.crowd(agents, streamed=5) as crowd:
        assert _ping_all(near, agents) == ["succeeded"] * len(agents)

        faulty.redis.stop()
        stopped_at = time.time()
        try:
            ordered_at = time.time()
            while_away = _ping_all(near, agents)
            slowest_s = time.time() - ordered_at
            eventually(lambda: time.time() - stopped_at >= REDIS_AWAY_S, "the outage", timeout_s=REDIS_AWAY_S + 5)
        finally:
            away_s = time.time() - stopped_at
            faulty.redis.start()
        eventually(lambda: _hint_subscriptions(faulty) >= 2, "both web processes listen for hints again", timeout_s=60)
        ordered_at = time.time()
        afterwards = _ping_all(near, agents)
        with_hints_s = time.time() - ordered_at
        # Worker and beat find the new Redis too.
        faulty.wait_for_jobs("expire-due-commands", "sweep-liveness")
        faulty.wait_until_all_stored(crowd)
        closes = [close for agent in agents for close in agent.closes]

    written = sum(len(agent.written) for agent in agents)
    lost = [number for numbers in faulty.lost_numbers(agents).values() for number in numbers]
    ledger.note(
        f"Redis stopped for {away_s:.0f} s, back empty",
        sent=f"{written} events, {len(while_away)} commands while it was away, {len(afterwards)} after",
        stored=f"{written - len(lost)} events, none twice; all commands succeeded",
        answered=f"commands by the slow poll within {slowest_s:.1f} s, by hints again within {with_hints_s:.1f} s;"
        f" {len(closes)} sockets closed, {_verdicts(faulty, service)} offline verdicts",
    )
    assert (*while_away, *afterwards) == ("succeeded",) * 2 * len(agents)
    assert (lost, closes, _verdicts(faulty, service)) == ([], [], 0)
    faulty.wait_until_ready()


def _ping_all(api: Api, agents: Sequence[Streamer]) -> list[str]:
    """How a command to each of them ended; all are ordered before the first is waited for."""
    orders = [api.order(agent.instance_id, "ping", timeout_s=60)["command_id"] for agent in agents]
    return [api.wait_for_command(order, timeout_s=90)["status"] for order in orders]


def _hint_subscriptions(portal: FaultPortal) -> int:
    client = redis.Redis.from_url(portal.redis.url)
    try:
        return len(client.pubsub_channels(f"{portal.environment['REDIS_PREFIX']}*"))
    finally:
        client.close()
