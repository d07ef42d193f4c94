"""PostgreSQL and Redis for a run: those of the environment, or private ones that are as durable as in production."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
import redis

from bench.machine import on_core, pinned
from tests.servers import private_postgres, private_valkey

POSTGRES_OPTIONS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    # What any server for some load is given; none of it is less durable.
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "max_connections": "200",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
}
DATABASE = "portal_bench"


@dataclass(frozen=True, slots=True)
class Servers:
    """A fresh database and a Redis. The process ids are empty where the servers are not of this machine."""

    database_url: str
    redis_url: str
    postgres_pids: list[int]
    redis_pids: list[int]
    # What could not be pinned, and other things to know when reading the figures.
    remarks: list[str]


@contextlib.contextmanager
def running_servers(folder: Path, core: int | None, database: str) -> Iterator[Servers]:
    """Servers pinned to `core`, with a fresh database of that name, which is dropped at the end."""
    with contextlib.ExitStack() as stack:
        database_url, redis_url = os.environ.get("DATABASE_URL", ""), os.environ.get("REDIS_URL", "")
        with on_core(core):
            if not database_url:
                place = folder / "postgres"
                place.mkdir()
                database_url = stack.enter_context(private_postgres(place, POSTGRES_OPTIONS))
            if not redis_url:
                place = folder / "valkey"
                place.mkdir()
                redis_url = stack.enter_context(private_valkey(place))
        url = stack.enter_context(_fresh_database(database_url, database))
        postgres, redis_server = _postgres_processes(url), _redis_processes(redis_url)
        remarks = [
            *_unsafe_settings(url),
            *(f"{name} runs elsewhere: neither pinned nor counted" for name, found in
              (("PostgreSQL", postgres), ("Redis", redis_server)) if not found),
        ]  # fmt: skip
        failed = stack.enter_context(pinned([*postgres, *redis_server], core))
        remarks += [f"not pinned: {each}" for each in failed]
        yield Servers(
            url,
            redis_url,
            [process.pid for process in postgres[:1]],
            [process.pid for process in redis_server],
            remarks,
        )


@contextlib.contextmanager
def _fresh_database(server_url: str, name: str) -> Iterator[str]:
    drop = f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(drop)
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(drop)


def _unsafe_settings(url: str) -> list[str]:
    """What makes this server less durable than the targets ask for."""
    with psycopg.connect(url) as connection:
        return [
            f"{name} is off: these are not the figures of a durable database"
            for name in ("fsync", "synchronous_commit", "full_page_writes")
            if connection.execute("SELECT current_setting(%s)", [name]).fetchone() == ("off",)
        ]


def _postgres_processes(url: str) -> list[psutil.Process]:
    """The postmaster and its children; empty where it is not of this machine."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        if row is None or urlsplit(url).hostname not in {"127.0.0.1", "localhost", "::1", None}:
            return []
        try:
            postmaster = psutil.Process(row[0]).parent()
            if postmaster is None or "postgres" not in postmaster.name():
                return []
            return [postmaster, *postmaster.children()]
        except psutil.Error:
            return []


def _redis_processes(url: str) -> list[psutil.Process]:
    if urlsplit(url).hostname not in {"127.0.0.1", "localhost", "::1"}:
        return []
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        try:
            return [psutil.Process(client.info("server")["process_id"])]
        except (psutil.Error, KeyError):
            return []
