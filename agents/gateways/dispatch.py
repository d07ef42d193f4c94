"""Getting commands out of the database and to the sockets of this process, for all sockets at once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Protocol
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from agents.services.delivery import ClaimedCommand, Claims, claim_for_new_sessions, claim_waiting

logger = logging.getLogger(__name__)

# While claims follow each other, each waits for company: so long for each session that the one before it was for, since
# where many come, more come soon, and so long at most. Somebody alone waits for nothing.
_PAUSE_PER_SESSION_S = 0.008
_PAUSE_MAX_S = 0.04
_RETRY_S = 0.5
# How many sessions one claim asks for.
_SESSIONS_MAX = 500


class Socket(Protocol):
    """One live connection, as its dialect's consumer shows itself to the hub."""

    session_id: UUID
    instance_id: UUID
    opened_at: datetime

    @property
    def is_congested(self) -> bool:
        """Whether its peer reads so slowly that nothing more should be claimed for it; it asks again by itself."""

    def deliver(self, commands: Sequence[ClaimedCommand]) -> None:
        """Send these; returns at once, also where the peer does not read."""

    def cut(self, reason: str) -> None:
        """Detach and close the connection: `superseded`, `token_revoked` or `lost`; returns at once."""


Claim = Callable[[Sequence[UUID]], Claims]


class Dispatcher:
    """Claims for the sessions that were woken, one claim after the other, and hands each socket what is its own.

    `call` runs a service in a thread; `sockets` are the live ones by session. While the database is away it tries
    again and forgets nobody. Not thread-safe: for one event loop.
    """

    def __init__(
        self, call: Callable[[Claim, Sequence[UUID]], Awaitable[Claims]], sockets: Mapping[UUID, Socket]
    ) -> None:
        self._call = call
        self._sockets = sockets
        self._fresh: dict[UUID, None] = {}
        self._woken: dict[UUID, None] = {}
        self._running: asyncio.Task[None] | None = None

    def greet(self, session_id: UUID) -> None:
        """The session is new: send what earlier ones left unanswered, and then what waits."""
        self._fresh[session_id] = None
        self._start()

    def wake(self, session_ids: Collection[UUID]) -> None:
        """Something may wait for these sessions."""
        self._woken.update(dict.fromkeys(session_ids))
        if self._woken:
            self._start()

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    def _start(self) -> None:
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._run(), name="hub-dispatch")

    async def _run(self) -> None:
        while self._fresh or self._woken:
            asked = 0
            if self._fresh:
                asked += await self._claim(claim_for_new_sessions, self._fresh)
            if self._woken:
                asked += await self._claim(claim_waiting, self._woken)
            await asyncio.sleep(min(asked * _PAUSE_PER_SESSION_S, _PAUSE_MAX_S))

    async def _claim(self, claim: Claim, asked: dict[UUID, None]) -> int:
        """Claim for the first of those; returns for how many company is to be waited, none where more waits already."""
        chosen = list(islice(asked, _SESSIONS_MAX))
        for session_id in chosen:
            del asked[session_id]
        held = [session_id for session_id in chosen if self._takes(session_id)]
        if not held:
            return 0
        try:
            claims = await self._call(claim, held)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("dispatch.retry sessions=%d error=%s", len(held), error)
            asked.update(dict.fromkeys(held))
            await asyncio.sleep(_RETRY_S)
            return 0
        except Exception:
            # The pulse finds what still waits.
            logger.exception("dispatch.failed sessions=%d", len(held))
            return 0
        asked.update(dict.fromkeys(claims.more))
        for session_id, reason in claims.ended.items():
            if (socket := self._sockets.get(session_id)) is not None:
                socket.cut(reason)
        for session_id, commands in claims.commands.items():
            # A socket that went meanwhile leaves them dispatched; the instance's next session gets them again.
            if (socket := self._sockets.get(session_id)) is not None:
                socket.deliver(commands)
        return 0 if claims.more else len(held)

    def _takes(self, session_id: UUID) -> bool:
        socket = self._sockets.get(session_id)
        return socket is not None and not socket.is_congested
