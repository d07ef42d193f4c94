"""The limits of the machine in the same run: what uvicorn and Channels, PostgreSQL and Redis do without the portal."""

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import psycopg
import redis

from bench.agent import Target
from bench.context import EVENT_TABLE, WINDOW_TABLE, Bench
from bench.frames import STARTED_AT, TASK_COUNT, Identity
from bench.machine import REPOSITORY, cpu_seconds, on_core, resident_bytes
from bench.report import Raw, Row
from bench.stats import percentile
from tests.servers import free_port

AGENTS = 400
IDLE_SOCKETS = 2000
# As the portal writes: so many rows a statement, and a commit after each.
BATCH_ROWS = 500
SECONDS = 4.0
_ROUND_TRIPS = 2000
_COMMITS = 500
_SETTLE_S = 1.0
_STOP_WITHIN_S = 10


def limits(bench: Bench) -> list[Row]:
    """Measures every raw limit, and keeps each for the rows of the scenarios that come later."""
    rows = [*_consumer(bench), *_database(bench), *_redis(bench)]
    bench.database.empty(EVENT_TABLE, WINDOW_TABLE)
    return rows


def _keep(bench: Bench, name: str, what: str, unit: str, value: float) -> Row:
    bench.raw[name] = Raw(what, value)
    return Row(f"raw: {what}", unit, value)


# --- uvicorn and Channels


def _consumer(bench: Bench) -> Iterator[Row]:
    """Frames a second and memory of a consumer that does nothing, under the same load."""
    bench.drop_fleet()
    with python_server(bench, "bench.empty") as (process, target):
        agents = min(bench.agents(IDLE_SOCKETS), IDLE_SOCKETS)
        before = resident_bytes(process.pid)
        bench.load.fleet("empty", agents, service_count=1)
        connected, _marks = bench.load.connect([target], at_once=agents, sync=False)
        seconds = connected.last_acked_at - connected.first_answer_at
        time.sleep(_SETTLE_S)
        grown = (resident_bytes(process.pid) - before) / 1024 / agents
        bench.load.fleet("empty", min(agents, AGENTS), service_count=1)
        bench.load.connect([target], at_once=100, sync=False)
        used = cpu_seconds([process.pid])
        driven = bench.load.drive("heartbeat", seconds=bench.seconds(SECONDS))
        elapsed = driven.ended_at - driven.began_at
        cost = (cpu_seconds([process.pid]) - used) / driven.frames * 1000
        bench.drop_fleet()
    yield _keep(bench, "frames", "frames into an empty Channels consumer", "/s", driven.frames / elapsed)
    yield _keep(bench, "frame cost", "CPU-s of an empty Channels consumer per 1,000 frames", "s", cost)
    yield _keep(bench, "socket", "memory of an empty Channels consumer per socket", "KiB", grown)
    yield _keep(bench, "handshakes", f"{agents} sockets accepted at once by an empty Channels consumer", "s", seconds)


@contextmanager
def python_server(bench: Bench, module: str) -> Iterator[tuple[subprocess.Popen[str], Target]]:
    """A server of the bench's own on the portal's core; it is told its port, and says a line once it answers there."""
    port = free_port()
    with on_core(bench.cores.server):
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(port)],
            cwd=REPOSITORY,
            env=bench.portal.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
    try:
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError(f"{module} did not start.")
        yield process, Target("127.0.0.1", port, "", hello=False)
    finally:
        process.kill()
        # Reads to its end, and closes what it wrote to.
        process.communicate(timeout=_STOP_WITHIN_S)


# --- PostgreSQL


Fields = tuple[str | None, ...]
Connection = psycopg.Connection[tuple[object, ...]]


def _database(bench: Bench) -> Iterator[Row]:
    """Rows a second on one connection, as fast as a writer could be that has its statements ready."""
    tables = (
        ("events", EVENT_TABLE, _EVENT_COLUMNS, _event_rows),
        ("windows", WINDOW_TABLE, _WINDOW_COLUMNS, _window_rows),
    )
    with (
        on_core(bench.cores.server),
        closing(psycopg.connect(bench.servers.database_url, autocommit=True)) as connection,
    ):
        for name, table, columns, batches in tables:
            inserts = (_insert_statement(table, columns, batch) for batch in batches())
            copies = (_copy_lines(batch) for batch in batches())
            copy = partial(_copy, connection, table, columns)
            yield _written(bench, table, ("INSERT … ON CONFLICT", name), connection.execute, inserts)
            yield _written(bench, table, ("COPY", name), copy, copies)
        single = (_insert_statement(EVENT_TABLE, _EVENT_COLUMNS, [row]) for batch in _event_rows() for row in batch)
        commits = [_timed(connection.execute, statement) for statement in itertools.islice(single, _COMMITS)]
    yield _keep(bench, "commit", "p99 of an INSERT of one event", "ms", percentile(commits, 0.99) * 1000)


def _written(
    bench: Bench,
    table: str,
    what: tuple[str, str],
    write: Callable[[bytes], object],
    batches: Iterator[bytes],
) -> Row:
    """Rows a second of one way to write into an empty table, and what they cost PostgreSQL."""
    how, name = what
    bench.database.empty(table)
    before = bench.usage()["postgres"]
    spent, count = _spent(write, batches, bench.seconds(SECONDS))
    rows = count * BATCH_ROWS
    cost = (bench.usage()["postgres"] - before) / rows * 1000
    key = f"{how.split(maxsplit=1)[0].lower()} {name}"
    row = _keep(bench, key, f"{how} of {BATCH_ROWS} {name}", "/s", rows / spent)
    return replace(row, details={"cpu_s_per_1000": {"postgres": round(cost, 4)}})


