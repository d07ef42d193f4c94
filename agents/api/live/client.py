"""One client of the stream: who it is, what it asked for, and what waits for it."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from django.conf import settings

from agents.api.live.messages import Filter, Message
from agents.api.live.outlet import Outlet
from agents.selectors.stream import Cursor, Position, StreamedEvent
from agents.selectors.visibility import is_told
from controlplane.access.standing import Admission, Login

logger = logging.getLogger(__name__)


class Client:
    """Not thread-safe: made by the view, then used on the event loop that sends.

    `place` is how far the stream has been put into the outlet. `has_joined` says that what is new is handed over as it
    is read for all; until then the client reads for itself what it missed.
    """

    def __init__(
        self,
        *,
        login: Login,
        admission: Admission,
        wanted: Filter,
        cursor: Cursor | None,
        is_lost: bool,
        hang_up: Callable[[], None],
    ) -> None:
        """`is_lost` says that the client showed a cursor which nobody can read; `hang_up` ends its connection."""
        self.login, self.admission = login, admission
        self.cursor, self.is_lost = cursor, is_lost
        self.place = Position(0, 0)
        self.has_joined = False
        self.retry_ms: int = settings.STREAM_RETRY_MS
        self.outlet = Outlet(most_frames=settings.STREAM_QUEUE_MESSAGES, most_bytes=settings.STREAM_QUEUE_BYTES)
        self._wanted = wanted
        self._hang_up = hang_up
        self._task: asyncio.Task[object] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Called by the task that sends."""
        self._task = asyncio.current_task()

    def end(self) -> None:
        self._task = None
        # Whoever reads for it what it missed stops.
        self.outlet.close("left")
        if self._deadline is not None:
            self._deadline.cancel()

    def sees(self, event: StreamedEvent) -> bool:
        allowed = self.admission.environments
        # What is of no environment is not for those who may see some alone.
        return (
            (allowed is None or event.environment in allowed)
            and is_told(event.subject, administrator=self.admission.is_administrator)
            and self._wanted.takes(event)
        )

    def offer(self, messages: Sequence[Message], *, end: Position) -> None:
        """Take what is new and meant for this client of a stretch of the stream that ends there."""
        for message in messages:
            if message.position > self.place and self.sees(message.event):
                self.put(message.frame)
        self.place = max(self.place, end)

    def put(self, frame: bytes) -> None:
        self.outlet.put(frame)
        if self.outlet.closed_for:
            self.cut(self.outlet.closed_for)

    def cut(self, reason: str) -> None:
        """Tell the client why, where it reads, and let it go; where it does not, hang up after STREAM_CUT_GRACE_S."""
        self.outlet.close(reason)
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(settings.STREAM_CUT_GRACE_S, self.abort)

    def abort(self) -> None:
        """End the connection with whatever is on its way: closing it would wait for a peer that does not read."""
        if self._task is not None:
            logger.info("stream.hung_up reason=%s user=%s", self.outlet.closed_for, self.login.user_id)
            self._hang_up()
            self._task.cancel()
