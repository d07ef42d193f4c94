"""Agents that follow a script, and what the portal shows of them: rows are made by frames and read by REST."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import quote

import requests

from tests import frames
from tests.e2e.harness.api import Api
from tests.e2e.harness.peer import Peer
from tests.e2e.harness.portal import EmbeddedPortal
from tests.e2e.harness.waiting import eventually

TASK_KINDS = (
    "pause_task", "resume_task", "restart_task", "run_task_once", "replay_dead_letters", "discard_dead_letters",
)  # fmt: skip
KINDS = ("ping", "sync_now", "flush_metrics", "flush_events", *TASK_KINDS, "drain", "restart", "shutdown")
TELEMETRY = ("telemetry.sync", "telemetry.heartbeat", "telemetry.metrics", "telemetry.events")
ROLES = ("viewer", "operator", "admin")
PASSWORD = "correct horse battery"
# What the contract compares is shown some milliseconds after it was sent.
LOOK_EVERY_S = 0.02
MAKE_REQUESTERS = f"""
from django.contrib.auth.models import Group, User
from controlplane.access.models import ApiToken
from controlplane.access.services import create_api_token
from controlplane.common.actors import SYSTEM
for role in {ROLES}:
    user = User.objects.create_user("contract-" + role, password={PASSWORD!r})
    user.groups.add(Group.objects.get(name=role))
    print(create_api_token(name=role, user=user, scope=ApiToken.Scope.ADMIN, actor=SYSTEM)[1])
