"""What agents may send without harm to themselves or to anybody else: twice, late, broken, huge, too much, nothing."""

import os
import random
import time
from contextlib import suppress
from typing import Any

import psutil
import pytest

from tests import frames
from tests.e2e.harness.agent_socket import now
from tests.e2e.harness.crowd import Streamer
from tests.e2e.harness.faults import HELLO_TIMEOUT_S, FaultPortal
from tests.e2e.harness.ledger import Ledger
from tests.e2e.harness.peer import Peer
from tests.e2e.harness.waiting import eventually

pytestmark = [pytest.mark.needs_postgres, pytest.mark.needs_redis]

IS_FULL = bool(os.environ.get("FAULTS_FULL"))
DUPLICATES = 1000
NEIGHBOURS = 200
# What each neighbour reports before the flood, and during it: one a second.
FLOOD_EVENTS = 30 if IS_FULL else 4
STARVED_MS = 10_000
# The web process that the peers of this module dial; orders go through the other one.
FAR = 1


def _peer(portal: FaultPortal, service: str, **options: Any) -> Peer:
    return Peer(portal.urls[FAR], portal.ingest_token, service=service, **options)


def _settle(portal: FaultPortal, peer: Peer) -> list[dict[str, Any]]:
    """Wait until everything that the peer sent is taken and stored; the errors that it was answered with."""
    last = f"last-{peer.instance_id}-{time.monotonic_ns()}"
    peer.report_last(last)
    errors = peer.settle()
    eventually(
        lambda: portal.rows("SELECT 1 FROM agents_event WHERE event_id = %s", last), "all is stored", timeout_s=60
    )
    return errors


def _codes(errors: list[dict[str, Any]]) -> str:
    codes = sorted({error["code"] for error in errors})
    return ", ".join(f"{sum(error['code'] == code for error in errors)} × {code}" for code in codes) or "no error"


def test_duplicate_frames_are_stored_once(faulty: FaultPortal, ledger: Ledger) -> None:
    with _peer(faulty, "duplicates") as peer:
        events = [frames.event("succeeded", f"{peer.instance_id}-{n}", occurred_at=now()) for n in range(5)]
        sample = {"name": "rows_total", "kind": "counter", "value": 3.0, "labels": {"table": "a"}}
        bounds = {"started_at": now(), "ended_at": now()}
        windows = [frames.window("a", "w1", custom_metrics=[sample]), frames.window("b", "w1")]
        copies = [
            peer.agent.events(*events, sent_at=now()),
            peer.agent.metrics(*windows, window=bounds, sent_at=now()),
            peer.agent.heartbeat(sent_at=now()),
        ]

        for number in range(DUPLICATES):
            peer.send(copies[number % len(copies)])
        errors = _settle(faulty, peer)

    stored = {
        name: faulty.value(f"SELECT count(*) FROM {table} WHERE instance_id = %s {condition}", peer.instance_id)
        for name, table, condition in (
            ("events", "agents_event", "AND event_id LIKE instance_id || '-%%'"),
            ("windows", "tasks_app_metricwindow", ""),
            ("custom metrics", "tasks_app_custommetric", ""),
        )
    }
    ledger.note(
        f"duplicate frames × {DUPLICATES}",
        sent="the same 5 events, the same 2 windows with a custom metric, the same heartbeat, in turn",
        stored=", ".join(f"{count} {name}" for name, count in stored.items()),
        answered=_codes(errors),
    )
    assert stored == {"events": 5, "windows": 2, "custom metrics": 1}
    assert {error["code"] for error in errors} <= {"rate_limited"}


