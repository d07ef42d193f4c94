"""The service `demo-billing`: a task that fails into a dead letter queue, and a report by cron."""

import asyncio
import random
from typing import Any

from onestep import CronSource, IntervalSource, MaxAttempts, MemoryQueue, OneStepApp, TaskContext

from demo.agent import run

app = OneStepApp("demo-billing", shutdown_timeout_s=3)
invoices = MemoryQueue("invoices")
unpaid = MemoryQueue("unpaid_invoices")


@app.task(name="find_invoices", source=IntervalSource.every(seconds=6, immediate=True), emit=invoices)
async def find_invoices(_ctx: TaskContext, _item: Any) -> dict[str, Any]:
    """Looks for invoices that are due."""
    return {"invoice": random.randint(10_000, 99_999), "amount": round(random.uniform(5, 500), 2)}


@app.task(
    name="charge_card",
    source=invoices,
    dead_letter=unpaid,
    retry=MaxAttempts(max_attempts=2, delay_s=1),
    timeout_s=2,
)
async def charge_card(ctx: TaskContext, item: Any) -> None:
    """Charges the card. Half of them fail for good and go to the dead letter queue, from where they can be replayed."""
    chance = random.random()
    if chance < 0.1:
        await asyncio.sleep(5)
    if chance < 0.6:
        raise PermissionError(f"the card of invoice {item['invoice']} was declined")
    ctx.metrics.counter("amount_charged_total", labels={"currency": "EUR"}).inc(item["amount"])


@app.task(name="daily_report", source=CronSource("* * * * *"))
async def daily_report(ctx: TaskContext, _item: Any) -> dict[str, Any]:
    """Daily in real life; here every minute, so that it can be watched."""
    ctx.metrics.gauge("unpaid_invoices").set(unpaid.size())
    return {
        "notification": {
            "summary": "Report sent",
            "metrics": [{"label": "unpaid invoices", "value": unpaid.size()}],
        }
    }


if __name__ == "__main__":
    run(app, description="Charges cards; some are declined and wait in a dead letter queue.")
