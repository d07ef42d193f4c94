"""The bench still runs: every load in small, where all that was sent must be stored. No rate is looked at."""

import uuid

import pytest

from bench.context import Options
from bench.machine import Cores
from bench.run import running_bench
from bench.scenarios import fleet, flood, latency, pages, registry, scrape, sweep, telemetry

# The first test starts five processes, which takes a busy machine its time.
pytestmark = [pytest.mark.e2e, pytest.mark.needs_postgres, pytest.mark.needs_redis, pytest.mark.timeout(300)]

# The scenarios that start processes again are left to `make bench`; all that they send is sent here too.
SCENARIOS = {
    "heartbeats": telemetry.heartbeats,
    "events": telemetry.events,
    "single events": telemetry.single_events,
    "metrics": telemetry.metrics,
    "mixed": telemetry.mixed,
    "durability": latency.durability,
    "pages": latency.pages,
    "open pages": pages.open_pages,
    "flood": flood.flood,
    "commands": fleet.commands,
    "fan-out": fleet.fan_out,
    "sweep": sweep.sweep,
    "scrape": scrape.scrape,
    "registry": registry.registry,
}


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as environment:
        # These few send what hundreds send otherwise: on a fast machine more than one agent may send at a time.
        environment.setenv("AGENT_FRAME_BURST", "1000000")
        yield from _running()


def _running():
    # No core is taken from the tests that run at the same time.
    with running_bench(Options(agents=8, seconds=0.4), Cores(None, None), f"bench_{uuid.uuid4().hex[:12]}") as bench:
        yield bench


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario_stores_all_that_it_sends(bench, scenario):
    rows = scenario(bench)

    assert rows
    assert [row.problem for row in rows] == [""] * len(rows)
