"""The committed OpenAPI document, and what its operations are called with on the example fleet.

A new kind of path parameter, and a required one of a query, needs a line in PATH_VALUES or QUERY_VALUES.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import requests
import schemathesis
from schemathesis.schemas import APIOperation

from tests.e2e.harness.example_fleet import (
    ENVIRONMENT,
    PASSWORD,
    RETIRED_SERVICE,
    SERVICE,
    TASK,
    USERNAME,
    ExampleFleet,
)
from tests.e2e.harness.process import REPOSITORY

COMMITTED: Final = REPOSITORY / "docs" / "openapi.yaml"
COOKIE: Final = "onestep_cp_console_session"
# By the collection that they are of, and their name.
PATH_VALUES: Final[Mapping[tuple[str, str], Callable[[ExampleFleet], str]]] = {
    ("services", "service_name"): lambda _fleet: SERVICE,
    ("services", "task_name"): lambda _fleet: TASK,
    ("services", "instance_id"): lambda fleet: fleet.instance_id,
    ("master", "node_id"): lambda fleet: fleet.node_id,
    ("instances", "instance_id"): lambda fleet: fleet.instance_id,
    ("removals", "removal_id"): lambda fleet: fleet.removal_id,
    ("commands", "command_id"): lambda fleet: fleet.command_id,
    ("fan-outs", "fan_out_id"): lambda fleet: fleet.fan_out_id,
    ("groups", "group_name"): lambda fleet: fleet.make_group(),
    ("history", "event_id"): lambda fleet: fleet.event_id,
    ("tokens", "token_id"): lambda fleet: fleet.token_id,
    ("agent-tokens", "token_id"): lambda fleet: fleet.agent_token_id,
    ("settings", "channel_id"): lambda fleet: fleet.make_channel(),
    ("rules", "rule_id"): lambda fleet: fleet.make_rule(),
    ("alerts", "alert_id"): lambda fleet: fleet.alert_id,
    ("deliveries", "delivery_id"): lambda fleet: fleet.delivery_id,
    ("silences", "silence_id"): lambda fleet: fleet.make_silence(),
}
# What is put away or removed for good is nothing that other operations need.
ENDINGS: Final = ("/archive", "/forget")
RETIRED_VALUES: Final[Mapping[tuple[str, str], Callable[[ExampleFleet], str]]] = {
    ("services", "service_name"): lambda _fleet: RETIRED_SERVICE,
    ("instances", "instance_id"): lambda fleet: fleet.retired_id,
}
QUERY_VALUES: Final[Mapping[str, Callable[[ExampleFleet], str]]] = {"environment": lambda _fleet: ENVIRONMENT}


def committed(config: Mapping[str, Any]) -> Any:
    """The document without its streams: an answer that never ends is not for tests that read all of it."""
    schema = schemathesis.openapi.from_path(COMMITTED, config=schemathesis.Config.from_dict(dict(config)))
    return schema.exclude(lambda context: is_stream(context.operation))


def is_stream(operation: APIOperation) -> bool:
    return "text/event-stream" in operation.definition.raw["responses"].get("200", {}).get("content", {})


def path_values(operation: APIOperation, fleet: ExampleFleet) -> dict[str, str]:
    """Real values for the parameters of a path, as they stand in a URL."""
    collection = operation.path.removeprefix("/api/v1/").partition("/")[0]
    names = [item.name for item in operation.path_parameters]
    values = {**PATH_VALUES, **RETIRED_VALUES} if operation.path.endswith(ENDINGS) else PATH_VALUES
    return {name: quote(values[collection, name](fleet), safe="") for name in names}


def required_query(operation: APIOperation, fleet: ExampleFleet) -> dict[str, str]:
    return {item.name: QUERY_VALUES[item.name](fleet) for item in operation.query if item.is_required}


def example_body(operation: APIOperation) -> dict[str, Any]:
    """Arguments of a case: the body that the document shows, or nothing where the operation takes none."""
    for media_type, content in operation.definition.raw.get("requestBody", {}).get("content", {}).items():
        if "examples" in content:
            return {"body": next(iter(content["examples"].values()))["value"], "media_type": media_type}
        return {"body": content["schema"]["example"], "media_type": media_type}
    return {}


class Credentials:
    """What each operation is called with, by the first scheme that its `security` names."""

    def __init__(self, fleet: ExampleFleet) -> None:
        self._fleet = fleet
        self._cookies: dict[str, str] = {}

    def of(self, operation: APIOperation) -> dict[str, Any]:
        """Arguments of the call: the token of the scheme as `headers`, or the session as `cookies`."""
        schemes = [name for choice in operation.definition.raw["security"] for name in choice]
        if not schemes:
            return {}
        if schemes[0] == "consoleSession":
            return {"cookies": {COOKIE: self._cookie_for(operation.label)}}
        portal = self._fleet.portal
        tokens = {"apiToken": portal.api_token, "agentToken": portal.ingest_token}
        return {"headers": {"Authorization": f"Bearer {tokens[schemes[0]]}"}}

    def _cookie_for(self, label: str) -> str:
        """A session of its own for each operation, since some of them end it."""
        if label not in self._cookies:
            login = {"username": USERNAME, "password": PASSWORD}
            url = f"{self._fleet.portal.urls[0]}/api/v1/auth/login"
            answer = requests.post(url, json=login, timeout=60)
            assert answer.status_code == 200, answer.text
            self._cookies = {label: answer.cookies[COOKIE]}
        return self._cookies[label]
