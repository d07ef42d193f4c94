"""The deadline sweep beside very many open commands."""

import json

from bench.context import Bench
from bench.report import Row

OPEN_COMMANDS = 100_000


def sweep(bench: Bench) -> list[Row]:
    """The service function that the background job calls each second, timed in a process with Django set up,
    beside the worker that does the same."""
    count = OPEN_COMMANDS if bench.options.agents is None else bench.options.agents
    found = json.loads(bench.portal.python("-m", "bench.sweeping", str(count)).splitlines()[-1])
    problem = f"{found['left']} of {found['due']} due ones are still open" if found["left"] else ""
    what = f"deadline sweep at {count:,} open commands, p95"
    return [Row(what, "ms", found["idle"]["p95_ms"], "at most", 20, None, problem, found)]
