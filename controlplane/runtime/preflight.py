"""What must be true before the portal starts. Whatever is not becomes StartRefused: one sentence, saying what to do."""

import fcntl
import ipaddress
import os
import resource
import socket
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.db import connection
from django.utils.translation import gettext as _

CONNECT_TIMEOUT_S = 5
# Any number that no other program on the same database takes: "portal" in letters of a phone.
_PREPARE_LOCK = 767825
_PREPARE_RETRY_S = 0.2
# Each agent takes a descriptor; those of databases, Redis, files and people's browsers fit into the reserve.
DESCRIPTORS_WANTED = 65_536
DESCRIPTORS_ENOUGH = 4_096
DESCRIPTORS_RESERVED = 256


class StartRefused(Exception):
    """The portal cannot start; the text is one sentence for the operator and holds no secret."""


def check_data_dir() -> None:
    """Create DATA_DIR and write a file in it; a look at its permission bits would not tell a read-only file system."""
    try:
        settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.DATA_DIR):
            pass
    except OSError as error:
        raise StartRefused(
            _("The data folder %(path)s cannot be written: %(reason)s. Set DATA_DIR to one that this user may write.")
            % {"path": settings.DATA_DIR, "reason": error.strerror}
        ) from error


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to DESCRIPTORS_WANTED or to the hard limit; returns what then holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(DESCRIPTORS_WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return max(soft, wanted)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        # macOS has a bound of its own below the hard limit that it tells.
        return soft
    return wanted


def open_registry() -> str | None:
    """A sentence for the operator where anybody who reaches HOST may write to the node registry, else None."""
    if settings.AUTH_MODE != "disabled" or is_loopback(settings.HOST):
        return None
    return _(
        "AUTH_MODE is disabled and HOST is %(host)s: whoever reaches this address may register nodes and change them. "
        "Set AUTH_MODE=token and give each agent a token, or let HOST be 127.0.0.1."
    ) % {"host": settings.HOST}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def only_one_on_sqlite() -> Iterator[None]:
    """Hold the lock beside an SQLite file, so that a second `up` on it is refused; nothing on other databases.

    The kernel gives the lock back however the process ends, so that no stale file ever stands in the way.
    """
    if connection.vendor != "sqlite":
        yield
        return
    name = str(settings.DATABASES["default"]["NAME"])
    if name == ":memory:":
        raise StartRefused(_("The parts of the portal cannot share a database in memory: name a file in DATABASE_URL."))
    path = Path(f"{name}-up.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+", encoding="ascii")
    except OSError as error:
        raise StartRefused(
            _("The folder of the database, %(path)s, cannot be written: %(reason)s.")
            % {"path": path.parent, "reason": error.strerror}
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise StartRefused(
                _(
                    "Another portal (process %(pid)s) runs on %(database)s already: stop it, or give this one a "
                    "DATA_DIR of its own."
                )
                % {"pid": lock.read().strip() or "?", "database": path.with_name(path.name.removesuffix("-up.lock"))}
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def bind_listener(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet, so that nobody connects before the portal can answer."""
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise StartRefused(
            _("HOST %(host)s is not an address of this machine: %(reason)s.") % {"host": host, "reason": error.strerror}
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise StartRefused(
            _("Cannot listen on %(host)s port %(port)s: %(reason)s. Set PORT, or HOST, to one that is free here.")
            % {"host": host, "port": port, "reason": error.strerror}
        ) from error
    return listener


@contextmanager
def reachable_database() -> Iterator[None]:
    """Prove that the database answers, and keep other portals from preparing it at the same time while inside."""
    if connection.vendor == "sqlite":
        _check_sqlite()
        yield
        return
    database = connection.Database  # type: ignore[attr-defined]
    try:
        # Beside Django's own pool, which would wait for its timeout and forget the reason.
        held = database.connect(**_connection_params(), autocommit=True)
    except database.Error as error:
        raise StartRefused(
            _("The database %(place)s cannot be reached: %(reason)s. Check DATABASE_URL and whether the server runs.")
            % {"place": _database_place(), "reason": _without_password(error)}
        ) from error
    with held:
        # Asked for again and again: who waited for it inside a statement would have a snapshot, for whose end the
        # holder's migrations wait where they build an index concurrently.
        while held.execute("SELECT pg_try_advisory_lock(%s)", [_PREPARE_LOCK]).fetchone() != (True,):
            time.sleep(_PREPARE_RETRY_S)
        yield


def check_redis() -> None:
    """Prove that Redis answers, where REDIS_URL names one."""
    if not settings.REDIS_URL:
        return
    try:
        client = redis.Redis.from_url(
            settings.REDIS_URL, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=CONNECT_TIMEOUT_S
        )
    except ValueError as error:
        raise StartRefused(_("REDIS_URL is not a Redis URL such as redis://localhost:6379/0.")) from error
    options = client.connection_pool.connection_kwargs
    host, port = options.get("host", "localhost"), options.get("port", 6379)
    place = options.get("path") or f"{host}:{port}/{options.get('db', 0)}"
    try:
        client.ping()
    except redis.RedisError as error:
        raise StartRefused(
            _("Redis at %(place)s cannot be reached: %(reason)s. Check REDIS_URL and whether the server runs.")
            % {"place": place, "reason": str(error).rstrip(".")}
        ) from error
    finally:
        client.close()


def _check_sqlite() -> None:
    name = settings.DATABASES["default"]["NAME"]
    try:
        with sqlite3.connect(name, timeout=CONNECT_TIMEOUT_S) as file:
            file.execute("PRAGMA user_version").fetchone()
        file.close()
    except sqlite3.Error as error:
        raise StartRefused(
            _("The database file %(path)s cannot be used: %(reason)s.") % {"path": name, "reason": error}
        ) from error


def _connection_params() -> dict[str, Any]:
    params: dict[str, Any] = connection.get_connection_params()
    params.pop("pool", None)
    return params | {"connect_timeout": CONNECT_TIMEOUT_S}


def _database_place() -> str:
    database = settings.DATABASES["default"]
    host = database["HOST"] or database["OPTIONS"].get("host") or "localhost"
    user = database["USER"] or "?"
    return f"{database['NAME']} at {host}:{database['PORT'] or 5432} (as {user})"


def _without_password(error: Exception) -> str:
    # The lines after the first are the driver's advice.
    reason = str(error).partition("\n")[0].rstrip(".")
    password = settings.DATABASES["default"]["PASSWORD"]
    return reason.replace(password, "***") if password else reason