def test_reordered_frames_leave_the_newest(faulty: FaultPortal, ledger: Ledger) -> None:
    service = "reordered"
    # Within the burst that one agent may send.
    beats, syncs = list(range(1, 61)), list(range(1, 21))
    shuffling = random.Random(1)
    shuffling.shuffle(beats)
    shuffling.shuffle(syncs)
    with _peer(faulty, service) as peer:
        for sequence in beats:
            health = {"status": "ok", "uptime_s": sequence, "inflight_tasks": 0}
            peer.send(peer.agent.heartbeat(sequence=sequence, health=health, sent_at=now()))
        for sequence in syncs:
            task = frames.task(f"task-{sequence}")
            peer.send(peer.agent.sync(task, sequence=sequence, topology_hash=f"sha256:{sequence}", sent_at=now()))
        errors = _settle(faulty, peer)

    ((beat, uptime_s, sync, topology),) = faulty.rows(
        "SELECT last_heartbeat_sequence, uptime_s, last_sync_sequence, last_topology_hash"
        " FROM agents_instance WHERE id = %s",
        peer.instance_id,
    )
    tasks = faulty.rows(
        "SELECT t.name FROM tasks_app_task t JOIN agents_service s ON s.id = t.service_id WHERE s.name = %s",
        service,
    )
    ledger.note(
        "reordered sequences",
        sent=f"{len(beats)} heartbeats and {len(syncs)} topologies, shuffled",
        stored=f"heartbeat {beat}, topology {sync}, and nothing of the older ones",
        answered=_codes(errors),
    )
    assert (beat, uptime_s) == (60, 60)
    assert (sync, topology, tasks) == (20, "sha256:20", [("task-20",)])
    assert errors == []


HOSTILE_VALUES = {
    "NaN": "NaN",
    "an infinity": "-Infinity",
    "1e999": "1e999",
    "NUL": '"a\\u0000b"',
    "a lone surrogate": '"\\ud800"',
    "a number of 30 digits": "123456789012345678901234567890",
    "a number of 5,000 digits": "9" * 5000,
}


def test_hostile_values_cost_neither_session_nor_neighbours(faulty: FaultPortal, ledger: Ledger) -> None:
    with _peer(faulty, "hostile") as peer:
        for name, literal in HOSTILE_VALUES.items():
            bad = [
                frames.event("succeeded", f"{name}-meta", occurred_at=now(), meta={"v": "HOSTILE"}),
                frames.event("succeeded", f"{name}-attempts", occurred_at=now(), attempts="HOSTILE"),
                frames.event("succeeded", "HOSTILE", occurred_at=now()),
            ]
            good = frames.event("succeeded", f"{name}-good", occurred_at=now())
            frame = frames.text(peer.agent.events(*bad, good, sent_at=now()))
            peer.send(frame.replace('"HOSTILE"', literal))
            window = frames.window("w", f"{name}-window", fetched="HOSTILE", avg_duration_ms="HOSTILE")
            neighbour = frames.window("w", f"{name}-good")
            bounds = {"started_at": now(), "ended_at": now()}
            frame = frames.text(peer.agent.metrics(window, neighbour, window=bounds, sent_at=now()))
            peer.send(frame.replace('"HOSTILE"', literal))
        errors = _settle(faulty, peer)

    events = faulty.rows("SELECT event_id FROM agents_event WHERE instance_id = %s", peer.instance_id)
    windows = faulty.rows("SELECT window_id FROM tasks_app_metricwindow WHERE instance_id = %s", peer.instance_id)
    wanted = [f"{name}-good" for name in HOSTILE_VALUES]
    kept = [event_id for (event_id,) in events if event_id.endswith(("-meta", "-attempts"))]
    ledger.note(
        "NaN, NUL, surrogates, huge integers",
        sent=f"{len(HOSTILE_VALUES)} values in meta, attempts and ids of events and in windows, beside good records",
        stored=f"all {2 * len(wanted)} good records; {len(kept)} of {3 * len(HOSTILE_VALUES)} bad events, cleaned",
        answered=f"{_codes(errors)}; the session stays",
    )
    assert {event_id for (event_id,) in events} >= set(wanted)
    assert {window_id for (window_id,) in windows} >= set(wanted)
    # What is no number cannot be a count, but what an event carries along is cleaned.
    assert {event_id for event_id in kept if event_id.endswith("-meta")} == {f"{name}-meta" for name in HOSTILE_VALUES}
    assert {error["code"] for error in errors} == {"invalid_message"}


