"""A limit on the bodies of HTTP requests, before Django spools them to disk."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[..., Awaitable[None]]


def limit_bodies(application: Application, *, max_bytes: int, key: str = "detail") -> Application:
    """The application behind a limit: a body of more than `max_bytes` is answered with 413 and read no further.

    `key` is what the answer has its sentence under.

    Django reads a body whole, to memory and then to a file, before any view or parser can refuse it.
    """

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        if _declared_length(scope) > max_bytes:
            await _refuse(send, max_bytes, key)
            return
        received, is_over, is_answered = 0, False, False

        async def counting_receive() -> MutableMapping[str, Any]:
            nonlocal received, is_over
            message = await receive()
            received += len(message.get("body", b""))
            is_over = is_over or received > max_bytes
            return {"type": "http.disconnect"} if is_over else message

        async def noting_send(message: MutableMapping[str, Any]) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        await application(scope, counting_receive, noting_send)
        if is_over and not is_answered:
            await _refuse(send, max_bytes, key)

    return limited


def _declared_length(scope: Scope) -> int:
    """The Content-Length, or 0 where it is absent or no number: what then comes is counted."""
    declared = dict(scope["headers"]).get(b"content-length", b"")
    return int(declared) if declared.isdigit() and len(declared) < 20 else 0


async def _refuse(send: Send, max_bytes: int, key: str) -> None:
    body = msgspec.json.encode({key: f"The body may have {max_bytes} bytes at most."})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # What of the body is still on its way must not be taken for the next request.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
