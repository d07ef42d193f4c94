"""What the OpenAPI document says of the probes in `health`."""

from typing import Final

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
