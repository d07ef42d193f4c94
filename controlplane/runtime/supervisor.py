"""The supervisor: runs the parts of this process in threads, starts a crashed one again, stops all of them in time."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Literal, NoReturn, Protocol

logger = logging.getLogger(__name__)

FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 30.0
# A part that ran for this long had started well: its next crash is a new story and starts at the first backoff.
STEADY_AFTER_S = 60.0
# Everything ends within 5 s of the signal; the rest of them is for the interpreter's own end.
STOP_WITHIN_S = 4.6
_TICK_S = 0.1

State = Literal["starting", "running", "waiting", "stopped"]


class Part(Protocol):
    """One part of the portal. A fresh instance is made for each start."""

    def run(self, ready: Callable[[], None]) -> None:
        """Work until `stop` is called; calls `ready` once it does its work. Returning earlier counts as a crash."""

    def stop(self) -> None:
        """Ask `run` to return; called from another thread, perhaps before `run` has come far."""


@dataclass(frozen=True, slots=True)
class PartStatus:
    """What readiness tells about a part. `error` is the class of the last crash, without its text."""

    name: str
    state: State
    crashes: int
    error: str


class _Runner:
    """One part with its thread, its crashes and the time of its next start."""

    def __init__(self, name: str, make: Callable[[], Part], changed: threading.Event) -> None:
        self.name = name
        self.crashes = 0
        self.error = ""
        self._make = make
        self._changed = changed
        self._part: Part | None = None
        self._thread: threading.Thread | None = None
        self._ready = False
        self._started_at = 0.0
        self._start_again_at = 0.0
        self._backoff_s = FIRST_BACKOFF_S
        self._stopping = False

    @property
    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def status(self) -> PartStatus:
        state: State = "stopped" if self._stopping else "waiting"
        if self.is_alive:
            state = "running" if self._ready else "starting"
        return PartStatus(self.name, state, self.crashes, self.error)

    def start(self) -> None:
        self._ready = False
        self._started_at = time.monotonic()
        self._part = None
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def keep_alive(self) -> None:
        """Note a crash when it happened, and start again when the backoff is over."""
        if self.is_alive or self._stopping:
            return
        now = time.monotonic()
        if self._thread is not None:
            self._thread = None
            self.crashes += 1
            if now - self._started_at >= STEADY_AFTER_S:
                self._backoff_s = FIRST_BACKOFF_S
            logger.error("part.crashed name=%s crashes=%s restart_in_s=%s", self.name, self.crashes, self._backoff_s)
            self._start_again_at = now + self._backoff_s
            self._backoff_s = min(2 * self._backoff_s, MAX_BACKOFF_S)
        elif now >= self._start_again_at:
            logger.info("part.restarting name=%s", self.name)
            self.start()

    def stop(self) -> None:
        self._stopping = True
        if self._part is not None:
            self._part.stop()

    def join(self, timeout_s: float) -> None:
        if self._thread is not None:
            self._thread.join(max(timeout_s, 0))

    def _run(self) -> None:
        try:
            part = self._part = self._make()
            # `stop` sets the flag and then looks for the part; here it is the other way round, so one of them sees.
            if not self._stopping:
                part.run(self._note_ready)
            if not self._stopping:
                self.error = "ended by itself"
        # SystemExit as well: uvicorn and Celery raise it for failures that should end a process of their own.
        except (Exception, SystemExit) as error:
            self.error = type(error).__name__
            logger.exception("part.failed name=%s", self.name)
        finally:
            self._changed.set()

    def _note_ready(self) -> None:
        self._ready = True
        self._changed.set()


class Supervisor:
    """Runs named parts until a signal comes. One per process; it needs the main thread for the signals."""

    def __init__(
        self,
        parts: Sequence[tuple[str, Callable[[], Part]]],
        *,
        on_ready: Callable[[], None],
        ready_when: str,
        stop_within_s: float | None = None,
    ) -> None:
        """`on_ready` is called once, from the main thread, when the part named `ready_when` does its work.

        `stop_within_s` is the bound on the end of all parts after a signal, STOP_WITHIN_S unless given.
        """
        self._changed = threading.Event()
        self._runners = [_Runner(name, make, self._changed) for name, make in parts]
        self._on_ready = on_ready
        self._ready_when = ready_when
        self._stop_within_s = STOP_WITHIN_S if stop_within_s is None else stop_within_s
        self._announced = False
        self._signals = 0

    @property
    def statuses(self) -> list[PartStatus]:
        return [runner.status for runner in self._runners]

    def run(self) -> int:
        """Returns the exit code: 0, or 1 where the web part was left behind with what it had received.

        Other parts that do not end in time are left behind too; what they did is found again by the next run.
        """
        global _running  # noqa: PLW0603 -- readiness of this very process reads it
        _running = self
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Under nohup the closing of the terminal is to be ignored, and stays so.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note_signal)
        for runner in self._runners:
            runner.start()
        while not self._signals:
            # The handler sets a plain number: setting an event from it could deadlock with this very wait.
            self._changed.wait(_TICK_S)
            self._changed.clear()
            for runner in self._runners:
                runner.keep_alive()
            self._announce()
        return self._stop()

    def _announce(self) -> None:
        if self._announced:
            return
        if any(status.name == self._ready_when and status.state == "running" for status in self.statuses):
            self._announced = True
            self._on_ready()

    def _stop(self) -> int:
        deadline = time.monotonic() + self._stop_within_s
        seen = self._signals
        logger.info("portal.stopping")
        for runner in self._runners:
            runner.stop()
        while any(runner.is_alive for runner in self._runners):
            for runner in self._runners:
                runner.join(min(_TICK_S, deadline - time.monotonic()))
            if time.monotonic() >= deadline or self._signals > seen:
                break
        late = [runner.name for runner in self._runners if runner.is_alive]
        if late:
            logger.warning("portal.stopped late=%s", ",".join(late))
        else:
            logger.info("portal.stopped")
        return 1 if "web" in late else 0

    def _note_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1


_running: Supervisor | None = None


def part_statuses() -> list[PartStatus]:
    """The parts that run in this process under a supervisor; empty where there is none, as under a bare ASGI server."""
    return [] if _running is None else _running.statuses


def end_process(code: int) -> NoReturn:
    """End now: the interpreter's own end joins every pool thread, also one that waits for a database that hangs."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
