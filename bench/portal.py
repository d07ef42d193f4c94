"""The portal as production runs it: web processes, a worker and a beat, each by its own command."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bench.agent import Target
from bench.machine import REPOSITORY, on_core
from bench.servers import Servers
from tests.servers import free_port

HOST = "127.0.0.1"
AGENT_TOKEN = "token-of-the-bench"
READY_WITHIN_S = 120
STOP_WITHIN_S = 20
_LOG_TAIL_BYTES = 4000
_MAKE_API_TOKEN = """
from django.contrib.auth.models import User
from controlplane.access.models import ApiToken
from controlplane.access.services import create_api_token
from controlplane.common.actors import SYSTEM
user = User.objects.filter(is_superuser=True).first() or User.objects.create_superuser("bench")
print(create_api_token(name="bench", user=user, scope=ApiToken.Scope.ADMIN, actor=SYSTEM)[1])
"""


class PortalError(Exception):
    """A part of the portal did not do what the bench needs of it; the message ends with its log."""


class Process:
    """One process of the portal with a log of its own."""

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self._arguments, self._environment = arguments, environment
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started.")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, core: int | None) -> None:
        with on_core(core), self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._arguments],
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ask_to_stop(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def wait_for_end(self) -> None:
        """SIGKILL to its whole family when it does not end in time."""
        if self._process is None:
            return
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def tail(self) -> str:
        text = self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace") if self._log.exists() else ""
        return f"--- {self.name}\n{text}"


class Portal:
    """See the module's text. Every process runs on `core`."""

    def __init__(self, servers: Servers, folder: Path, *, web_count: int, core: int | None) -> None:
        self._core = core
        self._folder = folder
        self.environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self.environment |= {
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            # Keeps its hints and background jobs apart from those of every other portal on the same Redis.
            "REDIS_PREFIX": urlsplit(servers.database_url).path.strip("/"),
            "DATA_DIR": str(folder / "data"),
            "SECRET_KEY": "only-for-the-bench-0123456789-abcdefghijklmnopqrstuvwxyz",
            "INGEST_TOKENS": AGENT_TOKEN,
            "PYTHONUNBUFFERED": "1",
        }
        # What the user set for the portal itself is what the user wants to measure.
        self.environment |= {name: value for name, value in os.environ.items() if name.startswith(_PORTAL_PREFIXES)}
        self.ports = [free_port() for _ in range(web_count)]
        self.webs = [
            Process(f"web-{number}", ["manage.py", "web"], self._with(HOST=HOST, PORT=str(port)), folder)
            for number, port in enumerate(self.ports)
        ]
        self.worker = Process("worker", ["manage.py", "worker"], self.environment, folder)
        self.beat = Process("beat", ["manage.py", "beat"], self.environment, folder)
        self.api_token = ""

    @property
    def processes(self) -> list[Process]:
        return [*self.webs, self.worker, self.beat]

    def targets(self, *numbers: int) -> list[Target]:
        """Where agents dial, for these web processes or for all."""
        return [Target(HOST, self.ports[number], AGENT_TOKEN) for number in numbers or range(len(self.ports))]

    def rest(self, number: int = 0) -> Target:
        """Where REST calls go, with the token of an administrator."""
        return Target(HOST, self.ports[number], self.api_token)

    def url(self, number: int = 0) -> str:
        """Where a browser finds this web process."""
        return f"http://{HOST}:{self.ports[number]}"

    def prepare(self) -> None:
        """Make the tables and the token of an administrator."""
        self.manage("migrate", "--no-input")
        self.api_token = self.manage("shell", "-v", "0", "-c", _MAKE_API_TOKEN).splitlines()[-1]

    def start(self) -> None:
        for process in self.processes:
            process.start(self._core)
        self.wait_until_ready()

    def stop(self) -> None:
        _stop(self.processes)

    def stop_webs(self) -> None:
        _stop(self.webs)

    def start_webs(self) -> None:
        """Start the web processes again; does not wait."""
        for process in self.webs:
            process.start(self._core)

    def wait_until_ready(self) -> None:
        """Raises PortalError when a process ended or /readyz does not say 200 in time."""
        deadline = time.monotonic() + READY_WITHIN_S
        while not all(_is_ready(port) for port in self.ports):
            self.check()
            if time.monotonic() > deadline:
                raise PortalError(f"not ready within {READY_WITHIN_S} s\n{self.tails()}")
            time.sleep(0.1)

    def check(self) -> None:
        """Raises PortalError for a process that has ended."""
        ended = [process for process in self.processes if not process.is_running]
        if ended:
            raise PortalError(f"{ended[0].name} has ended\n{ended[0].tail()}")

    def tails(self) -> str:
        return "\n".join(process.tail() for process in self.processes)

    def manage(self, *arguments: str) -> str:
        """What the command of manage.py printed. Raises PortalError."""
        return self.python("manage.py", *arguments)

    def python(self, *arguments: str) -> str:
        """What a Python of the portal's environment printed, run on the portal's core. Raises PortalError."""
        with on_core(self._core):
            done = subprocess.run(
                [sys.executable, *arguments],
                cwd=REPOSITORY,
                env=self.environment,
                check=False,
                capture_output=True,
                text=True,
            )
        if done.returncode:
            raise PortalError(f"{' '.join(arguments[:3])} failed:\n{done.stderr}")
        return done.stdout

    def _with(self, **more: str) -> dict[str, str]:
        return self.environment | more


_PORTAL_PREFIXES = (
    "AGENT_",
    "INGEST_FLUSH",
    "INGEST_BATCH",
    "INGEST_QUEUE",
    "DATABASE_POOL",
    "LOG_",
    "HINT_",
    "COMMAND_",
)


def _stop(processes: Sequence[Process]) -> None:
    """All at once."""
    for process in processes:
        process.ask_to_stop()
    for process in processes:
        process.wait_for_end()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextlib.contextmanager
def running_portal(servers: Servers, folder: Path, *, web_count: int, core: int | None) -> Iterator[Portal]:
    portal = Portal(servers, folder, web_count=web_count, core=core)
    portal.prepare()
    try:
        portal.start()
        yield portal
    finally:
        portal.stop()
