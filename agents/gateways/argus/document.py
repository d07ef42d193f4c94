"""What the OpenAPI document says of the registry. Source: argus contract."""

from collections.abc import Mapping
from typing import Any, Final

from agents.gateways.argus.protocol import (
    COMPONENTS_MAX,
    ENVIRONMENT_MAX_CHARS,
    LABEL_MAX_CHARS,
    LABELS_MAX,
    META_NUMBERS,
    META_TEXTS,
    STATUS_WORDS,
    TEXT_MAX_CHARS,
)
from controlplane.common.clean import BIGINT_MAX
from controlplane.common.rest.plain import json_answer

_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "One sentence that names the field."}},
    "additionalProperties": False,
}
_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": TEXT_MAX_CHARS, "pattern": r"\S"}
_OBJECT: Final = {"type": "object", "additionalProperties": {}}
_MOMENT: Final = {"type": "string", "format": "date-time"}
_MAYBE_MOMENT: Final = {**_MOMENT, "nullable": True}
_STATUS: Final = {"type": "string", "enum": list(STATUS_WORDS.values())}
_META_DATA: Final = {
    "type": "object",
    "description": "Further keys are kept as they come. `env` is the environment of the node's service.",
    "properties": {
        **{name: {"type": "string"} for name in META_TEXTS},
        "env": {"type": "string", "maxLength": ENVIRONMENT_MAX_CHARS},
        **{name: {"type": "integer", "minimum": 0, "maximum": BIGINT_MAX} for name in META_NUMBERS},
    },
    "additionalProperties": {},
}
_LABEL: Final = {
    "type": "array",
    "maxItems": LABELS_MAX,
    "items": {"type": "string", "minLength": 1, "maxLength": LABEL_MAX_CHARS},
}
_HEALTH: Final = {
    "type": "object",
    "description": "Components by name.",
    "maxProperties": COMPONENTS_MAX,
    "additionalProperties": {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"type": "string"}},
        "additionalProperties": {},
    },
}
_ITEM: Final[Mapping[str, Any]] = {
    "id": {"type": "string"},
    "name": {"type": "string"},
    "status": _STATUS,
    "type": {"type": "string"},
    "version": {"type": "string"},
}
_NODE: Final[Mapping[str, Any]] = {
    **_ITEM,
    "meta_data": _META_DATA,
    "config": _OBJECT,
    "label": _LABEL,
    "health": _HEALTH,
    "register_time": _MOMENT,
    "last_updated": _MOMENT,
    "last_report": {**_MAYBE_MOMENT, "description": "By the portal's clock."},
    "agent_last_report": {**_MAYBE_MOMENT, "description": "By the node's clock: the `timestamp` of that report."},
}
_REGISTRATION: Final = {
    "type": "object",
    "required": ["name", "type", "version", "meta_data"],
    "properties": {
        "id": {"type": "string", "nullable": True, "description": "Of a node that registered before."},
        "name": _TEXT,
        "type": _TEXT,
        "version": _TEXT,
        "meta_data": _META_DATA,
    },
    "example": {
        "name": "db-1",
        "type": "agent",
        "version": "1.2.3",
        "meta_data": {"hostname": "db-1", "ip": "10.0.0.7", "env": "prod", "user": "ann", "cpu_number": 8},
    },
}
_REPORT: Final = {
    "type": "object",
    "required": ["timestamp", "health"],
    "properties": {"timestamp": _MOMENT, "health": _HEALTH},
    "example": {"timestamp": "2026-01-02T03:04:05Z", "health": {"disk": {"status": "ok"}, "net": {"status": "ok"}}},
}
_CONFIG: Final = {
    "type": "object",
    "description": "At least one of them; what is absent stays, what is present replaces its field.",
    "anyOf": [{"required": ["config"]}, {"required": ["label"]}],
    "properties": {"config": _OBJECT, "label": _LABEL},
    "example": {"config": {"interval": 15}, "label": ["gpu", "team=storage"]},
}
_STATISTICS: Final = {
    "type": "object",
    "required": ["total", "status_statistics"],
    "properties": {
        "total": {"type": "integer"},
        "status_statistics": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["status", "count"],
                "properties": {"status": _STATUS, "count": {"type": "integer", "minimum": 1}},
            },
        },
    },
}
_REFUSALS: Final[Mapping[int, str]] = {
    400: "The body cannot be right.",
    401: "AUTH_MODE is token, and the bearer is missing, unknown, revoked, expired or not for this dialect.",
    403: "Whoever asks may not do this, or a page of a foreign origin asks.",
    404: "There is no such node.",
    413: "The body has more than 1 MiB.",
    503: "The database is unavailable, or the node is being forgotten; try again after `Retry-After` seconds.",
}
# Tried in this order where AUTH_MODE is token.
Security = list[dict[str, list[str]]]
_BY_AGENTS: Final[Security] = [{"agentToken": []}, {}]
_BY_READERS: Final[Security] = [{"agentToken": []}, {"apiToken": []}, {"consoleSession": []}, {}]
_BY_OPERATORS: Final[Security] = [{"apiToken": []}, {"consoleSession": []}, {}]
_NODE_ID: Final = {"name": "node_id", "in": "path", "required": True, "schema": {"type": "string"}}


