"""Refusing a WebSocket before it is accepted, with an HTTP answer that says why."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


async def deny(
    scope: Scope, send: Send, *, status: int, detail: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Answer the upgrade with `status` and `{"detail": ...}`; a server that cannot do that answers 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    body = msgspec.json.encode({"detail": detail})
    await send(
        {
            "type": "websocket.http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *headers,
            ],
        }
    )
    await send({"type": "websocket.http.response.body", "body": body})


async def unknown_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """The end of the WebSocket routes: nothing speaks here."""
    await receive()
    await deny(scope, send, status=404, detail="There is no WebSocket at this path.")
