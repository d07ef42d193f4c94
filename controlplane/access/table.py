"""Who may do what: the words of the permission table, and its part for the API.

Below /api it lists every route and every verb with the least role that it takes; what is not in it is refused. The
other parts are `pages` (all other URLs), `console` (admins and their actions) and `sockets` (frames of agents). A
portal with a URL that stands in none of them does not serve, and a test walks all of them as everybody.
"""

import enum
from collections.abc import Mapping
from typing import Final

from controlplane.access.roles import Role


class Door(enum.Enum):
    """Who is let in where roles do not apply."""

    ANYBODY = "anybody"
    # Whoever is logged in by a session, with or without a role.
    LOGGED_IN = "logged in"
    # Whoever may log in to the console, with or without a role.
    STAFF = "staff"
    SUPERUSER = "superuser"
    # A program that shows a token for agents.
    AGENT = "agent"
    # A program that shows a token for agents, or an API token of somebody with a role.
    PROGRAM = "program"
    # In the registry of nodes, where AUTH_MODE is `token`; anybody where it is `disabled`. A node with a token for
    # agents; that or somebody with a role; only somebody in the role of an operator.
    NODE = "node"
    NODE_READER = "node or viewer"
    NODE_OPERATOR = "operator of nodes"
    # The session that an agent opened, for its own instance alone.
    OWN_SESSION = "own session"
    NOBODY = "nobody"


Rule = Role | Door
READ: Final[Mapping[str, Rule]] = {"GET": Role.VIEWER}
READ_AND_COMMAND: Final[Mapping[str, Rule]] = {"GET": Role.VIEWER, "POST": Role.OPERATOR}
COMMAND: Final[Mapping[str, Rule]] = {"POST": Role.OPERATOR}
OWN: Final[Mapping[str, Rule]] = {"POST": Role.VIEWER}
READ_AND_OWN: Final[Mapping[str, Rule]] = {"GET": Role.VIEWER, "POST": Role.VIEWER}
ADMINISTER: Final[Mapping[str, Rule]] = {"POST": Role.ADMIN}
READ_AND_ADMINISTER: Final[Mapping[str, Rule]] = {"GET": Role.VIEWER, "POST": Role.ADMIN}
UNKNOWN_NODE_ROUTE: Final = "^api/v1/master(/.*)?$"
REGISTRY_DOORS: Final = frozenset({Door.NODE, Door.NODE_READER, Door.NODE_OPERATOR})
SERVICE: Final = "api/v1/services/<name:service_name>"
NOTIFICATION_CHANNELS: Final = "api/v1/settings/notifications/channels"

