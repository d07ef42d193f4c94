"""The permission table of WebSockets: for each path, who may send each type of frame.

What a connection is let in by is the rule of its first frame; a type that is not here ends it. Calls of gRPC services
will have their methods listed in the same way.
"""

from collections.abc import Mapping
from typing import Final

from controlplane.access.table import Door, Rule

SOCKETS: Final[Mapping[str, Mapping[str, Rule]]] = {
    "/api/v1/agents/ws": {
        "hello": Door.AGENT,
        "telemetry": Door.OWN_SESSION,
        # Of a command that was sent to this very instance.
        "command_ack": Door.OWN_SESSION,
        "command_result": Door.OWN_SESSION,
        # The portal's own frames.
        "hello_ack": Door.NOBODY,
        "command": Door.NOBODY,
        "error": Door.NOBODY,
    },
}
