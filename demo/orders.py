"""The service `demo-orders`: a healthy pipeline from a schedule through a queue."""

import asyncio
import random
from typing import Any

from onestep import IntervalSource, MaxAttempts, MemoryQueue, OneStepApp, TaskContext

from demo.agent import run

app = OneStepApp("demo-orders", shutdown_timeout_s=3)
orders = MemoryQueue("orders")


@app.task(name="collect_orders", source=IntervalSource.every(seconds=4, immediate=True), emit=orders)
async def collect_orders(ctx: TaskContext, _item: Any) -> dict[str, Any]:
    """Asks the shop for new orders and puts them into the queue."""
    found = random.randint(1, 5)
    ctx.metrics.counter("orders_collected_total", labels={"channel": "web"}).inc(found)
    return {
        "orders": found,
        "notification": {"summary": f"{found} orders collected", "metrics": [{"label": "orders", "value": found}]},
    }


@app.task(name="ship_order", source=orders, retry=MaxAttempts(max_attempts=3, delay_s=1), timeout_s=10, concurrency=2)
async def ship_order(ctx: TaskContext, item: Any) -> None:
    """Packs and ships; now and then the carrier is busy and it tries again."""
    await asyncio.sleep(random.uniform(0.1, 0.8))
    if random.random() < 0.15:
        raise ConnectionError("the carrier did not answer")
    ctx.metrics.counter("orders_shipped_total").inc(item["orders"])
    ctx.metrics.gauge("orders_waiting").set(orders.size())


if __name__ == "__main__":
    run(app, description="Collects orders and ships them; two instances share the work.")
