"""The node registry: 10,000 nodes that report over HTTP every 30 seconds, and the sweep that judges them."""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime

from bench.agent import Target
from bench.context import Bench
from bench.judging import HEALTH
from bench.machine import cpu_seconds
from bench.raw import python_server
from bench.report import Raw, Row
from bench.rest import Answered, Call
from bench.scenarios.latency import took
from bench.stats import milliseconds, percentile

NODES = 10_000
INTERVAL_S = 30.0
SECONDS = 15.0
MAXIMUM_SECONDS = 4.0
# As a proxy in front of the portal keeps them; a node that calls by itself has one of its own.
CONNECTIONS = 256
# As many as the server has threads, twice: more only wait.
CLOSED_CONNECTIONS = 32
_REPORTS_LEAST = 5
_PATH = "/api/v1/master/nodes/A{}/status"


def registry(bench: Bench) -> list[Row]:
    """Reports at the fleet's own rate, and as fast as they are taken; each beside a bare view that does one UPDATE."""
    count = bench.agents(NODES)
    # A small fleet in a short run would send nothing.
    rate = max(count / INTERVAL_S, _REPORTS_LEAST / bench.seconds(SECONDS))
    bench.drop_fleet()
    with python_server(bench, "bench.bare") as (process, target):
        bench.portal.python("-m", "bench.judging", "fill", str(count))
        bare, _cpu = _report(bench, target, count, rate=rate)
        used = cpu_seconds([process.pid])
        bare_maximum, _cpu = _report(bench, target, count)
        bare_cost = (cpu_seconds([process.pid]) - used) / len(bare_maximum) * 1000
    bench.portal.python("-m", "bench.judging", "fill", str(count))
    target = bench.portal.targets(0)[0]
    began = datetime.now(tz=UTC)
    answers, cpu = _report(bench, target, count, rate=rate)
    problem = _problem(answers) or _unstored(bench, answers, began)
    maximum, maximum_cpu = _report(bench, target, count)
    found = json.loads(bench.portal.python("-m", "bench.judging", "time").splitlines()[-1])
    return [
        Row(
            f"registry: {count:,} nodes, a report each every {INTERVAL_S:g} s: p99 of the answer",
            "ms",
            percentile([took(each) for each in answers], 0.99) * 1000,
            "at most",
            100,
            Raw("a bare Django view with one UPDATE, p99", percentile([took(each) for each in bare], 0.99) * 1000),
            problem,
            milliseconds([took(each) for each in answers]) | {"cpu_s_per_1000": _per_1000(cpu, answers)},
        ),
        Row(
            "registry: reports as fast as they are taken",
            "/s",
            _rate(maximum),
            raw=Raw("of a bare Django view with one UPDATE", _rate(bare_maximum)),
            problem=_problem(maximum),
            details=milliseconds([took(each) for each in maximum])
            | {"cpu_s_per_1000": _per_1000(maximum_cpu, maximum)},
        ),
        Row(
            "registry: CPU-s of web per 1,000 reports, as fast as they are taken",
            "s",
            _per_1000(maximum_cpu, maximum)["web"],
            raw=Raw("of a bare Django view with one UPDATE", bare_cost),
        ),
        Row(
            f"registry: sweep over {count:,} nodes, p95",
            "ms",
            found["sweep"]["p95_ms"],
            "at most",
            100,
            problem=f"{found['left']} silent nodes are not offline" if found["left"] else "",
            details=found,
        ),
        Row(f"registry: sweep that turns {count:,} nodes offline at once", "ms", found["all_silent_ms"]),
        Row(f"registry: nodes.json of {count:,} nodes, written anew, p95", "ms", found["file_changed"]["p95_ms"]),
    ]


def _report(
    bench: Bench, target: Target, count: int, *, rate: float | None = None
) -> tuple[list[Answered], dict[str, float]]:
    """Answers to reports of nodes in no order, `rate` a second or as fast as they are taken; and CPU by part."""
    before = bench.usage()
    seconds = bench.seconds(MAXIMUM_SECONDS if rate is None else SECONDS)
    clients = CLOSED_CONNECTIONS if rate is None else CONNECTIONS
    pending = bench.side.begin_rest(target, _calls(count), clients=clients, seconds=seconds, rate=rate)
    answers = pending.results()[0]
    return answers, bench.since(before)


def _calls(count: int) -> Sequence[Call]:
    """A report of each node; a value in it is new, so that each is stored whole."""
    order = list(range(1, count + 1))
    random.Random(count).shuffle(order)
    now = datetime.now(tz=UTC).isoformat()
    return [
        Call("PUT", _PATH.format(number), json.dumps({"timestamp": now, "health": _health(place)}).encode())
        for place, number in enumerate(order)
    ]


def _health(place: int) -> dict[str, dict[str, object]]:
    return {**HEALTH, "disk": {"status": "healthy", "used": round(place % 997 / 1000, 3) + 1}}


def _problem(answers: Sequence[Answered]) -> str:
    failed = [answer for answer in answers if answer.status != 200]
    return f"{len(failed)} of {len(answers)} reports: HTTP {failed[0].status} {failed[0].body!r:.200}" if failed else ""


def _unstored(bench: Bench, answers: Sequence[Answered], began: datetime) -> str:
    """What was answered with 200 and is not in the database."""
    wanted = [answer.call.path.split("/")[-2] for answer in answers]
    row = bench.database.connection.execute(_STORED, [list(set(wanted)), began, began]).fetchone()
    stored = row[0] if row else 0
    return f"{len(set(wanted))} nodes reported, {stored} are stored" if stored != len(set(wanted)) else ""


_STORED = """
    SELECT count(*) FROM agents_instance
    WHERE dialect = 'argus' AND external_id = ANY(%s) AND last_seen_at >= %s AND last_heartbeat_sent_at >= %s
"""


def _rate(answers: Sequence[Answered]) -> float:
    return len(answers) / (max(each.answered_at for each in answers) - min(each.sent_at for each in answers))


def _per_1000(cpu: dict[str, float], answers: Sequence[Answered]) -> dict[str, float]:
    return {name: round(cpu[name] / len(answers) * 1000, 4) for name in ("web", "background", "postgres")}
