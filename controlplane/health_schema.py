"""What the OpenAPI document says of the probes in `health`."""

from typing import Any, Final

from controlplane.common.rest.plain import json_answer

ALIVE: Final = {
    "operationId": "get_healthz",
    "summary": "Whether this process answers",
    "description": "For restarts. It never waits for the database longer than half a second.",
    "tags": ["probes"],
    "security": [],
    "responses": {
        "200": json_answer(
            "It answers.",
            {
                "type": "object",
                "required": ["status", "ingestion_auth_configured"],
                "properties": {
                    "status": {"type": "string", "enum": ["ok"]},
                    "ingestion_auth_configured": {"type": "boolean"},
                },
            },
        )
    },
}
_CHECK: Final = {
    "type": "object",
    "required": ["ready", "detail"],
    "properties": {
        "ready": {"type": "boolean"},
        "detail": {"type": "string"},
        "meta": {"type": "object", "additionalProperties": {}},
    },
}
_CHECKS: Final = {"type": "object", "additionalProperties": _CHECK}
_SINGLE: Final = ("database", "migrations", "broker", "nodes_json", "registry_access")
_REPORT: Final = {
    "type": "object",
    "required": ["status", "environment", "ingestion_auth_configured", "checks"],
    "properties": {
        "status": {"type": "string", "enum": ["ready", "not_ready"]},
        "environment": {"type": "string"},
        "ingestion_auth_configured": {"type": "boolean"},
        "checks": {
            "type": "object",
            "required": [*_SINGLE, "background_tasks"],
            "properties": {
                **dict.fromkeys(_SINGLE, _CHECK),
                **dict.fromkeys(("background_tasks", "parts", "ingest"), _CHECKS),
            },
        },
    },
}
READY: Final = {
    "operationId": "get_readyz",
    "summary": "Whether the portal can do its work",
    "description": "For routing. The body names each check.",
    "tags": ["probes"],
    "security": [],
    "responses": {"200": json_answer("It can.", _REPORT), "503": json_answer("It cannot, or not all of it.", _REPORT)},
}
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
    "additionalProperties": False,
}


def _status(word: str) -> dict[str, Any]:
    return {"type": "object", "required": ["status"], "properties": {"status": {"type": "string", "enum": [word]}}}


NODE_ALIVE: Final = {
    "operationId": "get_node_healthz",
    "summary": "Whether this process answers, for nodes",
    "description": "Touches no database.",
    "tags": ["registry"],
    "security": [],
    "responses": {"200": json_answer("It answers.", _status("ok"))},
}
_NODE_REPORT: Final = {
    "type": "object",
    "required": ["status", "checks"],
    "properties": {
        "status": {"type": "string", "enum": ["ready"]},
        "checks": {
            "type": "object",
            "required": ["nodes_json", "registry_access"],
            "properties": dict.fromkeys(("nodes_json", "registry_access"), _CHECK),
        },
    },
}
NODE_READY: Final = {
    "operationId": "get_node_readyz",
    "summary": "Whether the registry can take reports",
    "description": "That is, whether the database answers; what else `checks` tell does not decide. `/readyz` at the "
    "root of the site tells more.",
    "tags": ["registry"],
    "security": [],
    "responses": {
        "200": json_answer("It answers.", _NODE_REPORT),
        "503": json_answer("It does not; `error` says why.", _ERROR),
    },
}
