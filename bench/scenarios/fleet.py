"""Many connected agents: what one costs, how all come back at once, and how commands reach them."""

import json
import time
from collections import Counter
from collections.abc import Sequence

from bench.context import DURABLE_WITHIN_S, PARTS, Bench
from bench.database import NotDurable
from bench.frames import Identity
from bench.machine import resident_bytes
from bench.report import Row
from bench.rest import Answered, Call
from bench.scenarios.latency import took
from bench.stats import milliseconds, percentile

AGENTS = 2000
SECONDS = 12.0
# A light load for the latency of single commands, and clients enough to find the most.
LATENCY_RATE = 40.0
CLIENTS = 16
_WARM_UP_AGENTS = 50
_SETTLE_S = 2.0
_ARRIVE_WITHIN_S = 30
_SERVICE = "bench-00"
_PING = json.dumps({"kind": "ping", "timeout_s": 60}).encode()
_PING_ALL = json.dumps(
    {"kind": "ping", "timeout_s": 60, "reason": "to measure a fan-out", "target_mode": "all_online"}
).encode()


def connect(bench: Bench) -> list[Row]:
    """Agents new to the portal, a hundred at a time, until each has its topology stored; no target of its own."""
    size = bench.agents(AGENTS)
    bench.drop_fleet()
    began = time.time()
    _have_all(bench)
    rate = size / (time.time() - began)
    return [Row(f"connect, hello, sync of {size} new agents, polite", "/s", rate)]


def idle(bench: Bench) -> list[Row]:
    """How much the web processes grow by connected agents that are silent after their first topology and heartbeat.

    Fresh processes that have served a few agents before, so that neither free memory of earlier work hides the
    growth nor what is loaded once counts as growth.
    """
    size = bench.agents(AGENTS)
    bench.drop_fleet()
    bench.portal.stop_webs()
    bench.portal.start_webs()
    bench.portal.wait_until_ready()
    bench.side.fleet("warm-up", _WARM_UP_AGENTS, service_count=1)
    _connected, marks = bench.side.connect(bench.portal.targets())
    bench.database.wait_for(marks, within_s=DURABLE_WITHIN_S)
    before = _resident(bench)
    _have_all(bench)
    time.sleep(_SETTLE_S)
    grown = (_resident(bench) - before) / 1024 / size
    bench.side.disconnect()
    return [Row("memory per idle connection", "KiB", grown, "at most", 60, bench.raw.get("socket"))]


def commands(bench: Bench) -> list[Row]:
    """Single commands: how long one takes to an agent that another process holds, and how many end in a second."""
    _have_all(bench)
    return [*_command_latency(bench), _command_rate(bench)]


def fan_out(bench: Bench) -> list[Row]:
    """One order to all agents: from sending the request until the last agent has its frame."""
    _have_all(bench)
    size = bench.agents(AGENTS)
    bench.load.take_log()
    call = Call("POST", f"/api/v1/services/{_SERVICE}/commands?environment=dev", _PING_ALL)
    answer = _call(bench, [call], clients=1, seconds=0.001)[0]
    arrived = _arrivals(bench, size)
    _wait_until_answered(bench)
    problem = _refusal([answer]) or _missing(arrived, size)
    last = max(arrived.values(), default=float("nan")) - answer.sent_at
    first = min(arrived.values(), default=float("nan")) - answer.sent_at
    details: dict[str, object] = {
        "answered_ms": round(took(answer) * 1000, 1),
        "first_frame_ms": round(first * 1000, 1),
    }
    return [Row(f"fan-out to {size} agents, last frame", "s", last, "at most", 3, None, problem, details)]


def storm(bench: Bench) -> list[Row]:
    """All web processes restart, and all agents come back at once, each dialling from before the port is open.

    Timed from the first upgrade that is answered until every agent is acknowledged and its topology and first
    heartbeat are durable.
    """
    size = bench.agents(AGENTS)
    _have_all(bench)
    bench.portal.stop_webs()
    bench.load.disconnect()
    bench.load.take_log()
    dialling = bench.load.begin_connect(bench.portal.targets(), at_once=size)
    began = time.time()
    bench.portal.start_webs()
    connected, marks = dialling()
    durable_at = bench.database.wait_for(marks, within_s=DURABLE_WITHIN_S)
    log = bench.load.take_log()
    problem = []
    if connected.count < size:
        problem.append(f"only {connected.count} of {size} came back")
    if connected.refused_without_hint:
        problem.append(f"{connected.refused_without_hint} refused without a hint")
    if log.errors or log.closes:
        problem.append(f"errors {dict(log.errors)}, closes {dict(log.closes)}")
    details: dict[str, object] = {
        "acknowledged_s": round(connected.last_acked_at - connected.first_answer_at, 2),
        "with_the_start_of_the_processes_s": round(durable_at - began, 2),
        "attempts": connected.attempts,
        "refused_with_hint": connected.refused_with_hint,
        "refused_without_hint": connected.refused_without_hint,
        "dropped": connected.dropped,
        "refusals": dict(log.refusals),
    }
    seconds = durable_at - connected.first_answer_at
    what = f"{size} agents back at once after a restart"
    return [Row(what, "s", seconds, "at most", 10, bench.raw.get("handshakes"), "; ".join(problem), details)]


