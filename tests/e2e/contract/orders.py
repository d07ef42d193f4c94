"""The service that most tests read: five instances, five tasks, and half an hour of history behind it.

| task | windows (minutes ago) | events (minutes ago) | so it is |
| --- | --- | --- | --- |
| charge | 5 by two instances, 7, and 40 | 6 to 2 by two instances, and 40 | failed |
| hold | | failed 9 | paused, though it failed |
| ship | 10 | | running |
| sweep | | | idle; without source, sinks and retry |
| extra | | | idle; only a heartbeat knows it |
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests import frames
from tests.e2e.contract.stage import TASK_KINDS, Actor, Stage, View, ago

SHIPMENTS_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/shipments"
CHARGE: dict[str, Any] = {
    "name": "charge",
    "description": "Charges cards",
    "source": {"kind": "rabbitmq_queue", "name": "charges", "config": {"routing_key": "c", "prefetch": 10}},
    "emit": [
        {"kind": "memory_queue", "name": "ledger", "config": {"maxsize": 5}},
        {"kind": "http_sink", "name": "audit", "config": {}},
    ],
    "concurrency": 2,
    "timeout_s": 1.5,
    "retry": {"kind": "max_attempts", "config": {"max_attempts": 3, "delay_s": 0.5}},
}
HOLD = frames.task("hold", retry={"kind": "no_retry", "config": {}})
SHIP = frames.task(
    "ship",
    source={"kind": "sqs_queue", "name": SHIPMENTS_URL, "config": {"url": SHIPMENTS_URL}},
    emit=[{"kind": "mysql_table_sink", "name": "shipped", "config": {"table": "t_shipped"}}],
)
SWEEP = {"name": "sweep"}
TASKS = (CHARGE, HOLD, SHIP, SWEEP)

CHARGE_CONTROL = frames.control(
    "charge",
    *TASK_KINDS,
    pause_requested=False,
    accepting_new_work=True,
    runner_count=2,
    fetching_runner_count=1,
    inflight_task_count=3,
)
HOLD_CONTROL = frames.control("hold", "resume_task", pause_requested=True, paused=True, accepting_new_work=False)
BUSY_WINDOW: dict[str, Any] = {
    "task_name": "charge",
    "window_id": "w-5",
    "fetched": 10,
    "started": 8,
    "succeeded": 6,
    "retried": 1,
    "failed": 2,
    "dead_lettered": 2,
    "timeouts": 1,
    "inflight": 3,
    "avg_duration_ms": 100,
    "p95_duration_ms": 250,
}
FAILURE = {"kind": "error", "exception_type": "CardError", "message": "declined", "traceback": "Traceback …"}
TOO_SLOW = {"kind": "timeout", "exception_type": "TimeoutError", "message": "1.5 s", "traceback": None}
SUMMARY = {"summary": "charged", "metrics": [{"label": "cards", "value": 3}]}


@dataclass
class Orders:
    """`first` is healthy and obeys everything, `second` is degraded with another topology and obeys little, `third`
    starts and sent no topology, `fourth` said hello and nothing else, `fifth` reports an error.

    `elsewhere` are services beside it whose names have the same beginning.
    """

    first: Actor
    second: Actor
    third: Actor
    fourth: Actor
    fifth: Actor
    elsewhere: Sequence[Actor] = field(default=(), kw_only=True)

    @property
    def view(self) -> View:
        return self.first.view

    @property
    def actors(self) -> list[Actor]:
        return [self.first, self.second, self.third, self.fourth, self.fifth]


def play_orders(stage: Stage) -> Orders:
    # Without sync_now, or the portal would order one of whoever sent no topology.
    few = ("ping", "pause_task", "resume_task")
    all_of_it: dict[str, Any] = {"environment": "prod", "deployment_version": "2.0"}
    first = stage.enter("orders", node="n-1", description="  Takes orders ", **all_of_it)
    others = [stage.enter("orders", node=f"n-{number}", commands=few, **all_of_it) for number in (2, 3, 4, 5)]
    orders = Orders(first, *others)
    _play_first(orders.first)
    _play_second(orders.second)
    orders.third.tell(status="starting", controls=[frames.control("extra")])
    orders.fifth.tell(status="error")
    orders.elsewhere = [
        _play(stage, "orders", "dev", frames.window("tick", fetched=1, started=0, succeeded=0)),
        _play(stage, "Orders 100%", "staging", frames.window("tick", started=1, succeeded=1, fetched=1)),
    ]
    return orders


def _play_first(first: Actor) -> None:
    agent = first.agent
    first.tell(
        agent.sync(*TASKS, topology_hash="sha256:a", sent_at=ago(30)),
        _window(agent, 40, _charge("w-40", fetched=100, started=100, succeeded=50, failed=50)),
        _window(agent, 10, frames.window("ship", "w-10", fetched=1, started=1, succeeded=1)),
        _window(agent, 7, _charge("w-7", fetched=1, started=1, cancelled=1, avg_duration_ms=40, p95_duration_ms=40)),
        _window(agent, 5, BUSY_WINDOW),
        agent.events(
            _event("failed", "o-40", 40, failure=FAILURE),
            _event("started", "o-6", 6),
            _event("retried", "o-5a", 5.5, failure=TOO_SLOW, attempts=1, duration_ms=1500),
            _event("dead_lettered", "o-5b", 5, failure=FAILURE, attempts=2),
            _event("failed", "o-5c", 5, failure=FAILURE, attempts=2, duration_ms=70),
            _event("dead_lettered", "o-4a", 4, failure=TOO_SLOW, attempts=2),
            _event("failed", "o-4b", 4, failure=TOO_SLOW, attempts=2),
            _event("succeeded", "o-3", 3, duration_ms=12, meta={"source": "charges", "notification": SUMMARY}),
            _event("failed", "o-hold", 9, task_name="hold", failure=FAILURE, meta={}),
        ),
        status="ok",
        controls=[CHARGE_CONTROL, HOLD_CONTROL],
    )


def _play_second(second: Actor) -> None:
    agent = second.agent
    second.tell(
        agent.sync(*TASKS, topology_hash="sha256:b", sent_at=ago(20)),
        _window(agent, 5, _charge("w-5", fetched=5, started=2, succeeded=2, inflight=5)),
        agent.events(_event("cancelled", "o-2", 2, attempts=None)),
        status="degraded",
        controls=[
            frames.control("charge", "pause_task"),
            frames.control("hold", "resume_task", "discard_dead_letters", pause_requested=False),
        ],
    )


def _play(stage: Stage, name: str, environment: str, window: dict[str, Any]) -> Actor:
    actor = stage.enter(name, environment=environment)
    actor.tell(actor.agent.sync(frames.task("tick"), topology_hash="sha256:t"), _window(actor.agent, 3, window))
    return actor


def _charge(window_id: str, **counters: Any) -> dict[str, Any]:
    return {"task_name": "charge", "window_id": window_id, **counters}


def _window(agent: frames.Agent, minutes: float, task: dict[str, Any]) -> dict[str, Any]:
    """A window of half a minute that ended so long ago."""
    return agent.metrics(task, window={"started_at": ago(minutes + 0.5), "ended_at": ago(minutes)})


def _event(kind: str, event_id: str, minutes: float, **changes: Any) -> dict[str, Any]:
    return frames.event(
        kind,
        event_id,
        **({"task_name": "charge", "occurred_at": ago(minutes), "meta": {"source": "charges"}} | changes),
    )