def _shape(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(properties),
        "properties": dict(properties),
        "additionalProperties": False,
    }


def _operation(
    name: str,
    summary: str,
    answers: Mapping[int, tuple[str, Mapping[str, Any]]],
    *,
    security: Security,
    description: str = "",
    body: Mapping[str, Any] | None = None,
    is_of_node: bool = False,
) -> dict[str, Any]:
    refused = {401, 403, 503} | ({404} if is_of_node else set()) | ({400, 413} if body is not None else set())
    responses = {
        **{status: json_answer(text, schema) for status, (text, schema) in answers.items()},
        **{status: json_answer(_REFUSALS[status], _ERROR) for status in refused - answers.keys()},
    }
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "description": description,
        "tags": ["registry"],
        "security": security,
        "responses": {str(status): responses[status] for status in sorted(responses)},
    }
    if is_of_node:
        operation["parameters"] = [_NODE_ID]
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": dict(body)}}}
    return operation


_WHOLE: Final = _shape(_NODE)
LIST: Final = _operation(
    "list_nodes",
    "All nodes",
    {200: ("In the order of their numbers.", {"type": "array", "items": _shape(_ITEM)})},
    security=_BY_READERS,
)
REGISTER: Final = _operation(
    "register_node",
    "Register a node",
    {
        200: ("It was known: type, version and meta data are replaced, the rest is kept.", _WHOLE),
        201: ("It is new.", _WHOLE),
        404: ("No node has this `id`.", _ERROR),
        429: ("Too many came from this address; try again after `Retry-After` seconds.", _ERROR),
        500: ("The `id` belongs to a node with another name.", _ERROR),
    },
    description="A name is one node: a node that lost its id registers without one and finds itself again.",
    security=_BY_AGENTS,
    body=_REGISTRATION,
)
SHOW: Final = _operation("get_node", "One node", {200: ("The node.", _WHOLE)}, security=_BY_READERS, is_of_node=True)
REPORT: Final = _operation(
    "report_node_status",
    "Report the status of a node",
    {200: ("The node, which is online now.", _WHOLE)},
    description="The report that comes last counts, whatever its `timestamp`; `health` is replaced as a whole.",
    security=_BY_AGENTS,
    body=_REPORT,
    is_of_node=True,
)
CONFIGURE: Final = _operation(
    "configure_node",
    "Set config and labels of a node",
    {200: ("The node.", _WHOLE)},
    security=_BY_OPERATORS,
    body=_CONFIG,
    is_of_node=True,
)
COUNT: Final = _operation(
    "count_nodes",
    "How many nodes have which status",
    {200: ("Statuses that no node has are left out.", _STATISTICS)},
    security=_BY_READERS,
)
