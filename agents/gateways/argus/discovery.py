"""The online nodes in the form of Prometheus' HTTP service discovery. Pure.

Source: https://prometheus.io/docs/prometheus/latest/http_sd/: a list of groups of targets, each with labels, all of
them strings; the whole list each time, an empty one where there is none.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from agents.selectors.discovery import Target
from controlplane.common.clean import clean_text
from controlplane.common.errors import Invalid
from controlplane.common.rest.plain import json_answer

PREFIX: Final = "__meta_argus_"
_PORT_MAX: Final = 65_535
# Of a parameter that is not known.
_SHOWN_CHARS: Final = 100
# A name of a host; an address with a port, or a URL, is none.
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?", re.ASCII)
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_]")
_encode = msgspec.json.Encoder().encode


_REFUSAL: Final = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
DISCOVERY: Final = {
    "operationId": "discover_nodes",
    "summary": "Online nodes for Prometheus",
    "description": "The form of Prometheus' HTTP service discovery: one group for each node that is online, with its "
    "`ip`, or else its `hostname`, for a target. Asked with `If-None-Match`, it answers 304 while nothing changed.",
    "tags": ["registry"],
    "security": [{"agentToken": []}, {"apiToken": []}, {"consoleSession": []}, {}],
    "parameters": [
        {
            "name": "port",
            "in": "query",
            "description": "The port of every target, instead of the `port` of each node's meta data.",
            "schema": {"type": "integer", "minimum": 1, "maximum": _PORT_MAX},
        }
    ],
    "responses": {
        "200": json_answer(
            "All online nodes.",
            {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["targets", "labels"],
                    "properties": {
                        "targets": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1},
                        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    },
                },
            },
        ),
        "304": {"description": "Nothing changed."},
        "400": json_answer("A parameter is wrong; `error` names it.", _REFUSAL),
        "401": json_answer("AUTH_MODE is token, and no good token came.", _REFUSAL),
        "403": json_answer("Whoever asks has no role.", _REFUSAL),
        "503": json_answer("The database is away; try again later.", _REFUSAL),
    },
}


def parse_port(query: Mapping[str, str]) -> int | None:
    """The port that a query asks for, None where it asks for none. Raises Invalid, also for any other parameter."""
    for name in query:
        if name != "port":
            shown = clean_text(name, _SHOWN_CHARS)
            raise Invalid(f"{shown} is no parameter of this list; the one that it has is port.", field=shown)
    if "port" not in query:
        return None
    port = _port(query["port"])
    if port is None:
        raise Invalid(f"port must be a whole number from 1 to {_PORT_MAX}.", field="port")
    return port


def discovery_json(nodes: Iterable[Target], *, port: int | None = None) -> bytes:
    """One group for each node, because each has labels of its own.

    The target is the node's `ip`, or else its `hostname`, with `port`, or else with the `port` of its meta data; with
    neither, Prometheus takes the port of its scheme. A node without any host that can be called is left out.
    """
    return _encode(
        [
            {"targets": [target], "labels": _labels(node)}
            for node in nodes
            if (target := _target(node, port)) is not None
        ]
    )


def _target(node: Target, port: int | None) -> str | None:
    host = _host(node.ip) or _host(node.hostname)
    if host is None:
        return None
    port = port or _port(node.port)
    return host if port is None else f"{host}:{port}"


def _host(text: str) -> str | None:
    """As it stands in a URL; None where it cannot."""
    text = text.strip()
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text if _HOST.fullmatch(text) else None
    return f"[{address}]" if address.version == 6 else str(address)


def _port(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        return None
    return int(text) if 1 <= int(text) <= _PORT_MAX else None


def _labels(node: Target) -> dict[str, str]:
    labels = {
        "node_id": node.node_id,
        "node_name": node.name,
        "type": node.type,
        "version": node.version,
        "environment": node.environment,
        "hostname": node.hostname,
        "ip": node.ip,
        "user": node.user,
        # Between commas, so that `.*,gpu,.*` finds one without a thought for its place.
        "tags": f",{','.join(node.tags)}," if node.tags else "",
    }
    for key, value in sorted(_all_labels(node).items()):
        name = _NOT_IN_NAMES.sub("_", key)
        labels[f"label_{name}"] = value
        labels[f"labelpresent_{name}"] = "true"
    return {f"{PREFIX}{name}": value for name, value in labels.items()}


def _all_labels(node: Target) -> Mapping[str, str]:
    """Tags (`gpu`, `team=x`), and over them the stored labels. Of keys that become one name, the last one counts."""
    tags = dict(tag.partition("=")[::2] for tag in node.tags)
    return {key: value for key, value in {**tags, **node.labels}.items() if key}
