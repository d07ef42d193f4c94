"""The hub: what one process keeps for the sockets that it holds, of every dialect.

It owns the replica row, the micro-batchers, the threads for database calls and the table of live sockets. That table
is only a way to find a socket; every state is in the database, and losing the process loses nothing but the sockets.
What many sockets ask the database at about the same time (tokens, hellos, topologies, commands to send) it asks once
for all.
One hub lives per event loop, from its first use or the ASGI lifespan until the lifespan ends.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import ParamSpec, TypedDict, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer
from django.conf import settings
from django.utils import timezone

from agents.gateways.admission import Admission
from agents.gateways.answers import AnswerBatcher, answer_batcher
from agents.gateways.dispatch import Dispatcher, Socket
from agents.gateways.inbox import ReadAhead
from agents.gateways.traffic import Traffic, TrafficFigures
from agents.models import Replica, Session
from agents.services.commands import push_sync
from agents.services.holding import Pulse, pulse
from agents.services.latency import LatencyFigures, database_latency_s, redis_latency_s
from agents.services.refusals import Cause, record_refusal, shown_prefix
from agents.services.replicas import start_replica, stop_replica
from agents.services.reports import Report
from agents.services.sessions import (
    OpenedSession,
    Opening,
    OpenOutcome,
    end_sessions,
    open_sessions,
    reconcile_dead_replicas,
    touch_sessions,
)
from agents.services.tokens import Credential, check_configured_token, check_stored_tokens
from agents.services.transitions import store_transitions
from controlplane.common.actors import SYSTEM
from controlplane.common.batching import BatcherFigures, MicroBatcher
from controlplane.common.database import OwnConnections, renew_connection
from controlplane.common.gathering import Gatherer
from controlplane.common.gauges import published_gauges
from controlplane.common.hints import Hint, replica_group
from tasks_app.services.ingest import report_poison, store_reports

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_CALL_THREADS = 4
_END_EVERY_S = 0.05
_LISTEN_RETRY_S = 1.0
# How exactly `last_message_at` of a session is kept: a busy agent would otherwise write its row with every frame.
_TOUCH_EVERY_S = 1.0
# A database that has not answered for so long is away: one that is cut off without a word raises nothing for minutes.
SILENT_AFTER_S = 5.0
REFUSAL_EVERY_S = 60
REFUSED_PEERS_MAX = 200
# Of one peer: whoever tries out tokens must not use up what others are noted with.
REFUSALS_OF_PEER_MAX = 10
# How far back a pulse looks for sessions that were ended elsewhere: far longer than any gap between two pulses.
_CUT_WINDOW = timedelta(minutes=10)
# How many hellos share one transaction, and for how long those that follow each other wait for company.
_HELLO_BATCH = 250
_HELLO_PAUSE_S = 0.02
# The drain has taken its time when a process signs off; the reconciler of any other one does it as well.
_SIGN_OFF_S = 0.5


class HubFigures(TypedDict):
    """The connections of a process, how the queues between its sockets and the database fare, by name, and the rest.

    `latency` is what was measured last, empty before that.
    """

    connections: int
    queues: dict[str, BatcherFigures]
    traffic: TrafficFigures
    gauges: dict[str, float]
    latency: LatencyFigures


class Hub:
    """See the module's text. Not thread-safe: everything but `call`'s function runs on its event loop."""

    def __init__(self) -> None:
        self.batcher: MicroBatcher[Report] = MicroBatcher(
            "ingest",
            store_reports,
            queue_size=settings.INGEST_QUEUE_SIZE,
            batch_size=settings.INGEST_BATCH_SIZE,
            flush_interval_s=settings.INGEST_FLUSH_MS / 1000,
            on_poison=report_poison,
            queue_bytes=settings.INGEST_QUEUE_BYTES,
            batch_bytes=settings.INGEST_BATCH_BYTES,
        )
        self._connections = OwnConnections()
        self._threads = ThreadPoolExecutor(
            max_workers=_CALL_THREADS, thread_name_prefix="hub", initializer=self._connections.open
        )
        self._sockets: dict[UUID, Socket] = {}
        self._by_instance: dict[UUID, UUID] = {}
        self.answers = answer_batcher()
        self.dispatcher = Dispatcher(self.call, self._sockets)
        self.admission = Admission(now=asyncio.get_running_loop().time())
        self.read_ahead = ReadAhead()
        self.traffic = Traffic()
        self._latency: LatencyFigures = {}
        self._tokens = Gatherer("tokens", self._check_tokens, batch_size=_HELLO_BATCH, pause_s=_HELLO_PAUSE_S)
        self._hellos = Gatherer(
            "hellos",
            self._open_all,
            batch_size=_HELLO_BATCH,
            pause_s=_HELLO_PAUSE_S,
            is_patient=True,
            # The agent left before it was greeted; nothing else knows of this session.
            on_unclaimed=lambda opened: self.end(opened.session_id, reason="closed_early"),
        )
        self._syncs = Gatherer("syncs", self._push_syncs, batch_size=_HELLO_BATCH, pause_s=_HELLO_PAUSE_S)
        self._pulse_fails = False
        # When those under way began, the oldest first.
        self._pulses: list[float] = []
        self._ended: dict[UUID, str] = {}
        self._heard: dict[UUID, datetime] = {}
        self._refusals: dict[tuple[str, str, str], float] = {}
        self._ending = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._listening: asyncio.Task[None] | None = None
        self._replica: Replica | None = None

    @property
    def replica_id(self) -> UUID:
        if self._replica is None:
            raise RuntimeError("The hub has not started.")
        return self._replica.pk

    async def start(self) -> None:
        # Before the first agent comes back: a session of a killed predecessor must not pass for a live clone.
        await self.call(reconcile_dead_replicas)
        self._replica = await self.call(start_replica, Replica.Kind.WEB)
        self.batcher.start()
        self.answers.start()
        loop = asyncio.get_running_loop()
        self._listening = loop.create_task(self._listen(), name="hub-listen")
        self._tasks = [
            loop.create_task(self._keep(), name="hub-keep"),
            loop.create_task(self._end_loop(), name="hub-end"),
            loop.create_task(self._touch_loop(), name="hub-touch"),
            loop.create_task(self._measure(), name="hub-measure"),
        ]

    async def stop(self) -> None:
        """Store what was received, end this process's sessions in the database and sign off.

        Takes INGEST_DRAIN_S and _SIGN_OFF_S at most, also where the database hangs: what it did not take by then is
        given up, and the log says how much that was.
        """
        running = [task for task in (self._listening, *self._tasks) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for part in (self._tokens, self._hellos, self._syncs, self.dispatcher):
            await part.stop()
        given_up = sum(await asyncio.gather(*(batcher.stop(settings.INGEST_DRAIN_S) for batcher in self._batchers)))
        try:
            await asyncio.wait_for(self.call(_sign_off, self.replica_id, self._heard), _SIGN_OFF_S)
        except Exception as error:  # noqa: BLE001 -- the process ends
            # The reconciler of any other process does the same half a minute later.
            logger.warning("hub.sign_off_failed error=%r given_up=%d", error, given_up)
            # A thread that hangs in the database is left to the process's end, and its connection with it.
            self._threads.shutdown(wait=False, cancel_futures=True)
            return
        await asyncio.to_thread(self._close_connections)

    @property
    def _batchers(self) -> tuple[MicroBatcher[Report], AnswerBatcher]:
        return self.batcher, self.answers

    @property
    def is_database_away(self) -> bool:
        """Whether what was asked of the database last got no answer, or none for a while; newcomers are turned away."""
        writers_fail = any(batcher.stats.failing_since is not None for batcher in self._batchers)
        return writers_fail or self._pulse_fails or self._hellos.is_failing or self._silent_s > SILENT_AFTER_S

    @property
    def _silent_s(self) -> float:
        """For how long the oldest question to the database has gone without an answer."""
        pulsing_s = time.monotonic() - self._pulses[0] if self._pulses else 0.0
        return max(pulsing_s, self._hellos.asking_s, *(batcher.writing_s for batcher in self._batchers))

    def snapshot(self) -> HubFigures:
        """How this process fares; published with the pulse."""
        return {
            "connections": self.admission.connections,
            "queues": {batcher.name: batcher.snapshot() for batcher in self._batchers},
            "traffic": self.traffic.snapshot(),
            "gauges": published_gauges(),
            "latency": self._latency,
        }

    async def credential(self, secret: str, *, dialect: str) -> Credential | None:
        """What the shown secret allows in this dialect, None where nothing. Raises DatabaseError."""
        if not secret:
            return None
        return check_configured_token(secret) or await self._tokens((secret, dialect))

    async def _check_tokens(self, shown: Sequence[tuple[str, str]]) -> list[Credential | None]:
        return await self.call(_check_all, shown)

    async def open_session(self, opening: Opening) -> OpenedSession:
        """Open a session together with others; waits for a database that is away. Raises as `open_sessions` says."""
        opened = await self._hellos(opening)
        self.traffic.sessions_opened += 1
        return opened

    async def _open_all(self, openings: Sequence[Opening]) -> list[OpenOutcome]:
        await self.end_detached()
        return await self.call(open_sessions, openings, replica_id=self.replica_id)

    async def ask_for_sync(self, instance_id: UUID) -> None:
        """Ask an agent for its topology, together with others. Raises DatabaseError and InterfaceError."""
        await self._syncs(instance_id)

    async def _push_syncs(self, instance_ids: Sequence[UUID]) -> list[None]:
        await self.call(push_sync, instance_ids, actor=SYSTEM)
        return [None] * len(instance_ids)

    def _close_connections(self) -> None:
        self._threads.shutdown(wait=True)
        self._connections.close()

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a service in one of the hub's threads, each with a connection of its own: slow pages do not delay it."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: _with_fresh_connection(function, *args, **kwargs)
        )

    async def note_refusal(
        self,
        *,
        dialect: str,
        peer_address: str,
        reason: str,
        token_id: int | None = None,
        cause: Cause | None = None,
        secret: str | None = None,
    ) -> None:
        """Record that an agent was refused, once in REFUSAL_EVERY_S per peer, reason and token, some of each peer."""
        now = asyncio.get_running_loop().time()
        self._refusals = {key: at for key, at in self._refusals.items() if now - at < REFUSAL_EVERY_S}
        key = (peer_address, reason, str(token_id or shown_prefix(secret or "")))
        of_peer = sum(peer == peer_address for peer, *_rest in self._refusals)
        if key in self._refusals or of_peer >= REFUSALS_OF_PEER_MAX or len(self._refusals) >= REFUSED_PEERS_MAX:
            return
        self._refusals[key] = now
        await self.call(
            record_refusal,
            dialect=dialect,
            peer_address=peer_address,
            reason=reason,
            token_id=token_id,
            cause=cause,
            secret=secret,
        )

    def attach(self, socket: Socket) -> None:
        """Take a socket whose session was just opened; of two of one instance, the one opened earlier is cut."""
        other = self._sockets.get(self._by_instance.get(socket.instance_id, socket.session_id))
        if other is not None and other.opened_at > socket.opened_at:
            # Two hellos at once: the database superseded the first, whichever of them comes here first.
            self._sockets[socket.session_id] = socket
            socket.cut("superseded")
            return
        if other is not None:
            other.cut("superseded")
        self._sockets[socket.session_id] = socket
        self._by_instance[socket.instance_id] = socket.session_id
        self.dispatcher.greet(socket.session_id)

    def detach(self, socket: Socket, *, reason: str) -> None:
        """Forget a socket and end its session soon, together with others that end at the same time."""
        if self.release(socket):
            self.end(socket.session_id, reason=reason)

    def end(self, session_id: UUID, *, reason: str) -> None:
        """End a session of this process soon."""
        self._ended[session_id] = reason
        status = Session.Status.SUPERSEDED if reason == "superseded" else Session.Status.DISCONNECTED
        self.traffic.sessions_ended[status] += 1

    def release(self, socket: Socket) -> bool:
        """Forget a socket without ending its session; False if it was forgotten before."""
        if self._sockets.pop(socket.session_id, None) is None:
            return False
        if self._by_instance.get(socket.instance_id) == socket.session_id:
            del self._by_instance[socket.instance_id]
        return True

    async def end_detached(self) -> None:
        """End the sessions of detached sockets now: a hello must not take a socket just closed for a live clone."""
        async with self._ending:
            ended, self._ended = self._ended, {}
            if not ended:
                return
            try:
                await self.call(_end_all, ended)
            except Exception:
                self._ended = ended | self._ended
                raise

    async def _end_loop(self) -> None:
        while True:
            await asyncio.sleep(_END_EVERY_S)
            if not self._ended:
                continue
            try:
                await self.end_detached()
            except Exception:
                logger.exception("hub.end_failed")
                await asyncio.sleep(_LISTEN_RETRY_S)

    def heard(self, session_id: UUID, at: datetime) -> None:
        """Note that the agent of this session said something; stored soon, for all sessions together."""
        self._heard[session_id] = at

    async def _touch_loop(self) -> None:
        while True:
            await asyncio.sleep(_TOUCH_EVERY_S)
            if not self._heard:
                continue
            heard, self._heard = self._heard, {}
            try:
                await self.call(touch_sessions, heard.items())
            except Exception as error:  # noqa: BLE001 -- the next round tries again
                logger.warning("hub.untouched sessions=%d error=%s", len(heard), error)
                self._heard = heard | self._heard

    async def _measure(self) -> None:
        """Keep how long database and Redis take to answer, for the next pulse: neither of them may hold that up."""
        while True:
            try:
                latency: LatencyFigures = {"database_s": await self.call(database_latency_s)}
                if settings.REDIS_URL:
                    latency["redis_s"] = await asyncio.to_thread(redis_latency_s)
                self._latency = latency
            except Exception as error:  # noqa: BLE001 -- the pulse tells of a database that is away
                logger.debug("hub.unmeasured error=%s", error)
            await asyncio.sleep(settings.REPLICA_HEARTBEAT_S)

    async def _listen(self) -> None:
        """Wake sockets by hints. While Redis is away, nothing comes; the pulse makes up for it."""
        while True:
            try:
                layer = get_channel_layer()
                channel = await layer.new_channel("hub.")
                await layer.group_add(replica_group(self.replica_id), channel)
                while True:
                    self._hinted(await layer.receive(channel))
            except Exception as error:  # noqa: BLE001 -- outermost loop: hints are optional
                logger.warning("hub.hints_away error=%s", error)
                await asyncio.sleep(_LISTEN_RETRY_S)

    def _hinted(self, hint: Hint) -> None:
        if not hint["instances"]:
            self._loop_task(self._pulse())
            return
        self._wake(UUID(hex=instance) for instance in hint["instances"])

    def _wake(self, instance_ids: Iterable[UUID]) -> None:
        held = (self._by_instance.get(instance_id) for instance_id in instance_ids)
        self.dispatcher.wake([session_id for session_id in held if session_id is not None])

    def _loop_task(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)
        task.add_done_callback(self._tasks.remove)

    async def _keep(self) -> None:
        while True:
            # The same pulse tells that this process lives and sees: a slower one would count as a gap in its sight.
            await asyncio.sleep(min(settings.HINT_POLL_S, settings.REPLICA_HEARTBEAT_S))
            await self._pulse()

    async def _pulse(self) -> None:
        began = time.monotonic()
        self._pulses.append(began)
        self.traffic.pulse(began)
        try:
            since = timezone.now() - _CUT_WINDOW
            found = await self.call(pulse, self.replica_id, since=since, ingest=self.snapshot())
            if found.is_alive:
                self._act_on(found)
            else:
                await self._be_reborn()
            self._pulse_fails = False
        except Exception:
            # The next pulse tries again.
            self._pulse_fails = True
            logger.exception("hub.pulse_failed")
        finally:
            self._pulses.remove(began)

    def _act_on(self, found: Pulse) -> None:
        for cut in found.cuts:
            if (socket := self._sockets.get(cut.session_id)) is not None:
                socket.cut(cut.reason)
        self._wake(found.waiting)

    async def _be_reborn(self) -> None:
        """Others declared this process dead and ended its sessions: let the agents come in again, under a new name."""
        logger.error("hub.declared_dead replica=%s sockets=%d", self.replica_id, len(self._sockets))
        self._replica = await self.call(start_replica, Replica.Kind.WEB)
        # Hints come to the group of the new name.
        if self._listening is not None:
            self._listening.cancel()
        self._listening = asyncio.get_running_loop().create_task(self._listen(), name="hub-listen")
        for socket in list(self._sockets.values()):
            socket.cut("lost")


def _with_fresh_connection(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    renew_connection()
    return function(*args, **kwargs)


def _end_all(ended: dict[UUID, str]) -> None:
    by_reason: dict[str, list[UUID]] = {}
    for session_id, reason in ended.items():
        by_reason.setdefault(reason, []).append(session_id)
    for reason, session_ids in by_reason.items():
        end_sessions(Session.objects.filter(pk__in=session_ids), reason=reason)


def _check_all(shown: Sequence[tuple[str, str]]) -> list[Credential | None]:
    by_dialect: dict[str, list[str]] = {}
    for secret, dialect in shown:
        by_dialect.setdefault(dialect, []).append(secret)
    allowed = {
        (secret, dialect): credential
        for dialect, secrets in by_dialect.items()
        for secret, credential in zip(secrets, check_stored_tokens(secrets, dialect=dialect), strict=True)
    }
    return [allowed[asked] for asked in shown]


def _sign_off(replica_id: UUID, heard: Mapping[UUID, datetime]) -> None:
    end_sessions(Session.objects.filter(replica=replica_id), reason="portal_stopped")
    stop_replica(replica_id)
    touch_sessions(heard.items())
    store_transitions()


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, "asyncio.Task[Hub]"] = WeakKeyDictionary()


async def running_hub() -> Hub:
    """The hub of this event loop, started if need be. Raises what its start raised, and tries again next time."""
    loop = asyncio.get_running_loop()
    starting = _hubs.get(loop)
    if starting is None:
        starting = _hubs[loop] = loop.create_task(_start_hub())
    try:
        return await asyncio.shield(starting)
    except Exception:
        if _hubs.get(loop) is starting:
            del _hubs[loop]
        raise


def hub_here() -> Hub | None:
    """The hub of this event loop if it runs; starts none."""
    starting = _hubs.get(asyncio.get_running_loop())
    if starting is None or not starting.done() or starting.cancelled() or starting.exception() is not None:
        return None
    return starting.result()


async def _start_hub() -> Hub:
    hub = Hub()
    await hub.start()
    return hub


async def stop_hub() -> None:
    """Stop this event loop's hub, if it has one."""
    starting = _hubs.pop(asyncio.get_running_loop(), None)
    if starting is not None:
        await (await starting).stop()
