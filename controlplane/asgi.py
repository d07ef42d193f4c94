"""ASGI: HTTP to Django, agent sockets to their consumers, the lifespan to the hub of this process."""

import asyncio
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
from django.contrib import admin  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.urls import get_resolver  # noqa: E402

from agents.api.live.stream import end_streams  # noqa: E402
from agents.gateways.hub import running_hub, stop_hub  # noqa: E402
from agents.gateways.onestep.consumer import agent_socket  # noqa: E402
from agents.services.nodes_file import keep_nodes_file, leave_nodes_file  # noqa: E402
from controlplane.access.declared import ensure_declared  # noqa: E402
from controlplane.common.bodies import limit_bodies  # noqa: E402
from controlplane.common.locals import unlock_locals  # noqa: E402
from controlplane.common.rest.programs import REGISTRY_PREFIX  # noqa: E402
from controlplane.common.serving import ThreadedHandler  # noqa: E402
from controlplane.common.sockets import unknown_socket  # noqa: E402

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[..., Awaitable[None]]


# How long a start waits for nodes.json, where a file system or another process that writes it hangs.
_NODES_FILE_WITHIN_S = 5.0
# Beside the drain of the hub, which takes longer.
_NODES_FILE_ENDS_WITHIN_S = 0.5


async def lifespan(_scope: Scope, receive: Receive, send: Send) -> None:
    """Start the hub with the server and drain it when the server has closed its sockets.

    nodes.json is written before the server listens: who asks whether it is ready may read the file.
    """
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                await running_hub()
                await asyncio.to_thread(keep_nodes_file, wait_s=_NODES_FILE_WITHIN_S)
            except Exception as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            await send({"type": "lifespan.startup.complete"})
        else:
            await end_streams()
            await asyncio.gather(stop_hub(), asyncio.to_thread(leave_nodes_file, wait_s=_NODES_FILE_ENDS_WITHIN_S))
            await send({"type": "lifespan.shutdown.complete"})
            return


# As many as the pool has connections to the database: more would wait for one.
HTTP_THREADS: int = settings.DATABASES["default"].get("OPTIONS", {}).get("pool", {}).get("max_size", 16)

unlock_locals()
pages = ThreadedHandler(threads=HTTP_THREADS)
# On the server's own event loop: they tell of its hub, and must answer while all threads wait for the database.
_probes = ASGIHandler()
_PROBES = ("/healthz", "/readyz", f"{REGISTRY_PREFIX}/healthz", f"{REGISTRY_PREFIX}/readyz")


async def http(scope: Scope, receive: Receive, send: Send) -> None:
    """HTTP by path, below the path that the server is mounted at."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    handler: Application = _probes if path in _PROBES else pages
    await handler(scope, receive, send)


# Compared as they are: a URL pattern per connection and the copies of its scope cost more than all agents' paths.
_SOCKETS = {"/api/v1/agents/ws": agent_socket}


async def sockets(scope: Scope, receive: Receive, send: Send) -> None:
    """WebSockets by path, below the path that the server is mounted at."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    await _SOCKETS.get(path, unknown_socket)(scope, receive, send)


# Once, before anything is served: a request is not asked again.
ensure_declared(get_resolver(), admin.site, _SOCKETS)

_limited_http = limit_bodies(http, max_bytes=settings.HTTP_BODY_MAX_BYTES)
_limited_registry = limit_bodies(http, max_bytes=settings.NODE_BODY_MAX_BYTES, key="error")


async def bounded_http(scope: Scope, receive: Receive, send: Send) -> None:
    """HTTP with bodies of bounded length; the registry takes less, and refuses in words of its own."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    limited = _limited_registry if path.startswith(f"{REGISTRY_PREFIX}/") else _limited_http
    await limited(scope, receive, send)


application = ProtocolTypeRouter(
    {
        "http": bounded_http,
        "websocket": sockets,
        "lifespan": lifespan,
    }
)
