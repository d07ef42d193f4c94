"""OneStep programs of a shop, in the agents' own environment: `orders` is healthy, `billing` fails every other time.

Which one it is, SCRIPTED_SERVICE says. A file `newer` in the control directory makes it a release with one task more.
"""

import itertools
import logging
import os
import sys
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

NAME = os.environ["SCRIPTED_SERVICE"]
CONTROL = Path(os.environ["SCRIPTED_CONTROL_DIR"])
RESTART_EXIT_STATUS = 75
DESCRIPTIONS = {
    "orders": "Collects orders and ships them.",
    "billing": "Charges cards; some are declined and wait in a dead letter queue.",
}

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
# The failing task fails on purpose.
logging.getLogger(f"onestep.{NAME}").setLevel(logging.CRITICAL)
app = OneStepApp(NAME, shutdown_timeout_s=0.5)
config = ControlPlaneReporterConfig.from_env(app_name=NAME, service_description=DESCRIPTIONS.get(NAME, ""))
ControlPlaneReporter(config).attach(app)
queue, dead = MemoryQueue("work", poll_interval_s=0.05), MemoryQueue("unpaid", poll_interval_s=0.05)
numbers = itertools.count(1)


def orders() -> None:
    @app.task(name="collect_orders", source=IntervalSource.every(seconds=2, immediate=True), emit=queue)
    async def collect_orders(ctx, item):
        """Asks the shop for new orders and puts them into the queue."""
        ctx.metrics.counter("orders_collected_total").inc(3)
        return {"order": next(numbers)}

    @app.task(name="ship_order", source=queue, retry=MaxAttempts(max_attempts=3, delay_s=0.1), timeout_s=10)
    async def ship_order(ctx, item):
        """Packs and ships."""

    @app.task(name="nightly_report", source=CronSource("0 3 * * *"))
    async def nightly_report(ctx, item):
        """Sums up the day."""
        if item.get("month") == 13:
            raise ValueError("there is no month 13")


def billing() -> None:
    @app.task(name="find_invoices", source=IntervalSource.every(seconds=2, immediate=True), emit=queue)
    async def find_invoices(ctx, item):
        """Looks for invoices that are due."""
        return {"invoice": 10_000 + next(numbers)}

    @app.task(
        name="charge_card",
        source=queue,
        dead_letter=dead,
        retry=MaxAttempts(max_attempts=2, delay_s=0.05),
        timeout_s=5,
    )
    async def charge_card(ctx, item):
        """Charges the card; every other one is declined."""
        if item["invoice"] % 2:
            raise PermissionError(f"the card of invoice {item['invoice']} was declined")

    @app.task(name="daily_report", source=CronSource("30 6 * * 1-5"))
    async def daily_report(ctx, item):
        """Tells what is unpaid."""


{"orders": orders, "billing": billing}.get(NAME, orders)()
if (CONTROL / "newer").exists():

    @app.task(name="notify_customer", source=CronSource("*/10 * * * *"))
    async def notify_customer(ctx, item):
        """Tells the customer where the parcel is."""


app.run()
sys.exit(RESTART_EXIT_STATUS if app.restart_requested else 0)