"""


@cache
def began() -> datetime:
    """When the tests began, in whole minutes, so that what is sent and what is answered are the same text.

    Not when they were collected: that may have been long ago, and everything would lie outside of the lookback.
    """
    return datetime.now(UTC).replace(second=0, microsecond=0)


def ago(minutes: float) -> str:
    """That long before the tests began, as the API writes it."""
    return (began() - timedelta(minutes=minutes)).isoformat()


@dataclass(frozen=True)
class Ago:
    """The same for a query that is written down before the tests begin."""

    minutes: float

    def __str__(self) -> str:
        return ago(self.minutes)


class ContractPortal(EmbeddedPortal):
    """One process, with a user and a token for each role."""

    tokens: dict[str, str]

    def make_api_token(self) -> str:
        made = self.run_python(MAKE_REQUESTERS).splitlines()
        self.tokens = dict(zip(ROLES, made[-len(ROLES) :], strict=True))
        return self.tokens["admin"]

    def api_as(self, role: str) -> Api:
        return Api(self.urls[0], self.tokens[role])


class Agent(frames.Agent):
    """One process of an instance. `facts` are what its service descriptor says besides, or instead."""

    def __init__(
        self,
        service: str,
        *,
        environment: str = "dev",
        node: str = "n-1",
        instance_id: str | None = None,
        commands: tuple[str, ...] = KINDS,
        **facts: Any,
    ) -> None:
        super().__init__(name=service, environment=environment, instance_id=instance_id)
        self.started_at = frames.now()
        self.capabilities = [*TELEMETRY, *(f"command.{kind}" for kind in commands)]
        self.facts = {"node_name": node, **facts}

    def service(self, **changes: Any) -> dict[str, Any]:
        return super().service(**self.facts, **changes)

    def hello(self, **changes: Any) -> dict[str, Any]:
        return super().hello(**({"capabilities": self.capabilities} | changes))


@dataclass(frozen=True)
class View:
    """One service, as whoever `api` is sees it."""

    api: Api
    name: str
    environment: str = "dev"

    @property
    def path(self) -> str:
        return f"/api/v1/services/{quote(self.name, safe='')}"

    def ask(self, rest: str = "", **query: Any) -> requests.Response:
        return self.api.ask(self.path + rest, **({"environment": self.environment} | query))

    def get(self, rest: str = "", **query: Any) -> Any:
        return self.api.get(self.path + rest, **({"environment": self.environment} | query))

    def items(self, rest: str, **query: Any) -> list[Any]:
        return self.get(rest, **query)["items"]

    def task(self, name: str, **query: Any) -> Any:
        return self.get(f"/tasks/{quote(name, safe='')}", **query)

    def order(self, body: Mapping[str, object], task: str | None = None, **query: Any) -> requests.Response:
        """A fan-out: to instances of the service, or to a task of it."""
        below = "" if task is None else f"/tasks/{quote(task, safe='')}"
        return self.api.post(f"{self.path}{below}/commands", body, **({"environment": self.environment} | query))


class Actor(Peer):
    """An agent on its socket; `view` is its service."""

    def __init__(self, portal: ContractPortal, agent: frames.Agent) -> None:
        self.view = View(portal.api(), agent.name, agent.environment)
        self._health: dict[str, Any] = {}
        super().__init__(portal.urls[0], portal.ingest_token, agent=agent)

    def tell(self, *said: dict[str, Any], **health: Any) -> None:
        """Send these frames, then a heartbeat (`status`, `controls`; else what the last one said); all is shown then.

        What one agent sends is stored in its order.
        """
        self._health |= health
        for frame in said:
            self.send(frame)
        self.send(self.agent.heartbeat(**self._health, sent_at=frames.now()))
        number = self.agent.sequence
        eventually(
            lambda: self.shown()["last_heartbeat_sequence"] == number,
            f"heartbeat {number} of {self.instance_id} is shown",
            every_s=LOOK_EVERY_S,
        )

    def mark(self) -> None:
        """Send an event; all that was sent before is stored then, and no heartbeat with it."""
        event_id = f"mark-{self.instance_id}"
        self.report_last(event_id)
        eventually(
            lambda: any(event["event_id"] == event_id for event in self.view.items("/events")),
            f"{event_id} is shown",
            every_s=LOOK_EVERY_S,
        )

    def shown(self) -> Any:
        return self.view.get(f"/instances/{self.instance_id}")["instance"]

    def leave(self) -> None:
        """Hang up; the portal shows it then."""
        self.close()
        eventually(
            lambda: self.shown()["active_session"] is None,
            f"the session of {self.instance_id} ended",
            every_s=LOOK_EVERY_S,
        )

    def order(self, kind: str, **body: object) -> requests.Response:
        """The answer to an order for this instance."""
        path = f"/api/v1/instances/{self.instance_id}/commands"
        return self.view.api.post(path, {"kind": kind, "reason": "contract", **body})

    def make(self, kind: str, **body: object) -> str:
        """The id of a command that is taken; AssertionError where it is not."""
        answer = self.order(kind, **body)
        assert answer.status_code == 200, answer.text
        return answer.json()["command_id"]

    def take(self, kind: str) -> str:
        """The id of the command that comes next; AssertionError where it is of another kind."""
        command = self.receive_type("command")
        assert command["kind"] == kind, command
        return command["command_id"]

    def answer(self, kind: str, status: str = "succeeded", **result: Any) -> str:
        """Take the next command and obey it; its id, once the portal shows that it ended."""
        command_id = self.take(kind)
        self.send(frames.ack(command_id))
        self.send(frames.result(command_id, status, **result))
        self.wait_for(command_id, status)
        return command_id

    def wait_for(self, command_id: str, status: str, *, timeout_s: float = 30) -> Any:
        """The command, once it has this status."""

        def found() -> Any:
            command = self.view.api.command(command_id)
            return command if command["status"] == status else None

        return eventually(found, f"{command_id} is {status}", timeout_s=timeout_s, every_s=LOOK_EVERY_S)


class Stage:
    """Opens sockets for agents and closes them at the end."""

    def __init__(self, portal: ContractPortal) -> None:
        self.portal = portal
        self._closing = ExitStack()

    def enter(self, service: str | frames.Agent, **of: Any) -> Actor:
        """An agent that said hello, or a new one of this service; `of` goes to Agent."""
        agent = Agent(service, **of) if isinstance(service, str) else service
        return self._closing.enter_context(Actor(self.portal, agent))

    def beacon(self, agent: Agent) -> int:
        """The status that a sign of life beside any socket is answered with."""
        answer = requests.post(
            f"{self.portal.urls[0]}/api/v1/agents/presence",
            json={"service": agent.service(), "sent_at": frames.now()},
            headers={"Authorization": f"Bearer {self.portal.ingest_token}"},
            timeout=60,
        )
        return answer.status_code

    def close(self) -> None:
        self._closing.close()
