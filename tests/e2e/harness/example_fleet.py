"""The fleet that the documents speak of: one service, an instance that obeys, one that is away, and their history."""

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from websockets.exceptions import ConnectionClosed

from tests import frames
from tests.e2e.harness.agent_socket import now
from tests.e2e.harness.api import Api
from tests.e2e.harness.peer import Peer
from tests.e2e.harness.portal import Portal
from tests.e2e.harness.waiting import eventually

SERVICE, ENVIRONMENT, TASK = "web/shop", "dev", "sync"
# Those of the examples in the OpenAPI document.
USERNAME, PASSWORD = "ann", "secret"
EVENT_KINDS = ("started", "succeeded", "retried", "failed", "dead_lettered", "cancelled")
# Half of INSTANCE_OFFLINE_AFTER_S of the test portals, less what a busy machine takes.
HEARTBEAT_EVERY_S = 1.0
TASK_COMMANDS = (
    "pause_task", "resume_task", "restart_task", "run_task_once", "replay_dead_letters", "discard_dead_letters"
)  # fmt: skip
COMMANDS = ("ping", "sync_now", "flush_metrics", "flush_events", *TASK_COMMANDS, "drain", "restart", "shutdown")
CAPABILITIES = [
    *(f"telemetry.{channel}" for channel in ("sync", "heartbeat", "metrics", "events")),
    *(f"command.{kind}" for kind in COMMANDS),
]
MAKE_USER = f"""
from django.contrib.auth.models import User
if not User.objects.filter(username={USERNAME!r}).exists():
    User.objects.create_superuser({USERNAME!r}, password={PASSWORD!r})
"""

RETIRED_SERVICE = "web/retired"
RETIRED_ID, REMOVAL_ID = "0b9f0a52-64a3-4f7e-9f0f-6f0f6f1f7d10", "3f0a0a52-64a3-4f7e-9f0f-6f0f6f1f7d10"
# Nobody waits in a test until an instance is offline.
MAKE_RETIRED = f"""
from django.utils import timezone
from agents.models import Instance, Removal, Service
service, _made = Service.objects.get_or_create(name={RETIRED_SERVICE!r}, environment={ENVIRONMENT!r})
Instance.objects.get_or_create(pk={RETIRED_ID!r}, defaults=dict(
    dialect="onestep", external_id={RETIRED_ID!r}, service=service, node_name="shop-9", connectivity="offline"))
now = timezone.now()
Removal.objects.get_or_create(pk={REMOVAL_ID!r}, defaults=dict(
    kind="instance", target_id="1", name="gone", environment={ENVIRONMENT!r}, requested_at=now, finished_at=now))
"""


DELIVERY_ID = "5b1f0a52-64a3-4f7e-9f0f-6f0f6f1f7d10"
# What goes out of a portal of a test reaches nobody.
CHANNEL_URL = "https://hooks.example.com/portal"
MAKE_TOLD = f"""
from django.utils import timezone
from agents.models import Service
from notifications.models import Alert, AlertMember, Attempt, Delivery, Rule
now = timezone.now()
service = Service.objects.get(name={RETIRED_SERVICE!r}, environment={ENVIRONMENT!r})
rule, _made = Rule.objects.get_or_create(name="an example", defaults=dict(event_types=["task_failed"], enabled=False))
alert, _made = Alert.objects.get_or_create(rule=rule, key="an example", defaults=dict(
    event_type="task_failed", status="firing", opened_at=now, last_at=now, event_count=1))
AlertMember.objects.get_or_create(alert=alert, subject="task:1:sync", defaults=dict(
    service=service, task_name="sync", first_at=now, last_at=now, told={{"message": "boom"}}))
delivery, made = Delivery.objects.get_or_create(pk={DELIVERY_ID!r}, defaults=dict(
    dedupe_key="an example", channel_name="gone", provider="custom", target="kept", rule=rule, alert=alert,
    event_type="task_failed", title="[Task failed] dev/web/retired sync", status="failed", attempt_count=1,
    card={{"title": "[Task failed] dev/web/retired sync", "tone": "bad"}}, created_at=now, finished_at=now,
    status_code=500, error="HTTP 500"))
if made:
    Attempt.objects.create(delivery=delivery, started_at=now, finished_at=now, succeeded=False, status_code=500)
"""


