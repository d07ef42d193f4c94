"""The stream of one process: one reader of the history for all its clients, as long as there are any.

It holds no state that matters: a client goes on from its cursor in any other process, with what it missed read from
the database. One stream lives per event loop, from the first client until the last has left.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from agents.api.live.client import Client
from agents.api.live.messages import Control, control_frame, event_message, keepalive_frame
from agents.api.live.threads import THREADS, Threads
from agents.selectors.stream import Cursor, Position, Stretch, read_stretch, stream_end
from agents.services.stream import forget_foreign_transactions
from controlplane.access.standing import admissions
from controlplane.common.rest.fields import iso

logger = logging.getLogger(__name__)

ROUTE = "api/v1/ui/stream"
# How long a client waits for the first look; a database that takes longer is away.
_START_WITHIN_S = 5.0
# How long clients may take to read that the process stops, which is to end within 5 s with all its parts.
_STOP_WITHIN_S = 0.2
_AWAY = (DatabaseError, InterfaceError)


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing comes although it may have happened, and since when."""

    reason: str
    since: datetime


class LiveStream:
    """See the module's text. Not thread-safe: everything runs on its event loop, but for questions to the database."""

    def __init__(self) -> None:
        self.is_stopping = False
        self._clients: set[Client] = set()
        self._deserted = asyncio.Event()
        self._deserted.set()
        self._life, self._position = "", Position(0, 0)
        self._started = asyncio.Event()
        self._pause: Pause | None = None
        # The last look that succeeded, by both clocks, and the first event that is withheld, with when it was seen.
        self._looked_at, self._looked = timezone.now(), time.monotonic()
        self._withheld: tuple[Position, datetime, float] | None = None
        self._threads = Threads()
        # Whoever catches up must not take the thread of the one that looks.
        self._aside = asyncio.Semaphore(THREADS - 1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn(self._look_loop())
        self._spawn(self._recheck_loop())

    # --- for clients

    async def enter(self, client: Client) -> None:
        """Take a client in; what it is to be sent comes into its outlet, from its cursor on or from now on."""
        client.begin()
        self._clients.add(client)
        self._deserted.clear()
        try:
            await asyncio.wait_for(self._started.wait(), _START_WITHIN_S)
        except TimeoutError:
            client.cut("database_away")
            return
        if self.is_stopping:
            client.cut("shutdown")
            return
        reason = self._reason_to_reset(client)
        if client.cursor is None or reason:
            self._join(client, self._position)
            self._tell_reset(client, reason)
            client.put(self._status(client, self._cursor_at(self._position), retry_ms=client.retry_ms))
            return
        client.place = client.cursor.position
        client.put(self._status(client, client.cursor, retry_ms=client.retry_ms))
        self._spawn(self._catch_up(client, client.cursor.life))

    def leave(self, client: Client) -> None:
        client.end()
        self._clients.discard(client)
        if self._clients:
            return
        self._deserted.set()
        if not self.is_stopping:
            asyncio.get_running_loop().call_later(settings.STREAM_LINGER_S, self._end_if_idle)

    def keepalive(self, client: Client) -> bytes:
        """For a client whose outlet is empty."""
        return keepalive_frame(self._cursor_at(client.place) if client.has_joined else None)

    def _reason_to_reset(self, client: Client) -> str:
        """Why the cursor of a client is no place to go on from, or "" where it may be one."""
        if client.is_lost:
            return "cursor_unknown"
        if client.cursor is None:
            return ""
        kept_since = timezone.now() - timedelta(days=settings.RETENTION_TASK_EVENTS_DAYS)
        if client.cursor.read_at <= kept_since.timestamp():
            return "cursor_expired"
        return "" if client.cursor.life == self._life else "database_restored"

    async def _catch_up(self, client: Client, life: str) -> None:
        """Read for a client what it missed, as fast as it takes it, until it is where the process is."""
        while not client.outlet.closed_for:
            try:
                async with self._aside:
                    stretch = await self._threads.call(read_stretch, client.place, limit=settings.STREAM_BATCH)
            except _AWAY:
                # The stream says that it is paused; here is nothing to add.
                await asyncio.sleep(settings.STREAM_POLL_S)
                continue
            if stretch.life != life or stretch.is_lost:
                self._join(client, self._position)
                self._tell_reset(client, "database_restored")
                return
            now = timezone.now()
            for event in stretch.events:
                if client.sees(event):
                    client.put(event_message(event, life=life, now=now).frame)
            client.place = stretch.end
            # Nothing is awaited from here on, so that nobody gets ahead of this client.
            if stretch.end >= self._position:
                self._join(client, stretch.end)
                client.put(self._status(client, self._cursor_at(stretch.end)))
                return
            await self._drained(client)

    async def _drained(self, client: Client) -> None:
        try:
            await asyncio.wait_for(client.outlet.emptied(), settings.STREAM_STALLED_AFTER_S)
        except TimeoutError:
            client.cut("slow_reader")

    def _join(self, client: Client, place: Position) -> None:
        client.place, client.has_joined = place, True

    def _tell_reset(self, client: Client, reason: str) -> None:
        if reason:
            cursor = self._cursor_at(self._position)
            client.put(control_frame(Control.RESET, now=timezone.now(), cursor=cursor, reason=reason))

    def _cursor_at(self, position: Position) -> Cursor:
        return Cursor(self._life, position, int(time.time()))

    # --- looking

    async def _look_loop(self) -> None:
        while True:
            is_whole = True
            try:
                is_whole = await self._look()
            except _AWAY as error:
                logger.warning("stream.database_away error=%s", type(error).__name__)
                self._note_away()
            except Exception:
                logger.exception("stream.look_failed")
                self._note_away()
            if is_whole:
                await asyncio.sleep(settings.STREAM_POLL_S)

    async def _look(self) -> bool:
        """Read what is new and hand it over; False where more waits. Raises what the database says."""
        asking = asyncio.ensure_future(
            self._threads.call(read_stretch, self._position, limit=settings.STREAM_BATCH)
            if self._started.is_set()
            else self._threads.call(_first_stretch)
        )
        try:
            while not (await asyncio.wait({asking}, timeout=settings.STREAM_PAUSED_AFTER_S))[0]:
                # One that is cut off without a word raises nothing for long.
                self._note_away()
            stretch = asking.result()
        finally:
            asking.cancel()
        if self._started.is_set() and (stretch.life != self._life or stretch.is_lost):
            await self._restart()
            return True
        self._life = stretch.life
        await self._hand_over(stretch)
        self._started.set()
        self._note_look(stretch)
        return stretch.is_whole

    async def _hand_over(self, stretch: Stretch) -> None:
        now = timezone.now()
        # First: whoever joins in the meantime has seen this stretch, or begins behind it.
        self._position = stretch.end
        joined = [client for client in self._clients if client.has_joined]
        messages = [event_message(event, life=self._life, now=now) for event in (stretch.events if joined else ())]
        for client in joined:
            client.offer(messages, end=stretch.end)
            if messages:
                # Agents are heard on this loop, and must not wait for hundreds of clients.
                await asyncio.sleep(0)

    async def _restart(self) -> None:
        """Begin anew in another life of the database: what clients saw before may never have happened in this one."""
        stretch = await self._threads.call(_first_stretch)
        self._life, self._position = stretch.life, stretch.end
        logger.warning("stream.database_restored life=%s", stretch.life)
        for client in self._clients:
            if client.has_joined:
                self._join(client, self._position)
                self._tell_reset(client, "database_restored")

    def _note_look(self, stretch: Stretch) -> None:
        self._looked_at, self._looked = timezone.now(), time.monotonic()
        if stretch.withheld is None:
            self._withheld = None
        elif self._withheld is None or self._withheld[0] < stretch.withheld:
            self._withheld = stretch.withheld, self._looked_at, self._looked
        if self._withheld is not None and self._looked - self._withheld[2] >= settings.STREAM_PAUSED_AFTER_S:
            self._set_pause(Pause("transaction_open", self._withheld[1]))
        elif stretch.is_whole:
            self._set_pause(None)

    def _note_away(self) -> None:
        if time.monotonic() - self._looked >= settings.STREAM_PAUSED_AFTER_S:
            self._set_pause(Pause("database_away", self._looked_at))

    def _set_pause(self, pause: Pause | None) -> None:
        """Tell clients where the reason changed."""
        if (pause and pause.reason) == (self._pause and self._pause.reason):
            return
        self._pause = pause
        logger.info("stream.status reason=%s", pause.reason if pause else "")
        for client in self._clients:
            client.put(self._status(client))

    def _status(self, client: Client, cursor: Cursor | None = None, *, retry_ms: int | None = None) -> bytes:
        facts = {"state": "live" if client.has_joined else "catching_up"}
        if self._pause is not None:
            facts = {"state": "paused", "reason": self._pause.reason, "since": iso(self._pause.since)}
        return control_frame(Control.STATUS, now=timezone.now(), cursor=cursor, retry_ms=retry_ms, **facts)

    # --- who may still see it

    async def _recheck_loop(self) -> None:
        while True:
            await asyncio.sleep(settings.STREAM_RECHECK_S)
            try:
                await self._recheck()
            except _AWAY as error:
                # Nothing is read either, so nothing is shown to anybody meanwhile.
                logger.warning("stream.unchecked error=%s", type(error).__name__)
            except Exception:
                logger.exception("stream.recheck_failed")

    async def _recheck(self) -> None:
        clients = list(self._clients)
        async with self._aside:
            found = await self._threads.call(admissions, {client.login for client in clients}, route=ROUTE)
        for client in clients:
            admission = found[client.login]
            if admission is None:
                client.cut("access_ended")
            else:
                client.admission = admission

    # --- the end

    async def stop(self) -> None:
        """Tell clients to come again, and end. Takes _STOP_WITHIN_S and a little at most, whoever does not read."""
        self.is_stopping = True
        for client in list(self._clients):
            # Spread, so that they do not all come to the same process at once.
            client.retry_ms = random.randint(200, settings.STREAM_RETRY_MS)  # noqa: S311 -- no secret
            client.cut("shutdown")
        self._started.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._deserted.wait(), _STOP_WITHIN_S)
        for client in list(self._clients):
            client.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._threads.stop()

    def _end_if_idle(self) -> None:
        loop = asyncio.get_running_loop()
        if self._clients or self.is_stopping or _streams.get(loop) is not self:
            return
        del _streams[loop]
        ending = loop.create_task(self.stop(), name="stream-end")
        _endings.add(ending)
        ending.add_done_callback(_endings.discard)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _first_stretch() -> Stretch:
    """Nothing but the end: a reader begins with what is new."""
    forget_foreign_transactions()
    end = stream_end()
    return Stretch(end.life, [], end.settled)


