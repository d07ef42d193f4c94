"""What one agent that sends without measure costs those beside it."""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from statistics import median

from bench.context import DURABLE_WITHIN_S, EVENT_TABLE, PARTS, WINDOW_TABLE, Bench
from bench.fleet import Driven
from bench.frames import Identity
from bench.load import Load
from bench.report import Row
from bench.scenarios.latency import Seen, Watcher
from bench.stats import milliseconds, percentile

AGENTS = 200
# So many of the agents are watched; they send as the others do.
PROBES = 20
# Frames of one event that each agent sends a second.
FRAMES_PER_S = 5.0
FLOOD_RECORDS = 20
SECONDS = 6.0
# Without and with the flood, in turn. The middle one of three rounds counts: a stall of the machine, which decides the
# 99th percentile of its round, is found in both kinds.
ROUNDS = (False, True, False, True, False, True)
# From then on the burst that every agent may send has been stored.
_STEADY_AFTER_S = 2.0
_PROBE_RUN = "flood-probe"


@dataclass(frozen=True, slots=True)
class _Round:
    began_at: float
    seen: list[Seen]
    flood: Driven | None
    errors: Counter[str]
    cpu: dict[str, float]
    problem: str


def flood(bench: Bench) -> list[Row]:
    """How much later the events of well-behaved agents are durable while another one floods the same process."""
    size = bench.agents(AGENTS)
    probes = min(PROBES, size - 1)
    bench.connect_fleet(size - probes, service_count=1, webs=[0])
    bench.side.fleet(_PROBE_RUN, probes, service_count=1)
    bench.side.connect(bench.portal.targets(0))
    rounds = [_round(bench, number, probes, is_flooded=is_flooded) for number, is_flooded in enumerate(ROUNDS)]
    bench.side.disconnect()
    quiet = [done for done in rounds if done.flood is None]
    flooded = [done for done in rounds if done.flood is not None]
    problems = [done.problem for done in rounds if done.problem]
    details: dict[str, object] = {
        "quiet": _figures(quiet),
        "flooded": _figures(flooded),
        "flooded after the burst": milliseconds(_times(flooded, after_s=_STEADY_AFTER_S)),
        "quiet after as long": milliseconds(_times(quiet, after_s=_STEADY_AFTER_S)),
        "events of the flood": [done.flood.events for done in flooded if done.flood],
        "error frames of the flood": dict(sum((done.errors for done in flooded), Counter[str]())),
    }
    return [
        Row(
            f"a flood beside {size} agents: growth of their receive → durable p99",
            "%",
            _growth(quiet, flooded),
            "at most",
            10,
            None,
            "; ".join(problems),
            details,
        )
    ]


def _round(bench: Bench, number: int, probes: int, *, is_flooded: bool) -> _Round:
    """One drive of all well-behaved agents until all of it, and of the flood, is durable."""
    seconds, others = bench.seconds(SECONDS), bench.agents(AGENTS) - probes
    bench.database.empty(EVENT_TABLE, WINDOW_TABLE)
    bench.load.take_log()
    bench.side.take_log()
    with closing(Load(1)) as flooder:
        if is_flooded:
            # Each is a connection of its own, which may send its burst.
            flooder.fleet(f"flood-{number}", 1, service_count=1)
            flooder.connect(bench.portal.targets(0))
        before = bench.usage()
        identities = [Identity(_PROBE_RUN, index, "bench-00") for index in range(probes)]
        watcher = Watcher(bench.servers.database_url, identities, rate=FRAMES_PER_S * probes, seconds=seconds)
        drive = bench.load.begin_drive("events", records=1, seconds=seconds, rate=FRAMES_PER_S * others)
        flooding = flooder.begin_flood(records=FLOOD_RECORDS, seconds=seconds) if is_flooded else None
        probed = bench.side.drive("events", records=1, seconds=seconds, rate=FRAMES_PER_S * probes)
        seen, driven = watcher.seen(), drive()
        flooded = flooding() if flooding else None
        sent = [driven, probed, *([flooded] if flooded else [])]
        for each in sent:
            bench.database.wait_for(each.marks, within_s=DURABLE_WITHIN_S)
        used = bench.since(before)
        stored = bench.database.task_events(min(each.began_at for each in sent))
        errors = flooder.take_log().errors
        flooder.disconnect()
    return _Round(
        probed.began_at, seen, flooded, errors, used, _problem(bench, sent, stored, len(seen) == probed.events)
    )


def _problem(bench: Bench, sent: list[Driven], stored: int, is_seen: bool) -> str:
    found = []
    events = sum(each.events for each in sent)
    if stored != events:
        found.append(f"{events} events sent, {stored} stored")
    if not is_seen:
        found.append("not all probes were seen")
    if sum(each.withheld for each in sent):
        found.append("frames of the schedule could not be sent")
    found += [
        f"well-behaved agents: errors {dict(log.errors)}, closes {dict(log.closes)}"
        for log in (bench.load.take_log(), bench.side.take_log())
        if log.errors or log.closes
    ]
    return "; ".join(found)


def _growth(quiet: list[_Round], flooded: list[_Round]) -> float:
    """Of the 99th percentile of the middle round, in percent."""
    return (_middle(flooded) / _middle(quiet) - 1) * 100


def _middle(rounds: list[_Round]) -> float:
    percentiles = [percentile(times, 0.99) for done in rounds if (times := _times([done]))]
    return median(percentiles) if percentiles else float("nan")


def _times(rounds: list[_Round], *, after_s: float = 0.0) -> list[float]:
    return [seen.took_s for done in rounds for seen in done.seen if seen.sent_at >= done.began_at + after_s]


def _figures(rounds: list[_Round]) -> dict[str, object]:
    return milliseconds(_times(rounds)) | {
        "p99_ms_by_round": [milliseconds([seen.took_s for seen in done.seen]).get("p99_ms") for done in rounds],
        "probes": sum(len(done.seen) for done in rounds),
        "cpu_seconds": {name: round(sum(done.cpu[name] for done in rounds), 3) for name in PARTS},
    }
