"""A fleet with something wrong of each kind: what the console is for."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from tests.e2e.console.console import PASSWORD
from tests.e2e.console.forms import FORMS
from tests.e2e.harness.agents import Agent
from tests.e2e.harness.api import Api
from tests.e2e.harness.portal import Portal, running_portal
from tests.e2e.harness.waiting import eventually

PROGRAM = Path(__file__).with_name("program.py")
ENVIRONMENT = "prod"
# A machine whose cores are busy with a browser must not make an agent look offline.
OFFLINE_AFTER_S = 12
SETTINGS = {
    "INSTANCE_OFFLINE_AFTER_S": str(OFFLINE_AFTER_S),
    "LIVENESS_GRACE_S": "3",
    # One operator may be several pages at once, and a page of a test before may be on its way out.
    "STREAMS_PER_USER_MAX": "100",
}
MAKE_USERS = """
from django.contrib.auth.models import User
for name in {names!r}:
    User.objects.filter(username=name).exists() or User.objects.create_superuser(name, password={password!r})
"""
META_DATA = {"hostname": "rack-7", "ip": "10.0.0.7", "env": "prod", "user": "ops", "instance": "i-7"}
NUMBERS = {"cpu_number": 16, "memory_in_bytes": 68_719_476_736, "gpu_number": 2}
HEALTHY = {part: {"status": "healthy"} for part in ("disk", "net", "cpu")}


@dataclass
class Shop:
    """The portal and agents: `gone` is offline, `newer` has one task more than `steady`, `billing` one that fails."""

    portal: Portal
    steady: Agent
    newer: Agent
    gone: Agent
    billing: Agent
    node_id: str

    @property
    def url(self) -> str:
        return self.portal.urls[0]

    @property
    def api(self) -> Api:
        return self.portal.api(0)

    @property
    def agents(self) -> tuple[Agent, ...]:
        return self.steady, self.newer, self.gone, self.billing

    def is_online(self, agent: Agent) -> bool:
        row = self.row(agent)
        return bool(row) and row["connectivity"] == "online" and row["active_session"] is not None

    def row(self, agent: Agent) -> Any:
        rows = self.api.of_service(agent.service, "instances", ENVIRONMENT)
        return next((row for row in rows if row["instance_id"] == agent.instance_id), None)

    def task_rows(self, agent: Agent) -> list[Any]:
        return self.api.of_service(agent.service, "tasks", ENVIRONMENT)

    def task_id(self, name: str) -> int:
        """The console's number of a task."""
        code = f"from tasks_app.models import Task\nprint(Task.objects.get(name={name!r}).pk)"
        return int(self.portal.run_python(code).split()[-1])

    def service_id(self, name: str) -> int:
        code = f"from agents.models import Service\nprint(Service.objects.get(name={name!r}).pk)"
        return int(self.portal.run_python(code).split()[-1])

    def page_of(self, agent: Agent) -> str:
        return f"/admin/agents/instance/{agent.instance_id}/change/"

    def hold_command(self, agent: Agent) -> str:
        """A command that waits until the agent comes back."""
        command = self.api.order(
            agent.instance_id,
            "sync_now",
            delivery_mode="queue_until_reconnect",
            timeout_s=3600,
            reason="when it is back",
        )
        return str(command["command_id"])

    def report_node(self) -> None:
        """One report of the registry's node, whose network is degraded."""
        body = {
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "health": HEALTHY | {"net": {"status": "degraded", "error": "eth1: 3 % of the packets are lost"}},
        }
        self._registry("PUT", f"/nodes/{self.node_id}/status", body)

    def register_node(self, name: str) -> str:
        body = {"name": name, "type": "gpu-host", "version": "2.4.1", "meta_data": META_DATA | NUMBERS}
        return str(self._registry("POST", "/nodes", body)["id"])

    def _registry(self, verb: str, path: str, body: object) -> Any:
        answer = requests.request(verb, f"{self.url}/api/v1/master{path}", json=body, timeout=30)
        assert answer.ok, f"{verb} {path}: HTTP {answer.status_code} {answer.text[:300]}"
        return answer.json()

    def tails(self) -> str:
        return "\n".join([self.portal.tails(), *(agent.tail() for agent in self.agents)])


@contextlib.contextmanager
def open_shop(work_dir: Path) -> Iterator[Shop]:
    """The fleet, once each of its troubles has come about."""
    with ExitStack() as stack:
        portal = stack.enter_context(running_portal(work_dir, **SETTINGS))
        make_users(portal, *(form.username for form in FORMS))

        def agent(name: str, service: str) -> Agent:
            made = Agent(
                name,
                generation="current",
                service=service,
                url=portal.urls[-1],
                token=portal.ingest_token,
                work_dir=work_dir,
                environment=ENVIRONMENT,
                program=PROGRAM,
            )
            stack.callback(made.kill)
            return made

        shop = Shop(
            portal, agent("orders-1", "orders"), agent("orders-2", "orders"), agent("orders-3", "orders"),
            agent("billing-1", "billing"), "",
        )  # fmt: skip
        shop.newer.set_flag("newer")
        for each in shop.agents:
            each.start()
        for each in shop.agents:
            eventually(lambda each=each: shop.is_online(each), f"{each.name} is online")  # type: ignore[misc]
        shop.gone.kill()
        shop.node_id = shop.register_node("rack-7")
        shop.report_node()
        eventually(lambda: not shop.is_online(shop.gone), "orders-3 is offline", timeout_s=OFFLINE_AFTER_S + 30)
        shop.hold_command(shop.gone)
        eventually(lambda: has_failed(shop), "charge_card has failed")
        yield shop


def has_failed(shop: Shop) -> bool:
    """Whether the portal knows of a dead letter of the failing task."""
    return any(event["kind"] == "dead_lettered" for event in shop.api.of_service("billing", "events", ENVIRONMENT))


def make_users(portal: Portal, *names: str) -> None:
    """Superusers with the password of the tests."""
    portal.run_python(MAKE_USERS.format(names=list(names), password=PASSWORD))


def settle(seconds: float) -> None:
    """Where nothing tells that something did not happen."""
    time.sleep(seconds)
