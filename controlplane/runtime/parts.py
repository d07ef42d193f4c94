"""The parts: web, worker and beat, with every flag that they run with."""

import gc
import logging
import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import uvicorn
from celery.beat import Service
from celery.bootsteps import RUN  # type: ignore[attr-defined]
from celery.worker import state as worker_state
from celery.worker.consumer import Consumer
from celery.worker.worker import WorkController
from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django_celery_beat.schedulers import DatabaseScheduler
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from agents.api.live.stream import end_streams
from agents.models import Replica
from agents.services.latency import LatencyFigures, database_latency_s, redis_latency_s
from agents.services.nodes_file import kept_nodes_file
from agents.services.replicas import start_replica, stop_replica, touch_replica
from agents.services.transitions import store_transitions
from controlplane.celery import app as celery_app
from controlplane.common.serving import HANG_UP_EXTENSION
from notifications.services.sending import sending

logger = logging.getLogger(__name__)

WORKER_CONCURRENCY = 4
# uvicorn waits this long for open requests before the lifespan drains what was received, for INGEST_DRAIN_S at most:
# a request that is cut is tried again by whoever sent it, telemetry that is lost is not.
WEB_GRACEFUL_STOP_S = 1
# Connections that wait to be accepted, as after a restart; the kernel's net.core.somaxconn bounds it too.
_BACKLOG = 4096
# Longer than a proxy keeps an idle connection to this process (60 s in deploy/nginx.conf): were it closed from here,
# a request could be on its way.
_KEEP_ALIVE_S = 75
# How many more objects than were freed make Python look for cycles among the youngest; its default is 700.
_COLLECT_AFTER = 50_000
# How soon a waiting worker notices that it is to stop.
_WORKER_WAIT_S = 0.3


class WebPart:
    """uvicorn with the portal's ASGI application, on a socket that outlives it.

    Because the listening socket is bound once, a restarted web part finds its port again and connections that came
    meanwhile wait in the backlog.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._server = _Server(
            uvicorn.Config(
                ":".join(settings.ASGI_APPLICATION.rsplit(".", 1)),
                loop="uvloop",
                http=PageProtocol,
                ws=AgentProtocol,
                ws_max_size=settings.AGENT_FRAME_MAX_BYTES,
                ws_ping_interval=settings.AGENT_PING_INTERVAL_S,
                ws_ping_timeout=settings.AGENT_PING_TIMEOUT_S,
                # Compression costs 35 KiB per idle socket.
                ws_per_message_deflate=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
                # Its count holds the agents' sockets too: a full house would lock people out of the console.
                limit_concurrency=None,
                proxy_headers=bool(settings.TRUSTED_PROXIES),
                forwarded_allow_ips=settings.TRUSTED_PROXIES,
                lifespan="on",
                timeout_graceful_shutdown=WEB_GRACEFUL_STOP_S,
                log_config=None,
                access_log=False,
                server_header=False,
            )
        )

    def run(self, ready: Callable[[], None]) -> None:
        def started() -> None:
            _spare_the_collector()
            ready()

        self._server.on_started = started
        self._server.run(sockets=[self._listener.dup()])

    def stop(self) -> None:
        self._listener.close()
        self._server.should_exit = True


def _spare_the_collector() -> None:
    """Leave what a started process holds for good out of every search for cycles, and search less often.

    Batches are thousands of objects that live for milliseconds, beside sockets that live for days: with Python's own
    thresholds a fifth of the time of busy ingest goes into looking at them again and again. Few cycles are made.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 5, 5)


