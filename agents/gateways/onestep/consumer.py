"""The agent's socket: authenticate, parse, hand over to a service or to a batcher, answer.

It holds connection state only. Source of every rule: contract 1; close codes are named below.
"""

import asyncio
import logging
import random
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any, Final, ParamSpec, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from agents.gateways.admission import TurnedAway
from agents.gateways.answers import PendingAnswer
from agents.gateways.hub import Hub, running_hub
from agents.gateways.inbox import Inbox, Message, Receive
from agents.gateways.onestep import protocol, wire
from agents.gateways.onestep.building import build_command, build_error, build_hello_ack
from agents.gateways.onestep.handshake import AWAY_RETRY_S, shown_token, turn_away
from agents.gateways.onestep.protocol import SessionContext
from agents.gateways.onestep.reading import LARGE_FRAME_CHARS, ProtocolError, parse_envelope
from agents.gateways.onestep.salvaging import read_telemetry, salvage
from agents.gateways.outbox import Outbox
from agents.gateways.share import Share, put, weigh
from agents.models.instance import Dialect
from agents.services.commands import parse_public_id
from agents.services.delivery import Ack, Answer, ClaimedCommand, Result
from agents.services.errors import CommandUnknown, DuplicateResult, InstanceConflict, ReplicaStopped, SessionEnded
from agents.services.refusals import Cause
from agents.services.reports import Heartbeat, Hello, Rejection, Topology
from agents.services.sessions import OpenedSession, Opening
from agents.services.tokens import Credential
from controlplane.common.sockets import deny
from controlplane.common.throttling import TokenBucket

logger = logging.getLogger(__name__)

CLOSE_UNSUPPORTED_DATA = 1003
CLOSE_POLICY_VIOLATION = 1008
CLOSE_TOO_BIG = 1009
CLOSE_INTERNAL_ERROR = 1011
CLOSE_SERVICE_RESTART = 1012
CLOSE_SUPERSEDED = 4001
CLOSE_TOKEN_REVOKED = 4003
_CUT_CODES = {
    "superseded": (CLOSE_SUPERSEDED, "superseded by a newer session of this instance"),
    "token_revoked": (CLOSE_TOKEN_REVOKED, "the token was revoked or has expired"),
    "lost": (CLOSE_SERVICE_RESTART, "the portal lost track of this session; connect again"),
}
_GOODBYE_TIMEOUT_S = 5
HELLOS_PER_MINUTE = 10
# A frame counts one more for each so many bytes, and for each so many records.
BYTES_PER_TOKEN = 64 * 1024
RECORDS_PER_TOKEN = 10
RATE_NOTICE_EVERY_S = 30
# An answered command comes back as an acknowledgement and a result.
_ANSWERS_PER_COMMAND = 2
_ANSWER_TYPES = ("command_ack", "command_result")
# Frames that nobody may send to the portal.
_OF_THE_PORTAL = frozenset({"hello_ack", "command", "error"})
# Refusals before a session that are noted where they happen, or that are the portal's own matter.
_NOTED_OTHERWISE = frozenset({"unauthorized", ReplicaStopped.code})
# A close frame carries 125 bytes, two of them the code.
_REASON_MAX_BYTES = 123