def test_frame_of_ten_megabytes_ends_its_own_session_only(faulty: FaultPortal, ledger: Ledger) -> None:
    size = 10_000_000
    # A text frame under an empty mask: its header says how much is to come.
    header = b"\x81\xff" + size.to_bytes(8, "big") + bytes(4)
    with _peer(faulty, "huge") as neighbour:
        with _peer(faulty, "huge") as peer, _peer(faulty, "huge") as pusher:
            peer.report_last("before-the-huge-one")
            peer.send_bytes(header)
            code = peer.wait_for_close()
            # The portal hangs up while the rest is on its way: its close frame may drown in that.
            with suppress(OSError):
                pusher.send_bytes(header + b" " * size)
            pusher_code = pusher.wait_for_close()
        neighbour_errors = _settle(faulty, neighbour)

    query = "SELECT event_id FROM agents_event WHERE instance_id = ANY(%s::uuid[]) AND kind = 'task.succeeded'"
    ids = [peer.instance_id, pusher.instance_id]
    stored = eventually(lambda: faulty.rows(query, ids), "what came before the frame is stored")
    ledger.note(
        "frame of 10 MB",
        sent="an event and the frame; an event of a neighbour after it",
        stored="both events",
        answered=f"close {code} as soon as its size is known; the neighbour: {_codes(neighbour_errors)}",
    )
    assert code == 1009
    assert pusher_code in (1009, None)
    assert stored == [("before-the-huge-one",)]
    assert neighbour_errors == []


def test_slow_reader_holds_up_nobody(faulty: FaultPortal, ledger: Ledger) -> None:
    """It never takes its orders off the socket, and those are more than any buffer on the way holds."""
    near = faulty.api(0)
    process = faulty.web(FAR).process
    assert process is not None
    memory_mb = [psutil.Process(process.pid).memory_info().rss / 2**20]
    with _peer(faulty, "slow-reader", read_ahead=1) as slow, _peer(faulty, "slow-reader") as neighbour:
        args = {"padding": "x" * 800_000}
        orders = [near.order(slow.instance_id, "ping", args=args, timeout_s=4)["command_id"] for _ in range(20)]
        order = near.order(neighbour.instance_id, "ping", timeout_s=60)
        command = neighbour.receive()["payload"]
        neighbour.send(frames.ack(command["command_id"]))
        neighbour.send(frames.result(command["command_id"]))
        answered = near.wait_for_command(order["command_id"], timeout_s=60)
        memory_mb.append(psutil.Process(process.pid).memory_info().rss / 2**20)
        neighbour_errors = _settle(faulty, neighbour)
        ends = [near.wait_for_command(order, timeout_s=60) for order in orders]

    ledger.note(
        "slow reader",
        sent=f"{len(orders)} commands of 800 kB to an agent that never reads, one to its neighbour",
        stored=f"{len(ends)} × {', '.join({end['status'] for end in ends})}; the neighbour's {answered['status']}",
        answered=f"the process grew by {memory_mb[1] - memory_mb[0]:.0f} MB; the neighbour: {_codes(neighbour_errors)}",
    )
    assert answered["status"] == "succeeded"
    assert {end["status"] for end in ends} == {"expired"}
    assert all(end["error_code"] for end in ends)


def test_silent_sockets_are_closed_or_shown_offline(faulty: FaultPortal, ledger: Ledger) -> None:
    with _peer(faulty, "silent", silent=True) as mute:
        error = mute.receive()["payload"]
        code = mute.wait_for_close()

    with _peer(faulty, "silent") as peer:
        peer.send(peer.agent.heartbeat(sent_at=now()))
        eventually(lambda: _connectivity(faulty, peer) == "online", "it is online")
        eventually(lambda: _connectivity(faulty, peer) == "offline", "silence shows", timeout_s=60)
        peer.send(peer.agent.heartbeat(sent_at=now()))
        eventually(lambda: _connectivity(faulty, peer) == "online", "the same socket brings it back")

    ledger.note(
        "silent socket",
        sent="no hello; or a hello, one heartbeat and nothing more",
        stored="nothing; or offline, and online again with the next heartbeat",
        answered=f"{error['code']} and close {code} after {HELLO_TIMEOUT_S} s; or nothing",
    )
    assert (error["code"], error["close_connection"], code) == ("session_not_initialized", True, 1008)


