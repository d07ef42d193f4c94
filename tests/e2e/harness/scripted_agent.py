"""A OneStep program whose tasks do what files in its control directory say; it runs in the agents' environment.

Every execution of a handler is one JSON line in `journal`, so that a test can tell what really ran from what the
portal believes. A file `repaired` in the control directory makes the failing payloads succeed.
"""

import asyncio
import itertools
import json
import logging
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from onestep import (
    ControlPlaneReporter,
    ControlPlaneReporterConfig,
    CronSource,
    IntervalSource,
    MaxAttempts,
    MemoryQueue,
    OneStepApp,
)

CONTROL = Path(os.environ["SCRIPTED_CONTROL_DIR"])
RESTART_EXIT_STATUS = 75
# One of each ending in turn: succeeded, retried then dead-lettered and failed, the same by timeout.
MODES = ("ok", "fail", "ok", "slow")

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
# These tasks fail on purpose; their tracebacks would bury what the connection did.
logging.getLogger(f"onestep.{os.environ['SCRIPTED_SERVICE']}").setLevel(logging.CRITICAL)
app = OneStepApp(os.environ["SCRIPTED_SERVICE"], shutdown_timeout_s=0.5)
ControlPlaneReporter(ControlPlaneReporterConfig.from_env(app_name=app.name)).attach(app)
work, dead = MemoryQueue("work", poll_interval_s=0.05), MemoryQueue("dead", poll_interval_s=0.05)
ticks, hangs = itertools.count(1), itertools.count(1)


def write_journal(task: str, **details: object) -> None:
    with (CONTROL / "journal").open("a", encoding="utf-8") as journal:
        journal.write(json.dumps({"task": task, "at": time.time(), **details}) + "\n")


@app.task(name="tick", source=IntervalSource(timedelta(milliseconds=250), immediate=True), emit=work)
async def tick(ctx, item):
    """Feeds the queue."""
    n = next(ticks)
    write_journal("tick", n=n)
    ctx.metrics.counter("rows_total", labels={"table": "orders"}).inc(3)
    ctx.metrics.gauge("lag_seconds").set(1.5)
    return {
        "n": n,
        "mode": MODES[n % len(MODES)],
        "notification": {"summary": "tick ok", "metrics": [{"label": "rows", "value": 3}]},
    }


@app.task(name="work", source=work, dead_letter=dead, retry=MaxAttempts(max_attempts=2, delay_s=0.05), timeout_s=0.4)
async def work_task(ctx, item):
    write_journal("work", **item)
    if (CONTROL / "repaired").exists():
        return
    if item.get("mode") == "fail":
        raise ValueError("boom \u00e4\u4e2d")
    if item.get("mode") == "slow":
        await asyncio.sleep(60)


@app.task(name="hang", source=IntervalSource(timedelta(hours=1), immediate=True))
async def hang(ctx, item):
    """The first execution hangs until it is cancelled; every later one ends at once."""
    n = next(hangs)
    write_journal("hang", n=n)
    await asyncio.sleep(3600 if n == 1 else 0)


# Only runs when asked to: once a year, on the 29th of February.
@app.task(name="manual", source=CronSource("0 0 29 2 *"))
async def manual(ctx, item):
    write_journal("manual", **item)
    await asyncio.sleep(item.get("seconds", 0))
    # Blocks the whole loop, as a handler does that calls a synchronous library.
    time.sleep(item.get("blocked_seconds", 0))  # noqa: ASYNC251
    write_journal("manual-done", **item)


@app.task(name="helper")
async def helper(ctx, item):
    """A task without a source: part of the topology, but nothing that could be controlled."""


app.run()
sys.exit(RESTART_EXIT_STATUS if app.restart_requested else 0)