def _spent(write: Callable[[bytes], object], prepared: Iterator[bytes], seconds: float) -> tuple[float, int]:
    """Seconds that writes took, and how many they were; preparing them is not counted."""
    spent, count = 0.0, 0
    while spent < seconds:
        spent += _timed(write, next(prepared))
        count += 1
    return spent, count


def _timed(write: Callable[[bytes], object], what: bytes) -> float:
    began = time.perf_counter()
    write(what)
    return time.perf_counter() - began


def _insert_statement(table: str, columns: Mapping[str, str], rows: list[Fields]) -> bytes:
    """One literal array a column: PostgreSQL takes that in half the time of one literal a value."""
    arrays = ",".join(
        f"'{{{','.join(map(_element, values))}}}'::{kind}[]"
        for kind, values in zip(columns.values(), zip(*rows, strict=True), strict=True)
    )
    names = ",".join(columns)
    return f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING".encode()


def _element(value: str | None) -> str:
    """An element of an array literal; the values are this module's own and hold no apostrophe."""
    return "NULL" if value is None else '"{}"'.format(value.replace('"', '\\"'))


def _copy_lines(rows: list[Fields]) -> bytes:
    return "".join("\t".join("\\N" if value is None else value for value in row) + "\n" for row in rows).encode()


def _copy(connection: Connection, table: str, columns: Mapping[str, str], lines: bytes) -> None:
    with connection.cursor().copy(f"COPY {table} ({','.join(columns)}) FROM STDIN".encode()) as copy:
        copy.write(lines)


_EVENT_COLUMNS = {
    "event_id": "text",
    "kind": "text",
    "level": "text",
    "occurred_at": "timestamptz",
    "received_at": "timestamptz",
    "service_id": "bigint",
    "instance_id": "uuid",
    "command_id": "uuid",
    "task_name": "text",
    "actor": "text",
    "message": "text",
    "attempts": "bigint",
    "duration_ms": "bigint",
    "failure_kind": "text",
    "exception_type": "text",
    "traceback": "text",
    "meta": "jsonb",
}
_COUNTERS = (
    "fetched",
    "started",
    "succeeded",
    "retried",
    "failed",
    "dead_lettered",
    "cancelled",
    "timeouts",
    "inflight",
)
_WINDOW_COLUMNS = {
    "instance_id": "uuid",
    "service_id": "bigint",
    "task_name": "text",
    "window_id": "text",
    "window_started_at": "timestamptz",
    "window_ended_at": "timestamptz",
    **dict.fromkeys(_COUNTERS, "bigint"),
    "avg_duration_ms": "float8",
    "p95_duration_ms": "float8",
    "received_at": "timestamptz",
}


def _event_rows() -> Iterator[list[Fields]]:
    """Batches as the portal makes them of the bench's own frames."""
    instances = [Identity("raw", index, "raw").instance_id for index in range(AGENTS)]
    for number in itertools.count():
        now = datetime.now(tz=UTC).isoformat()
        batch: list[Fields] = []
        for place in range(BATCH_ROWS):
            instance = instances[(number * BATCH_ROWS + place) // 20 % AGENTS]
            task = place // 2 % TASK_COUNT
            done = place % 2 == 1
            batch.append(
                (
                    f"{instance.hex}-{instance.hex}-{1_000_000_000 + number * BATCH_ROWS + place}",
                    "task.succeeded" if done else "task.started",
                    "info",
                    now,
                    now,
                    str(1 + instance.int % 20),
                    str(instance),
                    None,
                    f"task-{task}",
                    "",
                    "",
                    "0",
                    "12" if done else None,
                    "",
                    "",
                    "",
                    f'{{"source": "every-{task}"}}',
                )
            )
        yield batch


def _window_rows() -> Iterator[list[Fields]]:
    instances = [Identity("raw", index, "raw").instance_id for index in range(AGENTS)]
    for number in itertools.count():
        now = datetime.now(tz=UTC).isoformat()
        batch: list[Fields] = []
        for place in range(BATCH_ROWS):
            instance = instances[(number * BATCH_ROWS + place) // TASK_COUNT % AGENTS]
            task = place % TASK_COUNT
            window_id = f"task-{task}:{STARTED_AT}:{1_000_000_000 + number * BATCH_ROWS + place}"
            counts = ("2", "2", "2", "0", "0", "0", "0", "0", "0", "11.5", "17.25")
            service = str(1 + instance.int % 20)
            batch.append((str(instance), service, f"task-{task}", window_id, STARTED_AT, now, *counts, now))
        yield batch


# --- Redis


def _redis(bench: Bench) -> Iterator[Row]:
    """From before the publish until the subscriber has it, one after the other."""
    with on_core(bench.cores.server), closing(redis.Redis.from_url(bench.servers.redis_url)) as client:
        subscriber = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        subscriber.subscribe("portal-bench-raw")
        while not subscriber.subscribed:
            subscriber.get_message(timeout=1)
        subscriber.get_message(timeout=1)
        trips = []
        for _ in range(_ROUND_TRIPS):
            began = time.perf_counter()
            client.publish("portal-bench-raw", b"wake")
            while subscriber.get_message(timeout=1) is None:
                pass
            trips.append(time.perf_counter() - began)
        subscriber.close()
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        what = f"{name} of Redis publish → receive"
        yield _keep(bench, f"redis {name}", what, "ms", percentile(trips, share) * 1000)
