"""A Channels consumer that accepts and does nothing."""

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter


class EmptyConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Every frame is taken and forgotten."""


async def lifespan(_scope: object, receive: object, send: object) -> None:
    while (await receive())["type"] != "lifespan.shutdown":  # type: ignore[operator]
        await send({"type": "lifespan.startup.complete"})  # type: ignore[operator]
    await send({"type": "lifespan.shutdown.complete"})  # type: ignore[operator]


application = ProtocolTypeRouter({"websocket": EmptyConsumer.as_asgi(), "lifespan": lifespan})
