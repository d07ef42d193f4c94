"""Wake-ups between processes. A hint says "look at the database"; losing one costs a poll interval, never data.

Every process that holds sessions listens to one group, named after its replica. The sender knows the replica from the
session row, so that a connecting agent costs Redis nothing and a fan-out costs one message per process
(docs/adr/0002-one-hint-group-per-process.md).
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, TypedDict
from uuid import UUID

import uvloop
from channels.layers import InMemoryChannelLayer, get_channel_layer

logger = logging.getLogger(__name__)


class Hint(TypedDict):
    """What travels: `instances` are the hex ids to look at, empty for "look at all that you hold"."""

    type: str
    instances: list[str]


def replica_group(replica_id: UUID) -> str:
    return f"replica.{replica_id.hex}"


class LocalChannelLayer(InMemoryChannelLayer):  # type: ignore[misc]  # channels ships no types
    """In-process hints for the embedded default.

    Channels' own layer scans all channels and groups on every send and forgets group members after a day; here there
    is one listener, for the life of the process. It notes the listener's loop, because an asyncio queue filled from
    another thread does not wake its reader.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(capacity=10_000, **kwargs)
        self.listener_loop: asyncio.AbstractEventLoop | None = None

    def _clean_expired(self) -> None:
        """Nothing expires: hints are tiny, and the queue is bounded."""

    async def receive(self, channel: str) -> Any:
        self.listener_loop = asyncio.get_running_loop()
        return await super().receive(channel)


class _SenderLoop:
    """One background event loop per process: `async_to_sync` would open a Redis connection for every hint."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            # A forked worker inherits the object but not the thread.
            if self._loop is None or self._pid != os.getpid() or self._loop.is_closed():
                self._loop = uvloop.new_event_loop()
                self._pid = os.getpid()
                threading.Thread(target=self._loop.run_forever, name="hints", daemon=True).start()
            return self._loop


_sender_loop = _SenderLoop()


def hint_replicas(replica_ids: Iterable[UUID], instance_ids: Iterable[UUID] = ()) -> None:
    """Tell these processes to look at these instances, or at all that they hold. Returns at once and never raises.

    Call it after commit, from any thread.
    """
    layer = get_channel_layer()
    if layer is None:
        return
    loop = layer.listener_loop if isinstance(layer, LocalChannelLayer) else _sender_loop.get()
    if loop is None or loop.is_closed():
        return
    message: Hint = {"type": "replica.hint", "instances": [instance_id.hex for instance_id in instance_ids]}
    for replica_id in replica_ids:
        future = asyncio.run_coroutine_threadsafe(layer.group_send(replica_group(replica_id), message), loop)
        future.add_done_callback(_log_failure)


def echo(*, within_s: float) -> float | None:
    """Seconds that a message took from this process to itself over the channel layer; None where it leaves no process.

    Raises TimeoutError, or what the server says.
    """
    layer = get_channel_layer()
    if layer is None or isinstance(layer, InMemoryChannelLayer):
        return None
    future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(_echo(layer), within_s), _sender_loop.get())
    return future.result(2 * within_s)


async def _echo(layer: Any) -> float:
    channel = await layer.new_channel("echo.")
    began = time.monotonic()
    try:
        await layer.send(channel, {"type": "echo"})
        await layer.receive(channel)
        return time.monotonic() - began
    finally:
        # The layer forgets a channel only when somebody who waits for it is cancelled.
        waiting = asyncio.ensure_future(layer.receive(channel))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


def _log_failure(future: Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        # The poll finds what this hint was about.
        logger.warning("hint.lost error=%s", error)
