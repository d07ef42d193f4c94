"""Before the upgrade: the token that an agent shows, and how one is told to come again."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from controlplane.common.sockets import deny

Send = Callable[[dict[str, Any]], Awaitable[None]]

AWAY_RETRY_S = 5


def shown_token(scope: MutableMapping[str, Any]) -> str:
    """The token of the Authorization header, else of the first `bearer.<token>` subprotocol, else ""."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    scheme, _space, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    offered: Iterable[str] = scope.get("subprotocols", ())
    return next((name for name in offered if name.startswith("bearer.")), "").removeprefix("bearer.")


async def turn_away(scope: MutableMapping[str, Any], send: Send, detail: str, retry_after_s: int) -> None:
    headers = ((b"retry-after", str(retry_after_s).encode()),)
    await deny(scope, send, status=503, detail=detail, headers=headers)