P = ParamSpec("P")
T = TypeVar("T")
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def agent_socket(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """The ASGI application of `onestep-agent.v1`: admission, then one consumer for as long as the connection lasts."""
    await receive()
    try:
        hub = await running_hub()
    except DatabaseError:
        logger.exception("onestep.connect_failed")
        await turn_away(scope, send, "The database is away.", AWAY_RETRY_S)
        return
    if hub.is_database_away:
        hub.traffic.connections_refused["database_away"] += 1
        await turn_away(scope, send, "The database is away.", random.randint(AWAY_RETRY_S, 2 * AWAY_RETRY_S))  # noqa: S311 -- no secret
        return
    entry = hub.admission.enter(asyncio.get_running_loop().time())
    if isinstance(entry, TurnedAway):
        hub.traffic.connections_refused["too_many"] += 1
        await turn_away(scope, send, entry.detail, entry.retry_after_s)
        return
    try:
        if entry.wait_s:
            await asyncio.sleep(entry.wait_s)
        await OneStepConsumer(hub, scope, receive, send).run()
    finally:
        hub.admission.leave()


class OneStepConsumer:
    """One `onestep-agent.v1` connection.

    A plain ASGI application: Channels' consumer would listen on a channel of the layer for every socket, at a Redis
    subscription and two tasks each, and would hop to a thread before each message to look after database connections.
    Hints come through the hub, and database calls look after their own connections.
    """

    __slots__ = (
        "_answers_due",
        "_bucket",
        "_context",
        "_goodbye",
        "_hello_deadline",
        "_hellos",
        "_in_hand",
        "_inbox",
        "_is_open",
        "_needs_sync",
        "_noticed_at",
        "_outbox",
        "_owed",
        "_parting",
        "_scope",
        "_send",
        "_share",
        "credential",
        "hub",
        "instance_id",
        "opened_at",
        "session_id",
    )

    credential: Credential
    session_id: UUID
    instance_id: UUID
    opened_at: datetime

    def __init__(self, hub: Hub, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        self.hub = hub
        self._scope, self._send = scope, send
        self._inbox = Inbox(receive, hub.read_ahead)
        self._outbox = Outbox(self._send_frame, on_relief=self._ask_for_more)
        self._share = Share(hub.batcher, self._inbox)
        self._context: SessionContext | None = None
        # The telemetry frame that was read and not yet put, and after the end how many read ahead are still taken.
        self._in_hand: str | None = None
        self._parting: SessionContext | None = None
        self._owed = 0
        self._is_open = False
        self._hello_deadline: asyncio.TimerHandle | None = None
        self._hellos: TokenBucket | None = None
        self._needs_sync = False
        self._goodbye: asyncio.Task[None] | None = None
        # What it sends too fast, and how many of its answers are asked for.
        self._bucket: TokenBucket | None = None
        self._noticed_at = -float(RATE_NOTICE_EVERY_S)
        self._answers_due = 0

    async def run(self) -> None:
        """Let the agent in and handle one message after the other until the connection ends."""
        try:
            if not await self._come_in():
                return
            while True:
                message = await self._inbox.next()
                if message["type"] != "websocket.receive":
                    self._disconnected(message.get("code") or 1005)
                    return
                await self._take(message)
        except OSError:
            # The peer went during the handshake.
            pass
        except asyncio.CancelledError:
            self._salvage()
            raise
        finally:
            # Also where the server cancels the task, which then never sees a disconnect.
            self._disconnected(CLOSE_INTERNAL_ERROR)
            self._outbox.close()

    # --- connection

    async def _come_in(self) -> bool:
        try:
            credential = await self.hub.credential(shown_token(self._scope), dialect=Dialect.ONESTEP)
        except DatabaseError:
            logger.exception("onestep.connect_failed")
            self.hub.traffic.connections_refused["database_away"] += 1
            await turn_away(self._scope, self._send, "The database is away.", AWAY_RETRY_S)
            return False
        if credential is None:
            self.hub.traffic.connections_refused["unauthorized"] += 1
            detail = "The agent token is missing, unknown, revoked, expired or not for this dialect."
            await self._note_refusal(detail, secret=shown_token(self._scope))
            await deny(self._scope, self._send, status=401, detail=detail)
            return False
        self.credential = credential
        subprotocol = wire.SUBPROTOCOL if wire.SUBPROTOCOL in self._scope.get("subprotocols", ()) else None
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol})
        self._is_open = True
        loop = asyncio.get_running_loop()
        self._hello_deadline = loop.call_later(
            settings.AGENT_HELLO_TIMEOUT_S, lambda: loop.create_task(self._hello_overdue())
        )
        return True

    async def _note_refusal(
        self, reason: str, token_id: int | None = None, *, cause: Cause | None = None, secret: str | None = None
    ) -> None:
        try:
            await self.hub.note_refusal(
                dialect=Dialect.ONESTEP,
                peer_address=self._peer_address(),
                reason=reason,
                token_id=token_id,
                cause=cause,
                secret=secret,
            )
        except DatabaseError:
            logger.exception("onestep.refusal_unrecorded")

    def _peer_address(self) -> str:
        return str((self._scope.get("client") or ("",))[0])

    async def _hello_overdue(self) -> None:
        message = f"No hello within {settings.AGENT_HELLO_TIMEOUT_S} s."
        await self._refuse(ProtocolError("session_not_initialized", message, closes=True))

    def _disconnected(self, code: int) -> None:
        self._is_open = False
        if self._hello_deadline is not None:
            self._hello_deadline.cancel()
        self._inbox.close()
        if self._context is not None:
            self._context = None
            self.hub.detach(self, reason=f"closed_{code}")

    async def _close(self, code: int, reason: str) -> None:
        if not self._is_open:
            return
        self._is_open = False
        short = reason.encode()[:_REASON_MAX_BYTES].decode("utf-8", "ignore")
        await self._send({"type": "websocket.close", "code": code, "reason": short})

    async def _send_frame(self, frame: str) -> None:
        if self._is_open:
            await self._send({"type": "websocket.send", "text": frame})

    async def _refuse(self, error: ProtocolError) -> None:
        self.hub.traffic.frames_refused[error.code] += 1
        await self._send_frame(build_error(error.code, str(error), closes=error.closes))
        if error.closes:
            if self._context is None and error.code not in _NOTED_OTHERWISE:
                await self._note_refusal(str(error), self.credential.token_id, cause=Cause.HELLO)
            await self._close(CLOSE_POLICY_VIOLATION, str(error))

    # --- pace

    async def _pace(self, size: int, *, is_answer: bool) -> None:
        """Take a frame of `size` characters into account: an agent that sends too much is read no faster.

        An answer that was asked for is free, so that a flood of telemetry never costs an agent its commands.
        """
        if is_answer and self._answers_due > 0:
            self._answers_due -= 1
            return
        now = asyncio.get_running_loop().time()
        if self._bucket is None:
            self._bucket = TokenBucket(per_s=settings.AGENT_FRAMES_PER_S, burst=settings.AGENT_FRAME_BURST, now=now)
        wait_s = self._bucket.take(now, cost=1 + size / BYTES_PER_TOKEN)
        if not wait_s:
            return
        if now - self._noticed_at >= RATE_NOTICE_EVERY_S:
            self._noticed_at = now
            logger.warning("onestep.rate_limited instance=%s", self._context and self._context.instance_id)
            message = (
                f"More than {settings.AGENT_FRAMES_PER_S} frames a second (a frame counts one more per "
                f"{BYTES_PER_TOKEN:,} bytes and per {RECORDS_PER_TOKEN} records); frames are read no faster than that, "
                "and none is dropped."
            )
            await self._refuse(ProtocolError("rate_limited", message, closes=False))
        await asyncio.sleep(wait_s)

    def _count_records(self, count: int) -> None:
        """Take the records of the frame just read into account, for which the next one waits; a burst at most."""
        if self._bucket is not None and count > 1:
            cost = min(count / RECORDS_PER_TOKEN, settings.AGENT_FRAME_BURST)
            self._bucket.take(asyncio.get_running_loop().time(), cost=cost)

    # --- frames of the agent

    async def _take(self, message: Message) -> None:
        text = message.get("text")
        if not self._is_open or self._goodbye is not None:
            await self._take_owed(text)
            return
        if text is None:
            error = ProtocolError("invalid_message", "Binary frames are not part of this protocol.", closes=True)
            self.hub.traffic.frames_refused["binary"] += 1
            await self._send_frame(build_error(error.code, str(error), closes=True))
            await self._close(CLOSE_UNSUPPORTED_DATA, str(error))
            return
        if len(text) > settings.AGENT_FRAME_MAX_BYTES:
            # Servers with a limit of their own never let it come this far.
            self.hub.traffic.frames_refused["too_big"] += 1
            await self._close(CLOSE_TOO_BIG, f"A frame may have {settings.AGENT_FRAME_MAX_BYTES} bytes at most.")
            return
        self._in_hand, context = text, self._context
        try:
            envelope = await self._envelope(text)
            # Of a session that ended meanwhile, telemetry is still taken.
            if self._goodbye is None or (self._parting is not None and envelope.type == "telemetry"):
                await self._handle(envelope, context, weigh(text))
        except ProtocolError as error:
            await self._refuse(error)
        except OSError:
            # The peer went while it was being answered; the server tells so next.
            self._is_open = False
            self._part(self._context or self._parting)
        except Exception:
            logger.exception("onestep.frame_failed instance=%s", self._context and self._context.instance_id)
            await self._fail()
        self._in_hand = None

    async def _fail(self) -> None:
        """Say that the portal failed; who has no session after that, and no deadline for one, must come again."""
        message = "The portal failed on this frame."
        is_lost = self._context is None and self._goodbye is None
        self.hub.traffic.frames_refused["internal_error"] += 1
        await self._send_frame(build_error("internal_error", message, closes=is_lost))
        if is_lost:
            await self._close(CLOSE_INTERNAL_ERROR, message)

    def _part(self, context: SessionContext | None) -> None:
        """What was read ahead by now is still taken as of this session; what comes later is not."""
        self._parting, self._owed = context, self._inbox.count_read()

    async def _take_owed(self, text: str | None) -> None:
        if not self._owed:
            return
        self._owed -= 1
        context = self._parting
        if text is None or context is None:
            return
        self._in_hand = text
        try:
            reports = await _parsed(len(text), read_telemetry, text, context)
            self._in_hand = None
            await self._share.report(reports, size_bytes=weigh(text))
        except ProtocolError as error:
            logger.info("onestep.unsalvaged instance=%s error=%s", context.instance_id, error)
        except Exception:
            logger.exception("onestep.unsalvaged instance=%s", context.instance_id)
        self._in_hand = None

    async def _envelope(self, text: str) -> wire.Envelope:
        is_answer = False
        try:
            envelope = await _parsed(len(text), parse_envelope, text)
            self.hub.traffic.received(envelope.type)
            is_answer = envelope.type in _ANSWER_TYPES
        finally:
            await self._pace(len(text), is_answer=is_answer)
        return envelope

    async def _handle(self, envelope: wire.Envelope, context: SessionContext | None, size_bytes: int) -> None:
        if envelope.type == "hello":
            await self._hello(await self._parsed_hello(envelope))
            return
        handler = _HANDLERS.get(envelope.type)
        if handler is None and envelope.type not in _OF_THE_PORTAL:
            raise ProtocolError("invalid_message", f"Unknown frame type {envelope.type[:64]!r}.", closes=True)
        if context is None:
            raise ProtocolError("session_not_initialized", "The first frame must be a hello.", closes=True)
        if handler is None:
            raise ProtocolError("invalid_message", f"Only the portal sends {envelope.type}.", closes=False)
        await handler(self, envelope.payload, context, size_bytes)

    async def _parsed_hello(self, envelope: wire.Envelope) -> Hello:
        try:
            return await _parsed(len(envelope.payload), protocol.parse_hello, envelope.payload)
        except ProtocolError as error:
            if error.code == "unsupported_protocol_version":
                await self._note_refusal(str(error), self.credential.token_id)
            raise

    async def _hello(self, hello: Hello) -> None:
        if not self.credential.speaks_for(hello.service.environment):
            message = f"This token does not speak for the environment {hello.service.environment}."
            await self._note_refusal(message, self.credential.token_id, cause=Cause.ENVIRONMENT)
            raise ProtocolError("unauthorized", message, closes=True)
        self._count_hello()
        # It was said; how long the portal takes to answer is not the agent's fault.
        if self._hello_deadline is not None:
            self._hello_deadline.cancel()
        first, self._context = self._context, None
        if first is not None:
            # A second hello on one socket: its first session will be superseded like any other, the socket stays.
            self.hub.release(self)
        try:
            # The socket is read on, so that a peer that hangs up leaves the queue and its place among the connections.
            opened = await self._inbox.wait_for(self._open_session(hello), only_for_a_peer=True)
        except BaseException:
            if first is not None:
                self.hub.end(first.session_id, reason="closed_1008")
            raise
        if first is not None:
            self.hub.traffic.sessions_ended["superseded"] += 1
        try:
            await self._greet(hello, opened)
        finally:
            if self._context is None:
                # The agent left before it was greeted; nothing else knows of this session.
                self.hub.end(opened.session_id, reason="closed_early")

    def _count_hello(self) -> None:
        """Each hello makes a session; a socket that says it again and again is not an agent."""
        now = asyncio.get_running_loop().time()
        if self._hellos is None:
            self._hellos = TokenBucket(per_s=HELLOS_PER_MINUTE / 60, burst=HELLOS_PER_MINUTE, now=now)
        if self._hellos.take(now):
            message = f"More than {HELLOS_PER_MINUTE} hellos on one connection within a minute."
            raise ProtocolError("rate_limited", message, closes=True)

    async def _open_session(self, hello: Hello) -> OpenedSession:
        try:
            return await self.hub.open_session(Opening(hello, self.credential, self._peer_address()))
        except (InstanceConflict, ReplicaStopped) as error:
            raise ProtocolError(error.code, str(error), closes=True) from error

    async def _greet(self, hello: Hello, opened: OpenedSession) -> None:
        await self._send_frame(
            build_hello_ack(opened.public_id, hello.accepted_capabilities, heartbeat_interval_s=_heartbeat_interval_s())
        )
        if not self._is_open:
            return
        # Only now may the hub find this socket: whatever came before the answer would make the agent hang up.
        self.session_id, self.instance_id, self.opened_at = opened.session_id, opened.instance_id, opened.opened_at
        self._context = SessionContext(
            session_id=opened.session_id,
            instance_id=opened.instance_id,
            service_id=opened.service_id,
            # Many sockets are of one service.
            service_name=sys.intern(hello.service.name),
            environment=sys.intern(hello.service.environment),
        )
        self._needs_sync = "command.sync_now" in hello.accepted_capabilities and not opened.has_synced
        self.hub.attach(self)

    async def _telemetry(self, payload: Any, context: SessionContext, size_bytes: int) -> None:
        now = timezone.now()
        parsed = await _parsed(len(payload), protocol.parse_telemetry, payload, context, now)
        self._count_records(parsed.record_count)
        # From here on it is stored or counted, also where this is cancelled.
        self._in_hand = None
        self.hub.heard(context.session_id, now)
        await self._share.report(parsed.reports, size_bytes=size_bytes)
        if parsed.rejected_count:
            await self._tell_rejected(parsed, context)
        if self._needs_sync and parsed.reports:
            await self._want_sync(parsed.reports[0], context)

    async def _tell_rejected(self, parsed: protocol.ParsedTelemetry, context: SessionContext) -> None:
        self.hub.traffic.records_refused[parsed.channel] += parsed.rejected_count
        rejection = Rejection(
            session_id=context.session_id,
            instance_id=context.instance_id,
            service_id=context.service_id,
            received_at=timezone.now(),
            channel=parsed.channel,
            count=parsed.rejected_count,
            reasons=tuple(parsed.reasons),
        )
        await self._share.report([rejection], size_bytes=0)
        message = f"{parsed.rejected_count} records left out: {'; '.join(parsed.reasons)}"
        raise ProtocolError("invalid_message", message, closes=False)

    async def _want_sync(self, report: object, context: SessionContext) -> None:
        """An older client never repeats its topology: ask for it once, where a heartbeat came and no sync before."""
        if isinstance(report, Topology):
            self._needs_sync = False
        elif isinstance(report, Heartbeat):
            self._needs_sync = False
            try:
                await self.hub.ask_for_sync(context.instance_id)
            except (DatabaseError, InterfaceError) as error:
                # The next heartbeat asks again.
                logger.warning("onestep.sync_unasked instance=%s error=%s", context.instance_id, error)
                self._needs_sync = True

    async def _command_ack(self, payload: Any, context: SessionContext, size_bytes: int) -> None:
        ack = await _parsed(len(payload), protocol.parse_ack, payload)
        body = Ack(
            accepted=ack.status == "accepted",
            received_at=ack.received_at,
            error_code=ack.error_code or "",
            error_message=ack.error_message or "",
        )
        await self._answer(ack.command_id, body, context, size_bytes)

    async def _command_result(self, payload: Any, context: SessionContext, size_bytes: int) -> None:
        result = await _parsed(len(payload), protocol.parse_result, payload)
        body = Result(
            status=result.status,
            finished_at=result.finished_at,
            result=result.result,
            duration_ms=result.duration_ms,
            error_code=result.error_code or "",
            error_message=result.error_message or "",
        )
        # What the agent reported before its result is stored before it: "synced" means that the topology is here.
        await self._share.flush()
        await self._answer(result.command_id, body, context, size_bytes)

    async def _answer(self, command_id: str, body: Ack | Result, context: SessionContext, size_bytes: int) -> None:
        now = timezone.now()
        try:
            answer = Answer(context.session_id, parse_public_id(command_id), now, body)
        except CommandUnknown as error:
            raise ProtocolError(error.code, str(error), closes=False) from error
        pending = PendingAnswer(answer, lambda error: self._answer_refused(context, error))
        await put(self.hub.answers, [pending], self._inbox, size_bytes=size_bytes)
        self.hub.heard(context.session_id, now)

    def _answer_refused(self, context: SessionContext, error: Exception) -> None:
        if self._context is not context:
            return
        if isinstance(error, SessionEnded):
            self.cut(error.reason)
        elif self._outbox.is_congested:
            # Errors to somebody who does not read them would pile up.
            return
        elif isinstance(error, CommandUnknown | DuplicateResult):
            self._post_error(error.code, str(error))
        else:
            self._post_error("internal_error", "The portal failed on this frame.")

    def _post_error(self, code: str, message: str) -> None:
        self.hub.traffic.frames_refused[code] += 1
        self._outbox.post([build_error(code, message, closes=False)])

    def _salvage(self) -> None:
        """Hand over the telemetry in hand and what was read ahead: the server ends."""
        context = self._context or self._parting
        is_whole = self._is_open and self._goodbye is None
        count = self._inbox.count_read() if is_whole else self._owed
        messages = [self._inbox.pop() for _ in range(min(count, len(self._inbox)))]
        if context is not None:
            texts = [self._in_hand, *(message.get("text") for message in messages)]
            salvage([text for text in texts if text is not None], context, self.hub.batcher)

    # --- what the hub asks

    @property
    def is_congested(self) -> bool:
        return self._outbox.is_congested

    def deliver(self, commands: Sequence[ClaimedCommand]) -> None:
        self._answers_due += _ANSWERS_PER_COMMAND * len(commands)
        self._outbox.post([build_command(command) for command in commands])

    def _ask_for_more(self) -> None:
        if self._context is not None:
            self.hub.dispatcher.wake([self._context.session_id])

    def cut(self, reason: str) -> None:
        """Detach at once; the goodbye is said beside, since a peer that never reads would hold up everybody."""
        if self._context is None:
            return
        self._part(None if reason == "token_revoked" else self._context)
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


# Beside the hello, what an agent may send once it has a session.
_HANDLERS: Final[Mapping[str, Callable[[OneStepConsumer, Any, SessionContext, int], Awaitable[None]]]] = {
    "telemetry": OneStepConsumer._telemetry,  # noqa: SLF001 -- of this very module
    "command_ack": OneStepConsumer._command_ack,  # noqa: SLF001
    "command_result": OneStepConsumer._command_result,  # noqa: SLF001
}


def _heartbeat_interval_s() -> int:
    """What this agent is told, in whole seconds: a fleet that came at once shall not beat in step for ever."""
    spread = int(settings.AGENT_HEARTBEAT_INTERVAL_S * settings.AGENT_HEARTBEAT_JITTER)
    return settings.AGENT_HEARTBEAT_INTERVAL_S + random.randint(-spread, spread)  # noqa: S311 -- no secret


async def _parsed(size: int, parse: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `parse` returns or raises; for a large frame from a thread, so that other sockets are served meanwhile."""
    if size < LARGE_FRAME_CHARS:
        return parse(*args, **kwargs)
    return await asyncio.to_thread(parse, *args, **kwargs)
