"""What nodes say and are told, as the argus contract has it: bodies to typed values, records to JSON. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from agents.gateways.argus.reading import read_object, refused
from agents.models.instance import Connectivity
from agents.selectors.nodes import NodeRecord, NodeRow

TEXT_MAX_CHARS: Final = 255
# The environment of a service is no longer.
ENVIRONMENT_MAX_CHARS: Final = 64
LABELS_MAX: Final = 200
LABEL_MAX_CHARS: Final = 255
COMPONENTS_MAX: Final = 1000
META_TEXTS: Final = ("hostname", "ip", "env", "user", "instance")
META_NUMBERS: Final = ("cpu_number", "memory_in_bytes", "gpu_number")

STATUS_WORDS: Final[Mapping[Connectivity, str]] = {
    Connectivity.NEVER_REPORTED: "initialized",
    Connectivity.ONLINE: "online",
    Connectivity.OFFLINE: "offline",
}
# RFC 3339, also without an offset, which then is UTC, and with a blank for the T.
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationBody:
    """`node_id` is None where the node does not say that it has one."""

    node_id: str | None
    name: str
    type: str
    version: str
    meta_data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReportBody:
    reported_at: datetime
    health: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ConfigBody:
    """None is what was not given, and stays."""

    config: dict[str, Any] | None
    label: list[str] | None


def parse_registration(raw: bytes) -> RegistrationBody:
    """The body of POST /nodes. An `id` of null or of no characters is none. Raises BodyInvalid."""
    body = read_object(raw)
    node_id = body.get("id")
    if node_id is not None and not isinstance(node_id, str):
        raise refused("id", "be a string")
    return RegistrationBody(
        node_id=node_id or None,
        name=_text(body, "name"),
        type=_text(body, "type"),
        version=_text(body, "version"),
        meta_data=_meta_data(body),
    )


def parse_report(raw: bytes) -> ReportBody:
    """The body of PUT /nodes/{id}/status. Raises BodyInvalid."""
    body = read_object(raw)
    return ReportBody(_timestamp(body), _health(body))


def parse_config(raw: bytes) -> ConfigBody:
    """The body of PUT /nodes/{id}/config. Raises BodyInvalid."""
    body = read_object(raw)
    if "config" not in body and "label" not in body:
        raise refused("config or label", "be given")
    return ConfigBody(
        config=_object(body, "config") if "config" in body else None,
        label=labels_of(body["label"]) if "label" in body else None,
    )


def labels_of(value: object) -> list[str]:
    """The labels of a node, from JSON. Raises BodyInvalid."""
    if not isinstance(value, list):
        raise refused("label", "be an array of strings")
    if len(value) > LABELS_MAX:
        raise refused("label", f"hold {LABELS_MAX} strings at most")
    for number, each in enumerate(value):
        if not isinstance(each, str):
            raise refused(f"label[{number}]", "be a string")
        if not each or len(each) > LABEL_MAX_CHARS:
            raise refused(f"label[{number}]", f"have 1 to {LABEL_MAX_CHARS} characters")
    return value


def _text(body: Mapping[str, Any], name: str) -> str:
    if name not in body:
        raise refused(name, "be given")
    value = body[name]
    if not isinstance(value, str):
        raise refused(name, "be a string")
    if not value.strip() or len(value) > TEXT_MAX_CHARS:
        raise refused(name, f"have 1 to {TEXT_MAX_CHARS} characters, not all of them blank")
    return value


def _object(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    if name not in body:
        raise refused(name, "be given")
    value = body[name]
    if not isinstance(value, dict):
        raise refused(name, "be an object")
    return value


def _meta_data(body: Mapping[str, Any]) -> dict[str, Any]:
    """Known keys are of their type where they are there; any other is kept as it came."""
    meta_data = _object(body, "meta_data")
    for name in META_TEXTS:
        if not isinstance(meta_data.get(name, ""), str):
            raise refused(f"meta_data.{name}", "be a string")
    if len(meta_data.get("env", "")) > ENVIRONMENT_MAX_CHARS:
        raise refused("meta_data.env", f"have {ENVIRONMENT_MAX_CHARS} characters at most")
    for name in META_NUMBERS:
        value = meta_data.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise refused(f"meta_data.{name}", "be a whole number of at least 0")
    return meta_data


def _timestamp(body: Mapping[str, Any]) -> datetime:
    if "timestamp" not in body:
        raise refused("timestamp", "be given")
    value = body["timestamp"]
    if not isinstance(value, str) or _TIMESTAMP.fullmatch(value) is None:
        raise refused("timestamp", 'be a time as RFC 3339 has it, such as "2026-01-02T03:04:05Z"')
    try:
        moment = datetime.fromisoformat(value.upper())
    except ValueError as error:
        raise refused("timestamp", "be a time that exists") from error
    # At the ends of the calendar, other time zones would lie beyond it.
    if not 1 < moment.year < 9999:
        raise refused("timestamp", "be a time after the year 1 and before the year 9999")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _health(body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    health = _object(body, "health")
    if len(health) > COMPONENTS_MAX:
        raise refused("health", f"hold {COMPONENTS_MAX} components at most")
    for name, component in health.items():
        if not isinstance(component, dict):
            raise refused(f"health.{name}", "be an object")
        if not isinstance(component.get("status"), str):
            raise refused(f"health.{name}.status", "be given, as a string")
    return health


def node_json(node: NodeRecord) -> bytes:
    """A node as GET, POST and PUT return it. Times are in UTC and end in Z."""
    return _encode(
        {
            "id": node.id,
            "name": node.name,
            "type": node.type,
            "version": node.version,
            "status": STATUS_WORDS[node.connectivity],
            "meta_data": node.meta_data,
            "config": node.config,
            "label": node.label,
            "health": node.health,
            "register_time": node.registered_at,
            "last_updated": node.updated_at,
            "last_report": node.reported_at,
            "agent_last_report": node.agent_reported_at,
        }
    )


def list_json(rows: Iterable[NodeRow]) -> bytes:
    """Nodes as the list has them."""
    return _encode(
        [
            {
                "id": node_id,
                "name": name,
                "status": STATUS_WORDS[Connectivity(connectivity)],
                "type": kind,
                "version": version,
            }
            for node_id, name, connectivity, kind, version in rows
        ]
    )


def statistics_json(counts: Mapping[Connectivity, int]) -> bytes:
    """How many nodes there are, and how many of each status that any has."""
    statistics = [{"status": word, "count": counts[found]} for found, word in STATUS_WORDS.items() if counts.get(found)]
    return _encode({"total": sum(counts.values()), "status_statistics": statistics})


def error_json(sentence: str) -> bytes:
    return _encode({"error": sentence})