API_ROUTES: Final[Mapping[str, Mapping[str, Rule]]] = {
    "api/schema/": READ,
    "api/docs/": READ,
    "api/v1/auth/session": {"GET": Door.ANYBODY},
    "api/v1/auth/login": {"POST": Door.ANYBODY},
    "api/v1/auth/logout": {"POST": Door.ANYBODY},
    "api/v1/auth/logout-all": {"POST": Door.LOGGED_IN},
    "api/v1/agents/presence": {"POST": Door.AGENT},
    "api/v1/master/healthz": {"GET": Door.ANYBODY},
    "api/v1/master/readyz": {"GET": Door.ANYBODY},
    "api/v1/master/nodes": {"GET": Door.NODE_READER, "POST": Door.NODE},
    "api/v1/master/nodes.sd.json": {"GET": Door.NODE_READER},
    "api/v1/master/nodes/statistics": {"GET": Door.NODE_READER},
    "api/v1/master/nodes/<name:node_id>": {"GET": Door.NODE_READER},
    "api/v1/master/nodes/<name:node_id>/status": {"PUT": Door.NODE},
    "api/v1/master/nodes/<name:node_id>/config": {"PUT": Door.NODE_OPERATOR},
    # What is not found there is told in the words of the registry.
    UNKNOWN_NODE_ROUTE: {"GET": Door.ANYBODY},
    "api/v1/services": READ,
    SERVICE: READ,
    f"{SERVICE}/dashboard": READ,
    f"{SERVICE}/tasks": READ,
    f"{SERVICE}/tasks/<name:task_name>": READ,
    f"{SERVICE}/tasks/<name:task_name>/events": READ,
    f"{SERVICE}/tasks/<name:task_name>/commands": COMMAND,
    f"{SERVICE}/instances": READ,
    f"{SERVICE}/instances/<name:instance_id>": READ,
    f"{SERVICE}/metric-windows": READ,
    f"{SERVICE}/events": READ,
    f"{SERVICE}/commands": READ_AND_COMMAND,
    f"{SERVICE}/sessions": READ,
    "api/v1/events": READ,
    "api/v1/metrics/durations": READ,
    "api/v1/metrics/durations/series": READ,
    "api/v1/instances": READ,
    "api/v1/instances/labels": COMMAND,
    "api/v1/instances/<name:instance_id>": READ,
    "api/v1/instances/<name:instance_id>/labels": {
        "GET": Role.VIEWER,
        "PUT": Role.OPERATOR,
        "PATCH": Role.OPERATOR,
    },
    "api/v1/instances/<name:instance_id>/commands": READ_AND_COMMAND,
    "api/v1/instances/<name:instance_id>/archive": COMMAND,
    "api/v1/instances/<name:instance_id>/restore": COMMAND,
    f"{SERVICE}/archive": COMMAND,
    f"{SERVICE}/restore": COMMAND,
    "api/v1/instances/<name:instance_id>/export": READ,
    f"{SERVICE}/export": READ,
    # In a session it takes a recent login, too.
    "api/v1/instances/<name:instance_id>/forget": ADMINISTER,
    f"{SERVICE}/forget": ADMINISTER,
    "api/v1/instances/<name:instance_id>/facts": READ,
    "api/v1/inventory": READ,
    "api/v1/inventory/versions": READ,
    "api/v1/inventory/capabilities": READ,
    "api/v1/inventory/suspects": READ,
    "api/v1/removals": READ,
    "api/v1/removals/<name:removal_id>": READ,
    "api/v1/commands": READ,
    "api/v1/commands/<name:command_id>": READ,
    "api/v1/commands/<name:command_id>/cancel": COMMAND,
    # What stops an instance needs an admin, as for a single one.
    "api/v1/fan-outs": READ_AND_COMMAND,
    "api/v1/fan-outs/<name:fan_out_id>": READ,
    "api/v1/fan-outs/<name:fan_out_id>/targets": READ,
    "api/v1/groups": READ_AND_COMMAND,
    "api/v1/groups/<name:group_name>": {
        "GET": Role.VIEWER,
        "PUT": Role.OPERATOR,
        "PATCH": Role.OPERATOR,
        "DELETE": Role.OPERATOR,
    },
    # It only asks.
    "api/v1/selectors/check": {"POST": Role.VIEWER},
    "api/v1/sessions": READ,
    # Who is told of what. Tokens that are narrowed to environments are refused beside the table.
    NOTIFICATION_CHANNELS: READ_AND_COMMAND,
    f"{NOTIFICATION_CHANNELS}/<name:channel_id>": {"PATCH": Role.OPERATOR, "DELETE": Role.OPERATOR},
    f"{NOTIFICATION_CHANNELS}/<name:channel_id>/enabled": {"PATCH": Role.OPERATOR},
    f"{NOTIFICATION_CHANNELS}/<name:channel_id>/test": COMMAND,
    "api/v1/settings/notifications/services": READ,
    "api/v1/rules": READ_AND_COMMAND,
    # It only asks.
    "api/v1/rules/replay": {"POST": Role.VIEWER},
    "api/v1/rules/<name:rule_id>": {"GET": Role.VIEWER, "PATCH": Role.OPERATOR, "DELETE": Role.OPERATOR},
    "api/v1/alerts": READ,
    "api/v1/alerts/<name:alert_id>": READ,
    "api/v1/alerts/<name:alert_id>/members": READ,
    "api/v1/deliveries": READ,
    "api/v1/deliveries/<name:delivery_id>": READ,
    "api/v1/deliveries/<name:delivery_id>/retry": COMMAND,
    "api/v1/silences": READ_AND_COMMAND,
    "api/v1/silences/replay": {"POST": Role.VIEWER},
    "api/v1/silences/<name:silence_id>": READ,
    "api/v1/silences/<name:silence_id>/end": COMMAND,
    "api/v1/ui/stream": READ,
    "api/v1/system": {"GET": Role.ADMIN},
    "api/v1/history": READ,
    "api/v1/history/<name:event_id>": READ,
    # Everybody has one's own; whose others are, and how strong new ones may be, is asked beside the table.
    "api/v1/tokens": READ_AND_OWN,
    "api/v1/tokens/<name:token_id>": READ,
    "api/v1/tokens/<name:token_id>/revoke": OWN,
    "api/v1/agent-tokens": READ_AND_ADMINISTER,
    "api/v1/agent-tokens/<name:token_id>": READ,
    "api/v1/agent-tokens/<name:token_id>/revoke": {"POST": Role.ADMIN},
}
# What answers 404 wherever nothing else does, to everybody.
UNKNOWN_ROUTE: Final = "^api(/.*)?$"


def rule_for(route: str, method: str) -> Rule | None:
    """The rule for a verb on a route, or None where the table has none; HEAD is as GET."""
    return API_ROUTES.get(route, {}).get("GET" if method == "HEAD" else method)
