"""The agent's socket: authenticate, parse, hand over to a service or to the batcher, answer.

It holds connection state only. Source of every rule: contract 1; close codes are named below.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from agents.gateways.hub import Hub, running_hub
from agents.gateways.onestep import protocol, wire
from agents.gateways.onestep.building import build_command, build_error, build_hello_ack
from agents.gateways.onestep.protocol import SessionContext
from agents.gateways.onestep.reading import LARGE_FRAME_CHARS, ProtocolError, parse_envelope
from agents.models import Instance
from agents.models.instance import Dialect
from agents.services.actors import SYSTEM
from agents.services.commands import parse_public_id, push_sync
from agents.services.delivery import ClaimedCommand, claim_for_new_session, claim_pending, record_ack, record_result
from agents.services.errors import CommandUnknown, DuplicateResult, InstanceConflict, ReplicaStopped, SessionEnded
from agents.services.reports import Heartbeat, Hello, Rejection, Topology, Touch
from agents.services.sessions import OpenedSession, open_session
from agents.services.tokens import Credential, check_agent_token
from controlplane.common.sockets import deny
from tasks_app.selectors.topology import has_topology

logger = logging.getLogger(__name__)

CLOSE_UNSUPPORTED_DATA = 1003
CLOSE_POLICY_VIOLATION = 1008
CLOSE_TOO_BIG = 1009
CLOSE_INTERNAL_ERROR = 1011
CLOSE_SERVICE_RESTART = 1012
CLOSE_TRY_LATER = 1013
CLOSE_SUPERSEDED = 4001
CLOSE_TOKEN_REVOKED = 4003
_CUT_CODES = {
    "superseded": (CLOSE_SUPERSEDED, "superseded by a newer session of this instance"),
    "token_revoked": (CLOSE_TOKEN_REVOKED, "the token was revoked or has expired"),
    "lost": (CLOSE_SERVICE_RESTART, "the portal lost track of this session; connect again"),
}
_GOODBYE_TIMEOUT_S = 5
HELLOS_PER_MINUTE = 10
# A close frame carries 125 bytes, two of them the code.
_REASON_MAX_BYTES = 123

P = ParamSpec("P")
T = TypeVar("T")
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def shown_token(scope: MutableMapping[str, Any]) -> str:
    """The token of the Authorization header, else of the first `bearer.<token>` subprotocol, else ""."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    scheme, _space, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    offered: Iterable[str] = scope.get("subprotocols", ())
    return next((name for name in offered if name.startswith("bearer.")), "").removeprefix("bearer.")


class OneStepConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels ships no types
    """One `onestep-agent.v1` connection."""

    hub: Hub
    credential: Credential
    session_id: UUID
    instance_id: UUID
    opened_at: datetime

    def __init__(self) -> None:
        super().__init__()
        self._context: SessionContext | None = None
        self._is_open = False
        self._hello_deadline: asyncio.TimerHandle | None = None
        self._dispatching: asyncio.Task[None] | None = None
        self._wanted = False
        self._needs_sync = False
        self._hellos: deque[float] = deque(maxlen=HELLOS_PER_MINUTE)
        self._goodbye: asyncio.Task[None] | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one message after the other.

        Channels would also listen on a channel of the layer for every socket, at a Redis subscription and two tasks
        each, and would hop to a thread before each message to look after database connections. Hints come through
        the hub, and database calls look after their own connections.
        """
        self.scope, self.base_send, self.channel_layer = scope, send, None
        try:
            while True:
                message = await receive()
                if message["type"] == "websocket.receive":
                    await self._take(message)
                elif message["type"] == "websocket.connect":
                    await self._connect()
                else:
                    self._disconnected(message.get("code") or 1005)
                    return
        finally:
            # Also where the server cancels the task, which then never sees a disconnect.
            self._disconnected(CLOSE_INTERNAL_ERROR)

    # --- connection

    async def _connect(self) -> None:
        try:
            self.hub = await running_hub()
            credential = await self.hub.call(check_agent_token, shown_token(self.scope), dialect=Dialect.ONESTEP)
        except DatabaseError:
            logger.exception("onestep.connect_failed")
            headers = ((b"retry-after", b"5"),)
            await deny(self.scope, self.base_send, status=503, detail="The database is away.", headers=headers)
            return
        if credential is None:
            detail = "The agent token is missing, unknown, revoked, expired or not for this dialect."
            await self._note_refusal(detail)
            await deny(self.scope, self.base_send, status=401, detail=detail)
            return
        self.credential = credential
        subprotocol = wire.SUBPROTOCOL if wire.SUBPROTOCOL in self.scope.get("subprotocols", ()) else None
        await self.accept(subprotocol)
        self._is_open = True
        loop = asyncio.get_running_loop()
        self._hello_deadline = loop.call_later(
            settings.AGENT_HELLO_TIMEOUT_S, lambda: loop.create_task(self._hello_overdue())
        )

    async def _note_refusal(self, reason: str, token_id: int | None = None) -> None:
        try:
            await self.hub.note_refusal(
                dialect=Dialect.ONESTEP,
                peer_address=self._peer_address(),
                reason=reason,
                token_id=token_id,
            )
        except DatabaseError:
            logger.exception("onestep.refusal_unrecorded")

    def _peer_address(self) -> str:
        return str((self.scope.get("client") or ("",))[0])

    async def _hello_overdue(self) -> None:
        message = f"No hello within {settings.AGENT_HELLO_TIMEOUT_S} s."
        await self._refuse(ProtocolError("session_not_initialized", message, closes=True))

    def _disconnected(self, code: int) -> None:
        self._is_open = False
        if self._hello_deadline is not None:
            self._hello_deadline.cancel()
        if self._context is not None:
            self._context = None
            self.hub.detach(self, reason=f"closed_{code}")

    async def _close(self, code: int, reason: str) -> None:
        if not self._is_open:
            return
        self._is_open = False
        short = reason.encode()[:_REASON_MAX_BYTES].decode("utf-8", "ignore")
        await self.close(code, short)

    async def _send_frame(self, frame: str) -> None:
        if self._is_open:
            await self.send(text_data=frame)

    async def _refuse(self, error: ProtocolError) -> None:
        await self._send_frame(build_error(error.code, str(error), closes=error.closes))
        if error.closes:
            await self._close(CLOSE_POLICY_VIOLATION, str(error))

    # --- frames of the agent

    async def _take(self, message: dict[str, Any]) -> None:
        if not self._is_open or self._goodbye is not None:
            return
        text = message.get("text")
        if text is None:
            error = ProtocolError("invalid_message", "Binary frames are not part of this protocol.", closes=True)
            await self._send_frame(build_error(error.code, str(error), closes=True))
            await self._close(CLOSE_UNSUPPORTED_DATA, str(error))
            return
        if len(text) > settings.AGENT_FRAME_MAX_BYTES:
            # Servers with a limit of their own never let it come this far.
            await self._close(CLOSE_TOO_BIG, f"A frame may have {settings.AGENT_FRAME_MAX_BYTES} bytes at most.")
            return
        try:
            await self._handle(await _parsed(len(text), parse_envelope, text))
        except ProtocolError as error:
            await self._refuse(error)
        except SessionEnded as ended:
            self.cut(ended.reason)
        except OSError:
            # The peer went while it was being answered; the server tells so next.
            self._is_open = False
        except DatabaseError:
            logger.exception("onestep.database_away instance=%s", self._context and self._context.instance_id)
            await self._close(CLOSE_TRY_LATER, "the portal's database is away; connect again")
        except Exception:
            logger.exception("onestep.frame_failed instance=%s", self._context and self._context.instance_id)
            await self._refuse(ProtocolError("internal_error", "The portal failed on this frame.", closes=False))

    async def _handle(self, envelope: wire.Envelope) -> None:
        if envelope.type == "hello":
            await self._hello(await _parsed(len(envelope.payload), protocol.parse_hello, envelope.payload))
            return
        handler = {
            "telemetry": self._telemetry,
            "command_ack": self._command_ack,
            "command_result": self._command_result,
        }.get(envelope.type)
        if handler is None and envelope.type not in {"hello_ack", "command", "error"}:
            raise ProtocolError("invalid_message", f"Unknown frame type {envelope.type[:64]!r}.", closes=True)
        if self._context is None:
            raise ProtocolError("session_not_initialized", "The first frame must be a hello.", closes=True)
        if handler is None:
            raise ProtocolError("invalid_message", f"Only the portal sends {envelope.type}.", closes=False)
        await handler(envelope.payload, self._context)

    async def _hello(self, hello: Hello) -> None:
        if not self.credential.speaks_for(hello.service.environment):
            message = f"This token does not speak for the environment {hello.service.environment}."
            await self._note_refusal(message, self.credential.token_id)
            raise ProtocolError("unauthorized", message, closes=True)
        self._count_hello()
        first, self._context = self._context, None
        if first is not None:
            # A second hello on one socket: its first session will be superseded like any other, the socket stays.
            self.hub.release(self)
        try:
            opened = await self._open_session(hello)
        except BaseException:
            if first is not None:
                self.hub.end(first.session_id, reason="closed_1008")
            raise
        try:
            await self._greet(hello, opened)
        finally:
            if self._context is None:
                # The agent left before it was greeted; nothing else knows of this session.
                self.hub.end(opened.session_id, reason="closed_early")
        if self._context is not None:
            await self._catch_up(hello, opened)

    def _count_hello(self) -> None:
        """Each hello makes a session; a socket that says it again and again is not an agent."""
        now = asyncio.get_running_loop().time()
        if len(self._hellos) == HELLOS_PER_MINUTE and now - self._hellos[0] < 60:
            message = f"More than {HELLOS_PER_MINUTE} hellos on one connection within a minute."
            raise ProtocolError("rate_limited", message, closes=True)
        self._hellos.append(now)

    async def _greet(self, hello: Hello, opened: OpenedSession) -> None:
        if self._hello_deadline is not None:
            self._hello_deadline.cancel()
        await self._send_frame(
            build_hello_ack(
                opened.public_id,
                hello.accepted_capabilities,
                heartbeat_interval_s=settings.AGENT_HEARTBEAT_INTERVAL_S,
            )
        )
        if not self._is_open:
            return
        # Only now may the hub wake this socket: whatever came before the answer would make the agent hang up.
        self.session_id, self.instance_id, self.opened_at = opened.session_id, opened.instance_id, opened.opened_at
        self._context = SessionContext(
            session_id=opened.session_id,
            instance_id=opened.instance_id,
            service_id=opened.service_id,
            service_name=hello.service.name,
            environment=hello.service.environment,
        )
        self.hub.attach(self)

    async def _catch_up(self, hello: Hello, opened: OpenedSession) -> None:
        await self._send_commands(await self.hub.call(claim_for_new_session, opened.session_id))
        self._needs_sync = "command.sync_now" in hello.accepted_capabilities and not await self.hub.call(
            has_topology, opened.instance_id
        )

    async def _open_session(self, hello: Hello) -> OpenedSession:
        await self.hub.end_detached()
        try:
            return await self.hub.call(
                open_session,
                hello,
                replica_id=self.hub.replica_id,
                credential=self.credential,
                peer_address=self._peer_address(),
            )
        except (InstanceConflict, ReplicaStopped) as error:
            raise ProtocolError(error.code, str(error), closes=True) from error

    async def _telemetry(self, payload: Any, context: SessionContext) -> None:
        now = timezone.now()
        parsed = await _parsed(len(payload), protocol.parse_telemetry, payload, context, now)
        size_bytes = len(payload) // max(1, len(parsed.reports))
        for report in parsed.reports:
            await self.hub.batcher.put(report, size_bytes=size_bytes)
        await self.hub.batcher.put(Touch(session_id=context.session_id, received_at=now))
        if parsed.rejected_count:
            await self._tell_rejected(parsed, context)
        if self._needs_sync and parsed.reports:
            await self._want_sync(parsed.reports[0], context)

    async def _tell_rejected(self, parsed: protocol.ParsedTelemetry, context: SessionContext) -> None:
        await self.hub.batcher.put(
            Rejection(
                session_id=context.session_id,
                instance_id=context.instance_id,
                service_id=context.service_id,
                received_at=timezone.now(),
                channel=parsed.channel,
                count=parsed.rejected_count,
                reasons=tuple(parsed.reasons),
            )
        )
        message = f"{parsed.rejected_count} records left out: {'; '.join(parsed.reasons)}"
        raise ProtocolError("invalid_message", message, closes=False)

    async def _want_sync(self, report: object, context: SessionContext) -> None:
        """An older client never repeats its topology: ask for it once, where a heartbeat came and no sync before."""
        if isinstance(report, Topology):
            self._needs_sync = False
        elif isinstance(report, Heartbeat):
            self._needs_sync = False
            await self.hub.call(_push_sync, context.instance_id)

    async def _command_ack(self, payload: Any, context: SessionContext) -> None:
        ack = await _parsed(len(payload), protocol.parse_ack, payload)
        with _refusals():
            await self.hub.call(
                record_ack,
                context.session_id,
                parse_public_id(ack.command_id),
                accepted=ack.status == "accepted",
                received_at=ack.received_at,
                error_code=ack.error_code or "",
                error_message=ack.error_message or "",
            )
        await self.hub.batcher.put(Touch(session_id=context.session_id, received_at=timezone.now()))

    async def _command_result(self, payload: Any, context: SessionContext) -> None:
        result = await _parsed(len(payload), protocol.parse_result, payload)
        # What the agent reported before its result is stored before it: "synced" means that the topology is here.
        await self.hub.batcher.flush()
        with _refusals():
            await self.hub.call(
                record_result,
                context.session_id,
                parse_public_id(result.command_id),
                status=result.status,
                finished_at=result.finished_at,
                result=result.result,
                duration_ms=result.duration_ms,
                error_code=result.error_code or "",
                error_message=result.error_message or "",
            )
        await self.hub.batcher.put(Touch(session_id=context.session_id, received_at=timezone.now()))

    # --- what the hub asks

    def wake(self) -> None:
        """Send what waits in the database; calls while one runs make it run once more."""
        self._wanted = True
        if self._dispatching is None or self._dispatching.done():
            self._dispatching = asyncio.get_running_loop().create_task(self._dispatch_waiting())

    def cut(self, reason: str) -> None:
        """Detach at once; the goodbye is said beside, since a peer that never reads would hold up everybody."""
        if self._context is None:
            return
        self._context = None
        self.hub.detach(self, reason=reason)
        self._goodbye = asyncio.get_running_loop().create_task(self._say_goodbye(reason))

    async def _say_goodbye(self, reason: str) -> None:
        code, text = _CUT_CODES[reason]
        try:
            async with asyncio.timeout(_GOODBYE_TIMEOUT_S):
                if reason == "token_revoked":
                    await self._send_frame(build_error("unauthorized", text, closes=True))
                await self._close(code, text)
        except (OSError, TimeoutError, RuntimeError) as error:
            # The peer is gone or does not read; the server's ping ends the connection.
            logger.info("onestep.goodbye_unheard session=%s error=%r", self.session_id, error)
        finally:
            self._is_open = False

    async def _dispatch_waiting(self) -> None:
        while self._wanted and self._context is not None:
            self._wanted = False
            session_id = self._context.session_id
            try:
                while claimed := await self.hub.call(claim_pending, session_id):
                    await self._send_commands(claimed)
            except SessionEnded as ended:
                if self._context is not None and self._context.session_id == session_id:
                    self.cut(ended.reason)
            except DatabaseError as error:
                # The pulse asks again as soon as the database answers.
                logger.warning("onestep.dispatch_failed session=%s error=%s", session_id, error)

    async def _send_commands(self, commands: list[ClaimedCommand]) -> None:
        for command in commands:
            await self._send_frame(build_command(command))


async def _parsed(size: int, parse: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `parse` returns or raises; for a large frame from a thread, so that other sockets are served meanwhile."""
    if size < LARGE_FRAME_CHARS:
        return parse(*args, **kwargs)
    return await asyncio.to_thread(parse, *args, **kwargs)


@contextmanager
def _refusals() -> Iterator[None]:
    """Turns what the command services refuse into error frames that leave the session open."""
    try:
        yield
    except (CommandUnknown, DuplicateResult) as error:
        raise ProtocolError(error.code, str(error), closes=False) from error


def _push_sync(instance_id: UUID) -> None:
    instance = Instance.objects.select_related("service").get(pk=instance_id)
    push_sync(instance, actor=SYSTEM)
