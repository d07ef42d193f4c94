"""The command line, and what has to run around every scenario."""

import argparse
import contextlib
import json
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from bench import machine, raw
from bench.context import Bench, Options
from bench.database import Database
from bench.load import Load
from bench.machine import Cores, on_core
from bench.portal import running_portal
from bench.report import Row, as_json, markdown_table, text_table
from bench.scenarios import console, fleet, flood, latency, lists, pages, registry, scrape, sweep, telemetry
from bench.servers import DATABASE, running_servers

Scenario = Callable[[Bench], list[Row]]

# In the order of `all`: what a later one needs of an earlier one is measured before.
SCENARIOS: dict[str, Scenario] = {
    "raw": raw.limits,
    "heartbeats": telemetry.heartbeats,
    "events": telemetry.events,
    "single-events": telemetry.single_events,
    "metrics": telemetry.metrics,
    "mixed": telemetry.mixed,
    "durability": latency.durability,
    "pages": latency.pages,
    "open-pages": pages.open_pages,
    "flood": flood.flood,
    "connect": fleet.connect,
    "idle": fleet.idle,
    "commands": fleet.commands,
    "fan-out": fleet.fan_out,
    "storm": fleet.storm,
    "sweep": sweep.sweep,
    "scrape": scrape.scrape,
    "registry": registry.registry,
}
# Left out of `all`, which is to take minutes and no more.
BY_THEMSELVES: dict[str, Scenario] = {"lists": lists.lists, "console": console.console}
WEB_COUNT = 2
OPEN_FILES = 16384
# How much of a core processes that are not of this run may use before the figures say little about the portal.
OTHERS = ("others_share_of_server_core", "others_share_of_other_core")
OTHERS_MAX = 0.1


def main(arguments: Sequence[str]) -> int:
    parsed = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    _raise_file_limit()
    chosen = list(SCENARIOS) if parsed.scenario == "all" else [parsed.scenario]
    options = Options(parsed.agents, parsed.seconds, parsed.rate, parsed.web, parsed.load)
    began = time.monotonic()
    rows: list[Row] = []
    with running_bench(options, Cores.choose()) as bench:
        about = machine.description() | {"postgres": bench.database.version(), "remarks": bench.servers.remarks}
        print(_preface(about, bench.cores), flush=True)
        for name in chosen:
            found = measure(name, bench)
            rows += found
            for row in found:
                print(f"{name}: {row.what}: {row.measured:.4g} {row.unit} {row.verdict}", flush=True)
    print(f"\n{text_table(rows)}\n\nin {time.monotonic() - began:.0f} s")
    shared = max((float(str(row.details.get(name, 0))) for row in rows for name in OTHERS), default=0.0)
    if shared > OTHERS_MAX:
        print(f"Others used up to {shared:.0%} of a core meanwhile: the portal is faster than these figures.")
    if parsed.json:
        parsed.json.write_text(json.dumps({"machine": about, "rows": as_json(rows)}, indent=2) + "\n")
    if parsed.markdown:
        parsed.markdown.write_text(markdown_table(rows) + "\n")
    return 0 if all(row.passed for row in rows) else 1


def measure(name: str, bench: Bench) -> list[Row]:
    """The rows of one scenario; one that breaks off is a row that failed, and the others go on."""
    try:
        bench.portal.check()
        return (SCENARIOS | BY_THEMSELVES)[name](bench)
    except Exception as error:  # noqa: BLE001 -- said in the table, and the exit status tells
        return [Row(name, "", float("nan"), problem=f"{type(error).__name__}: {error}")]


@contextlib.contextmanager
def running_bench(options: Options, cores: Cores, database_name: str = DATABASE) -> Iterator[Bench]:
    """Servers, portal and load processes, each on its core, for as long as the block."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portal-bench-")))
        stack.enter_context(on_core(cores.rest))
        servers = stack.enter_context(running_servers(folder, cores.rest, database_name))
        portal = stack.enter_context(
            running_portal(servers, folder, web_count=max(WEB_COUNT, options.web), core=cores.server)
        )
        database = stack.enter_context(contextlib.closing(Database(servers.database_url)))
        load = stack.enter_context(contextlib.closing(Load(options.load)))
        side = stack.enter_context(contextlib.closing(Load(1)))
        yield Bench(options, cores, servers, portal, database, load, side)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", choices=["all", *SCENARIOS, *BY_THEMSELVES])
    parser.add_argument("--agents", type=int, help="connected agents, instead of the scenario's own number")
    parser.add_argument("--seconds", type=float, help="how long each load lasts")
    parser.add_argument("--rate", type=float, help="frames a second in open loop, instead of as fast as they are read")
    parser.add_argument("--web", type=int, default=1, help="web processes that the ingest scenarios use (1)")
    parser.add_argument("--load", type=int, default=1, help="processes that the agents are dealt over (1)")
    parser.add_argument("--json", type=Path, help="write all figures into this file")
    parser.add_argument("--markdown", type=Path, help="write the table into this file")
    return parser


def _preface(about: dict[str, object], cores: Cores) -> str:
    lines = [f"{name}: {value}" for name, value in about.items() if name not in {"remarks", "packages"}]
    if cores.server is None:
        lines.append("pinned: nothing, since this machine has one core or knows no affinity; figures are lower for it")
    else:
        lines.append(f"pinned: the portal to core {cores.server}; load, PostgreSQL and Redis to core {cores.rest}")
    remarks = about["remarks"]
    assert isinstance(remarks, list)
    return "\n".join([*lines, *remarks, ""])


def _raise_file_limit() -> None:
    """Thousands of sockets on both sides; children inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
