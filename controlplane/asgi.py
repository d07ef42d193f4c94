"""ASGI: HTTP to Django, agent sockets to their consumers, the lifespan to the hub of this process."""

import os
import warnings
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")

# whitenoise serves files by synchronous iterators; they are small, and Django reads them whole.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

# Must come before anything that imports models.
django.setup(set_prefix=False)

from channels.routing import ProtocolTypeRouter  # noqa: E402
from django.conf import settings  # noqa: E402

from agents.gateways.hub import running_hub, stop_hub  # noqa: E402
from agents.gateways.onestep.consumer import agent_socket  # noqa: E402
from controlplane.common.bodies import limit_bodies  # noqa: E402
from controlplane.common.serving import ThreadedHandler  # noqa: E402
from controlplane.common.sockets import unknown_socket  # noqa: E402

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


async def lifespan(_scope: Scope, receive: Receive, send: Send) -> None:
    """Start the hub with the server and drain it when the server has closed its sockets."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                await running_hub()
            except Exception as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            await send({"type": "lifespan.startup.complete"})
        else:
            await stop_hub()
            await send({"type": "lifespan.shutdown.complete"})
            return


# As many as the pool has connections to the database by default: more would wait for one.
_HTTP_THREADS = 16

# Compared as they are: a URL pattern per connection and the copies of its scope cost more than all agents' paths.
_SOCKETS = {"/api/v1/agents/ws": agent_socket}


async def sockets(scope: Scope, receive: Receive, send: Send) -> None:
    """WebSockets by path, below the path that the server is mounted at."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    await _SOCKETS.get(path, unknown_socket)(scope, receive, send)


application = ProtocolTypeRouter(
    {
        "http": limit_bodies(ThreadedHandler(threads=_HTTP_THREADS), max_bytes=settings.HTTP_BODY_MAX_BYTES),
        "websocket": sockets,
        "lifespan": lifespan,
    }
)
