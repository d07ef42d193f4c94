"""/metrics of a large fleet."""

import json

from bench.context import Bench
from bench.report import Row

INSTANCES = 50_000
TASKS = 2


def scrape(bench: Bench) -> list[Row]:
    """An answer made in a process with Django set up, which is what a scrape costs where none is kept."""
    count = INSTANCES if bench.options.agents is None else bench.options.agents
    found = json.loads(bench.portal.python("-m", "bench.scraping", str(count), str(TASKS)).splitlines()[-1])
    what = f"/metrics of {count:,} instances with {TASKS} tasks"
    return [
        Row(f"{what}, p50", "s", found["times"]["p50_ms"] / 1000, "at most", 5, None, "", found),
        Row(f"{what}: growth of memory", "MiB", found["peak_mib"], "at most", 150, None, "", found),
    ]