_streams: WeakKeyDictionary[asyncio.AbstractEventLoop, LiveStream] = WeakKeyDictionary()
_endings: set[asyncio.Task[None]] = set()


def stream_here() -> LiveStream:
    """The stream of this event loop, begun if need be."""
    loop = asyncio.get_running_loop()
    if loop not in _streams:
        _streams[loop] = LiveStream()
    return _streams[loop]


async def serve(client: Client) -> AsyncIterator[bytes]:
    """What is sent to a client, until it leaves or is cut. The last frame then says why."""
    stream = stream_here()
    try:
        await stream.enter(client)
        while not client.outlet.closed_for:
            frames = await client.outlet.take(within_s=settings.STREAM_KEEPALIVE_S)
            if frames:
                yield frames
            elif not client.outlet.closed_for:
                yield stream.keepalive(client)
        reason = client.outlet.closed_for
        logger.info("stream.cut reason=%s user=%s", reason, client.login.user_id)
        yield control_frame(Control.CLOSED, now=timezone.now(), retry_ms=client.retry_ms, reason=reason)
    finally:
        stream.leave(client)


async def end_streams() -> None:
    """End the stream of this event loop for good: clients that come later are sent away at once."""
    stream = _streams.get(asyncio.get_running_loop())
    if stream is not None and not stream.is_stopping:
        await stream.stop()
    await asyncio.gather(*_endings)