def _connectivity(portal: FaultPortal, peer: Peer) -> str:
    return portal.value("SELECT connectivity FROM agents_instance WHERE id = %s", peer.instance_id)


@pytest.mark.timeout(300)
def test_flood_of_one_agent_is_held_back_and_its_neighbours_are_not(faulty: FaultPortal, ledger: Ledger) -> None:
    service = "flood"
    neighbours = [
        agent
        for first in (0, FAR)
        for agent in faulty.streamers(NEIGHBOURS // 2, service=service, first=first, every_s=1)
    ]
    # Padded, so that buffers on the way hold some dozens of its frames and not thousands.
    (flood,) = faulty.streamers(1, service=service, first=FAR, every_s=0, padding=8 * 1024)
    with faulty.crowd(neighbours, streamed=1) as crowd:
        calm_at = _wait_for_more(neighbours, FLOOD_EVENTS)
        with faulty.crowd([flood], streamed=1) as flooding:
            flood_at = time.time()
            _wait_for_more(neighbours, FLOOD_EVENTS)
            ended_at, flooded = time.time(), len(flood.written)
            faulty.wait_until_all_stored(flooding)
        faulty.wait_until_all_stored(crowd)
        closes = [close for agent in (*neighbours, flood) for close in agent.closes]

    quiet_ms = _delay_p99_ms(faulty, neighbours, calm_at, flood_at)
    flooded_ms = _delay_p99_ms(faulty, neighbours, flood_at, ended_at)
    lost = faulty.lost_numbers([*neighbours, flood])
    written = sum(len(agent.written) for agent in neighbours)
    neighbour_errors = [error for agent in neighbours for error in agent.errors]
    ledger.note(
        f"flood of one agent beside {NEIGHBOURS}",
        sent=f"{flooded} events in {ended_at - flood_at:.0f} s by the one, {written} by the others",
        stored=f"all but {sum(map(len, lost.values()))}; sent to durable, p99 of the others: {quiet_ms:.0f} ms before,"
        f" {flooded_ms:.0f} ms during",
        answered=f"the one: {_codes(flood.errors)}; the others: {_codes(neighbour_errors)}; {len(closes)} closed",
    )
    assert [agent for agent, numbers in lost.items() if numbers] == []
    assert (closes, neighbour_errors) == ([], [])
    assert {error["code"] for error in flood.errors} == {"rate_limited"}
    # Whether they are served at all; how much slower they are served is for the bench, on a machine of its own.
    assert flooded_ms < STARVED_MS


def _wait_for_more(agents: list[Streamer], count: int) -> float:
    """Until each agent wrote so many more events; returns when it began, in epoch seconds."""
    began_at, before = time.time(), [len(agent.written) for agent in agents]
    eventually(
        lambda: all(len(agent.written) >= n + count for agent, n in zip(agents, before, strict=True)),
        f"each agent reports {count} more events",
        timeout_s=60 + 2 * count,
    )
    return began_at


def _delay_p99_ms(portal: FaultPortal, agents: list[Streamer], after: float, before: float) -> float:
    """From an agent's clock when it reports to the commit of its row; both clocks are those of this machine."""
    return portal.value(
        "SELECT 1000 * percentile_cont(0.99) WITHIN GROUP (ORDER BY"
        " extract(epoch FROM pg_xact_commit_timestamp(xmin) - occurred_at)::float) FROM agents_event"
        " WHERE kind = 'task.succeeded' AND instance_id = ANY(%s::uuid[])"
        " AND occurred_at BETWEEN to_timestamp(%s) AND to_timestamp(%s)",
        [agent.instance_id for agent in agents],
        after,
        before,
    )
