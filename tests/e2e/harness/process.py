"""One child process, its log, and its certain end."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.e2e.harness.waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[3]
LOG_TAIL_LINES = 40
MANAGE_TIMEOUT_S = 120


def manage(environment: dict[str, str], *arguments: str) -> str:
    """What `manage.py` printed; AssertionError with its complaint when it failed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=REPOSITORY,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=MANAGE_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Child:
    """A process in a session of its own, so that its whole family can be ended; output goes to a file."""

    def __init__(self, name: str, command: list[str], *, environment: dict[str, str], log_dir: Path) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.log_path = log_dir / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self.is_running:
            raise RuntimeError(f"{self.name} is running already")
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def exit_status(self) -> int | None:
        return None if self.process is None else self.process.poll()

    def wait_for_exit(self, *, timeout_s: float = 60.0) -> int:
        eventually(lambda: not self.is_running, f"{self.name} ends", timeout_s=timeout_s)
        assert self.exit_status is not None
        return self.exit_status

    def terminate(self, *, timeout_s: float = 30.0) -> int:
        """SIGTERM, then the exit status; SIGKILL and an AssertionError when it does not end in time."""
        if self.process is None:
            return 0
        self._signal(signal.SIGTERM)
        try:
            return self.wait_for_exit(timeout_s=timeout_s)
        except AssertionError as exc:
            self.kill()
            raise AssertionError(f"{exc}\n{self.tail()}") from exc

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def tail(self) -> str:
        lines = self.log().splitlines()[-LOG_TAIL_LINES:]
        return f"--- {self.name}, last lines of {self.log_path}\n" + "\n".join(lines)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
