"""HTTP requests, each in one thread from its first middleware to its answer."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.db import close_old_connections
from django.http import FileResponse, HttpRequest, JsonResponse
from django.urls import set_script_prefix

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


# An extension of the scope with what ends its connection at once, whatever is on its way: closing it would wait for a
# peer that does not read.
HANG_UP_EXTENSION = "portal.hang_up"


def hang_up_of(request: HttpRequest) -> Callable[[], None]:
    """What ends the connection of a request at once; does nothing where the server has no such thing."""
    extension: dict[str, Callable[[], None]] = (
        getattr(request, "scope", {}).get("extensions", {}).get(HANG_UP_EXTENSION, {})
    )
    return extension.get("hang_up", _cannot_hang_up)


def _cannot_hang_up() -> None:
    """Servers of tests."""


class ThreadedHandler(ASGIHandler):
    """Django's ASGI handler for views and middleware that are synchronous, on a pool of `threads`.

    Django itself visits a thread for every synchronous middleware, both ways, and starts a thread for each request:
    twenty hand-overs of the interpreter, which cost a command to an agent as much as all its work. Asynchronous views
    still answer, on an event loop of their own; what they stream is read on the server's.

    Where `waiting_per_thread` requests for each thread wait already, more of them get 503 with Retry-After at once.
    """

    def __init__(self, *, threads: int, waiting_per_thread: int = 16) -> None:
        self.threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="http")
        self._most = threads * (1 + waiting_per_thread)
        # Requests that wait for a thread or have one.
        self.taken = 0
        self._lock = threading.Lock()
        super().__init__()

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: ARG002 -- Django's signature
        super().load_middleware(is_async=False)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        if not self._take():
            body.close()
            await self.send_response(_too_busy(), send)
            return
        answered = self.threads.submit(self._respond, scope, body)
        answered.add_done_callback(self._leave)
        response = await asyncio.wrap_future(answered)
        if response.streaming:
            await self._stream(response, receive, send)
        else:
            await self.send_response(response, send)

    def _take(self) -> bool:
        with self._lock:
            has_room = self.taken < self._most
            self.taken += has_room
        return has_room

    def _leave(self, _answered: "Future[Any]") -> None:
        """Called in any thread, also for a request whose client left before its turn."""
        with self._lock:
            self.taken -= 1

    def _respond(self, scope: Scope, body: IO[bytes]) -> Any:
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, body)
        if request is None:
            body.close()
        response: Any = refusal if request is None else self.get_response(request)
        response._handler_class = self.__class__  # noqa: SLF001 -- as Django's handlers do
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        if response.streaming:
            # It is read and closed in another thread, with another connection.
            close_old_connections()
        else:
            response.close()
        return response

    async def _stream(self, response: Any, receive: Receive, send: Send) -> None:
        """Send until all is sent or the client leaves, whose view is then told by a cancellation."""
        sending = asyncio.ensure_future(self.send_response(response, send))
        leaving = asyncio.ensure_future(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            sent, _left = await asyncio.gather(sending, leaving, return_exceptions=True)
            await sync_to_async(response.close)()
        if isinstance(sent, Exception):
            raise sent


def _too_busy() -> JsonResponse:
    detail = "too many requests wait for an answer; try again later"
    return JsonResponse({"detail": detail}, status=503, headers={"Retry-After": "5"})