class ObedientAgent:
    """Says that each command succeeded, and does nothing of it; reports until it is left."""

    def __init__(self, url: str, token: str) -> None:
        self._peer = Peer(url, token, service=SERVICE, capabilities=CAPABILITIES)
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    @property
    def instance_id(self) -> str:
        return self._peer.instance_id

    def __enter__(self) -> Self:
        report_history(self._peer)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._leaving.set()
        self._thread.join(timeout=10)
        self._peer.__exit__(None, None, None)

    def _live(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            beat_at = 0.0
            while not self._leaving.is_set():
                if time.monotonic() >= beat_at:
                    self._peer.send(heartbeat(self._peer.agent))
                    beat_at = time.monotonic() + HEARTBEAT_EVERY_S
                with contextlib.suppress(TimeoutError):
                    self._obey(self._peer.receive(timeout_s=0.2))

    def _obey(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "command":
            command_id = frame["payload"]["command_id"]
            self._peer.send(frames.ack(command_id))
            self._peer.send(frames.result(command_id))


def heartbeat(agent: frames.Agent) -> dict[str, Any]:
    control = frames.control(TASK, *TASK_COMMANDS, runner_count=1, fetching_runner_count=1)
    return agent.heartbeat(controls=[control], sent_at=now())


def report_history(peer: Peer) -> None:
    """A topology, the last five minutes of metrics, and an event of every kind; stored when this returns."""
    agent, ended_at = peer.agent, datetime.now(UTC)
    peer.send(agent.sync(frames.task(TASK), sent_at=now()))
    peer.send(heartbeat(agent))
    for minute in range(5):
        window = {
            "started_at": (ended_at - timedelta(minutes=minute + 1)).isoformat(),
            "ended_at": (ended_at - timedelta(minutes=minute)).isoformat(),
        }
        figures = frames.window(TASK, f"w{minute}", avg_duration_ms=12.5, p95_duration_ms=40.0, inflight=1, failed=1)
        peer.send(agent.metrics(figures, window=window, sent_at=now()))
    failure = {"kind": "error", "exception_type": "ValueError", "message": "boom", "traceback": "Traceback: boom"}
    events = [
        frames.event(
            kind,
            task_name=TASK,
            occurred_at=(ended_at - timedelta(seconds=age)).isoformat(),
            duration_ms=None if kind == "started" else 12,
            failure=failure if kind in {"retried", "failed", "dead_lettered"} else None,
        )
        for age, kind in enumerate(EVENT_KINDS)
    ]
    peer.send(agent.events(*events, sent_at=now()))
    errors = peer.settle()
    assert not errors, errors


class ExampleFleet:
    """The rows that real values in requests are taken from.

    `retired_id` is an instance that is offline, and `removal_id` a removal that is done. `command_id` is pending until
    somebody cancels it, and nothing is done with the tokens of `token_id` and `agent_token_id`, so that anybody may
    revoke them.
    """

    def __init__(self, portal: Portal, *, instance_id: str, away_id: str) -> None:
        self.portal = portal
        self.api: Api = portal.api()
        self.instance_id = instance_id
        self.away_id = away_id
        self.retired_id, self.removal_id = RETIRED_ID, REMOVAL_ID
        self.command_id = self.hold_command()
        self.fan_out_id = self.fan_out()
        self.event_id = str(self.api.get("/api/v1/history", limit=1)["items"][0]["id"])
        self.node_id = self.register_node()
        self.token_id, self.agent_token_id = self.make_token("tokens"), self.make_token("agent-tokens")
        self.alert_id = str(self.api.get("/api/v1/alerts", limit=1)["items"][0]["id"])
        self.delivery_id = DELIVERY_ID

    def make_token(self, collection: str) -> str:
        """The id of a new token that nobody uses."""
        return str(self.api.post(f"/api/v1/{collection}", {"name": f"of-nobody-{uuid.uuid4()}"}).json()["id"])

    def register_node(self) -> str:
        """The id of the node `db-1`, which is new the first time."""
        node = {"name": "db-1", "type": "agent", "version": "1.2.3", "meta_data": {"env": ENVIRONMENT}}
        return str(self.api.post("/api/v1/master/nodes", node).json()["id"])

    def make_group(self) -> str:
        """The name of a new group, so that anybody may delete it."""
        group = {"name": f"of-nobody-{uuid.uuid4()}", "selector": f"portal/environment={ENVIRONMENT}"}
        return str(self.api.post("/api/v1/groups", group).json()["name"])

    def make_channel(self) -> str:
        """The id of a new channel that is told nothing, so that anybody may delete it."""
        channel = {"name": f"of-nobody-{uuid.uuid4()}", "provider": "feishu", "webhook_url": CHANNEL_URL}
        return str(self.api.post("/api/v1/settings/notifications/channels", channel).json()["id"])

    def make_rule(self) -> str:
        """The id of a new rule that tells nobody."""
        rule = {"name": f"of-nobody-{uuid.uuid4()}", "event_types": ["command_timeout"]}
        return str(self.api.post("/api/v1/rules", rule).json()["id"])

    def make_silence(self) -> str:
        """The id of a new silence of nothing that there is."""
        silence = {"reason": "an example", "selector": "nobody", "ends_at": "2099-01-01T00:00:00Z"}
        return str(self.api.post("/api/v1/silences", silence).json()["id"])

    def fan_out(self) -> str:
        """The id of a new fan-out to all instances of the fleet."""
        order = {"kind": "ping", "reason": "an example", "selector": f"portal/environment={ENVIRONMENT}"}
        return str(self.api.post("/api/v1/fan-outs", order).json()["fan_out_id"])

    def hold_command(self) -> str:
        """The id of a new command that waits for the instance that is away."""
        order = self.api.order(self.away_id, "ping", timeout_s=3600, delivery_mode="queue_until_reconnect")
        return order["command_id"]


@contextlib.contextmanager
def example_fleet(portal: Portal) -> Iterator[ExampleFleet]:
    portal.run_python(MAKE_USER)
    portal.run_python(MAKE_RETIRED)
    portal.run_python(MAKE_TOLD)
    url, token = portal.urls[0], portal.ingest_token
    with Peer(url, token, service=SERVICE) as away:
        report_history(away)
    with ObedientAgent(url, token) as here:
        fleet = ExampleFleet(portal, instance_id=here.instance_id, away_id=away.instance_id)
        assert fleet.api.run(here.instance_id, "ping")["status"] == "succeeded"
        eventually(lambda: fleet.api.of_service(SERVICE, "metric-windows", ENVIRONMENT), "its history is stored")
        yield fleet