def _have_all(bench: Bench) -> None:
    """The fleet of one service, dealt over all web processes."""
    webs = range(len(bench.portal.webs))
    bench.connect_fleet(bench.agents(AGENTS), service_count=1, webs=webs)


def _resident(bench: Bench) -> int:
    return sum(resident_bytes(process.pid) for process in bench.portal.webs)


# --- commands


def _command_latency(bench: Bench) -> list[Row]:
    """REST goes to the first process, to agents that the second one holds, at a light rate."""
    instances = _instances(bench)[1 :: len(bench.portal.webs)]
    bench.load.take_log()
    answers = _call(bench, _pings(instances), clients=CLIENTS, seconds=bench.seconds(SECONDS), rate=LATENCY_RATE)
    arrived = _arrivals(bench, len(answers))
    _wait_until_answered(bench)
    problem = _refusal(answers) or _missing(arrived, len(answers))
    waits = [
        arrived[command_id] - answer.sent_at for answer in answers if (command_id := _command_id(answer)) in arrived
    ]
    after = [
        max(0.0, arrived[command_id] - answer.answered_at)
        for answer in answers
        if (command_id := _command_id(answer)) in arrived
    ]
    details: dict[str, object] = {
        "from_request": milliseconds(waits),
        "after_answer": milliseconds(after),
        "rest": milliseconds([took(answer) for answer in answers]),
        "commands": len(answers),
    }
    return [
        *_latency_rows(bench, "its acceptance", after, problem, details, is_target=True),
        *_latency_rows(bench, "the request", waits, problem, details, is_target=False),
    ]


def _latency_rows(
    bench: Bench, since: str, times: Sequence[float], problem: str, details: dict[str, object], *, is_target: bool
) -> list[Row]:
    """The median, 95th and 99th percentile of seconds from `since` to the frame; the target is about the acceptance."""
    return [
        Row(
            f"command, from {since} to the frame in another process, {name}"
            + ("" if is_target else f" (stricter than the target of {target} ms)"),
            "ms",
            percentile(times, share) * 1000 if times else float("nan"),
            "at most" if is_target else "none",
            target,
            bench.raw.get(f"redis {name}"),
            problem,
            details,
        )
        for name, share, target in (("p50", 0.50, 30), ("p95", 0.95, 80), ("p99", 0.99, 150))
    ]


def _command_rate(bench: Bench) -> Row:
    """Closed loop; a command counts when the database has it succeeded."""
    bench.load.take_log()
    before, succeeded = bench.usage(), bench.database.commands("succeeded")
    began = time.monotonic()
    answers = _call(bench, _pings(_instances(bench)), clients=CLIENTS, seconds=bench.seconds(SECONDS))
    _wait_until_answered(bench)
    seconds = time.monotonic() - began
    used, done = bench.usage(), bench.database.commands("succeeded") - succeeded
    problem = _refusal(answers)
    if done != len(answers):
        problem = f"{len(answers)} ordered, {done} succeeded; {problem}".rstrip("; ")
    details: dict[str, object] = {
        "rest": milliseconds([took(answer) for answer in answers]),
        "cpu_s_per_1000": {name: round((used[name] - before[name]) / max(1, done) * 1000, 2) for name in PARTS},
        "seconds": round(seconds, 3),
    }
    return Row(
        "single commands, ordered, answered and durable", "/s", done / seconds, "at least", 300, None, problem, details
    )


def _call(
    bench: Bench, calls: Sequence[Call], *, clients: int, seconds: float, rate: float | None = None
) -> list[Answered]:
    pending = bench.side.begin_rest(bench.portal.rest(0), calls, clients=clients, seconds=seconds, rate=rate)
    return pending.results()[0]


def _instances(bench: Bench) -> list[str]:
    size = bench.agents(AGENTS)
    return [str(Identity(bench.fleet_run, index, _SERVICE).instance_id) for index in range(size)]


def _pings(instances: Sequence[str]) -> list[Call]:
    return [Call("POST", f"/api/v1/instances/{instance}/commands", _PING) for instance in instances]


def _command_id(answer: Answered) -> str:
    return str(json.loads(answer.body).get("command_id", "")) if answer.status == 200 else ""


def _arrivals(bench: Bench, count: int) -> dict[str, float]:
    """When each command's frame first came to its agent, once `count` have come or it is too late."""
    arrived: dict[str, float] = {}
    deadline = time.monotonic() + _ARRIVE_WITHIN_S
    while len(arrived) < count and time.monotonic() < deadline:
        for command_id, at in bench.load.take_log().commands:
            arrived.setdefault(command_id, at)
        time.sleep(0.02)
    return arrived


def _wait_until_answered(bench: Bench) -> None:
    deadline = time.monotonic() + DURABLE_WITHIN_S
    while bench.database.open_commands():
        if time.monotonic() > deadline:
            raise NotDurable(f"{bench.database.open_commands()} commands were never answered")
        time.sleep(0.05)


def _missing(arrived: dict[str, float], count: int) -> str:
    return f"{count} ordered, {len(arrived)} frames came" if len(arrived) != count else ""


def _refusal(answers: Sequence[Answered]) -> str:
    refused = Counter(answer.status for answer in answers if answer.status != 200)
    if not refused:
        return ""
    first = next(answer for answer in answers if answer.status != 200)
    return f"REST answered {dict(refused)}: {first.body[:200].decode('utf-8', 'replace')}"