class PageProtocol(HttpToolsProtocol):
    """uvicorn's `httptools`, with a way to hang up on a peer that does not read what it is sent."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {HANG_UP_EXTENSION: {"hang_up": self.transport.abort}}


class AgentProtocol(WebSocketsSansIOProtocol):
    """uvicorn's `websockets-sansio`, but for frames that came in one read with a broken or too large one.

    Those are whole, and nobody would send them again; uvicorn would drop them with it.
    """

    def data_received(self, data: bytes) -> None:
        self.conn.receive_data(data)
        self.handle_events()
        if self.conn.parser_exc is not None:
            self.handle_parser_exception()


class _Server(uvicorn.Server):
    on_started: Callable[[], None] | None = None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # First: uvicorn waits for open requests, and streams never end by themselves.
        await end_streams()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.on_started is not None:
            self.on_started()


class WorkerPart:
    """A Celery worker with a pool of threads, without signal handlers and without a hub of its own.

    Stopping goes through Celery's own flag, which the worker's thread looks at between two messages: stopping a
    worker from another thread would use its broker connection from two threads at once.
    """

    def __init__(self, *, concurrency: int = WORKER_CONCURRENCY) -> None:
        self._concurrency = concurrency
        worker_state.should_stop = None

    def run(self, ready: Callable[[], None]) -> None:
        celery_app.set_current()
        worker = WorkController(
            app=celery_app,
            # Remote control tells workers apart by name, and one host may run several.
            hostname=f"worker-{os.getpid()}@{socket.gethostname()}",
            pool_cls="threads",
            concurrency=self._concurrency,
            consumer_cls=_PromptConsumer,
            # One loop for both brokers, which can be started again in the same process.
            use_eventloop=False,
            ready_callback=lambda _consumer: ready(),
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        # What its jobs change of nodes, it writes itself; what they leave in the outbox, it sends.
        with ReplicaPresence(Replica.Kind.WORKER), kept_nodes_file(), sending():
            worker.start()

    def stop(self) -> None:
        worker_state.should_stop = 0  # type: ignore[assignment]


def _prompt_loop(
    obj: Any, connection: Any, consumer: Any, blueprint: Any, _hub: Any, qos: Any, *_heartbeat: Any, **_options: Any
) -> None:
    """Celery's blocking loop, which waits 2 s for a message before it looks whether to stop; this one is prompter."""
    consumer.on_message = obj.create_task_handler()
    consumer.consume()
    obj.on_ready()
    while blueprint.state == RUN and obj.connection:
        worker_state.maybe_shutdown()
        if qos.prev != qos.value:
            qos.update()
        obj.perform_pending_operations()
        try:
            connection.drain_events(timeout=_WORKER_WAIT_S)
        except TimeoutError:
            continue
        except OSError:
            if blueprint.state == RUN:
                raise


class _PromptConsumer(Consumer):
    loop = staticmethod(_prompt_loop)


class BeatPart:
    """Celery beat with the schedule of the database, editable in the admin."""

    def __init__(self) -> None:
        self._service = Service(
            celery_app,
            max_interval=1,
            scheduler_cls=DatabaseScheduler,
            remote_control=False,  # type: ignore[call-arg]
        )

    def run(self, ready: Callable[[], None]) -> None:
        celery_app.set_current()
        with ReplicaPresence(Replica.Kind.BEAT):
            scheduler = self._service.scheduler
            own = [entry for name, entry in scheduler.schedule.items() if name in celery_app.conf.beat_schedule]
            ready()
            # What happened while nobody looked is found at the start rather than after an interval.
            for entry in own:
                scheduler.apply_entry(entry, producer=scheduler.producer)
            self._service.start()

    def stop(self) -> None:
        self._service.stop()


class ReplicaPresence:
    """The row of this process while a part runs, with its pulse in a thread; a database that is away stops nothing."""

    def __init__(self, kind: Replica.Kind) -> None:
        self._kind = kind
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"replica-{kind}", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=1)

    def _run(self) -> None:
        replica_id = None
        while True:
            ended = self._ended.is_set()
            try:
                store_transitions()
                if replica_id is not None and ended:
                    stop_replica(replica_id)
                elif not ended and (replica_id is None or not touch_replica(replica_id, ingest=_figures())):
                    # Declared dead while the database could not be reached: a new row for a new life.
                    replica_id = start_replica(self._kind).pk
            except DatabaseError as error:
                logger.warning("replica.unrecorded kind=%s error=%s", self._kind, type(error).__name__)
            finally:
                close_old_connections()
            if ended:
                return
            self._ended.wait(settings.REPLICA_HEARTBEAT_S)


def _figures() -> dict[str, object]:
    """What a process without sockets publishes of itself."""
    latency: LatencyFigures = {"database_s": database_latency_s()}
    if settings.REDIS_URL:
        latency["redis_s"] = redis_latency_s()
    return {"latency": latency}
