"""How long a record takes until it is durable, and how long a page takes, while ingest runs at half its maximum."""

import threading
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

from bench.context import EVENT_TABLE, WINDOW_TABLE, Bench, finish
from bench.database import Database
from bench.fleet import Driven
from bench.frames import Identity
from bench.report import Raw, Row
from bench.rest import Answered, Call
from bench.scenarios import telemetry
from bench.stats import milliseconds, percentile

SECONDS = 15.0
# Frames a second of the probe: enough samples for a 99th percentile, too few to be a load.
PROBE_RATE = 50.0
_PROBE = Identity("probe", 0, "bench-00")
_LOOK_EVERY_S = 0.003
_SEEN_WITHIN_S = 30
# A person who opens a page every 100 ms.
REST_RATE = 10.0
REST_CLIENTS = 8
_KIND, _RECORDS = "events", 20


def durability(bench: Bench) -> list[Row]:
    """From just before an event is written to its socket until another connection of the database sees its row.

    One more agent sends single events beside the load; their `occurred_at` is when they were sent. The figure holds
    everything between, and up to one pause between two looks too much.
    """
    telemetry.connect_agents(bench)
    bench.side.fleet(_PROBE.run, 1, service_count=1)
    bench.side.connect(bench.portal.targets(0))
    seconds = bench.seconds(SECONDS)
    drive, before = _begin_half(bench)
    watcher = _Watcher(bench.servers.database_url, round(PROBE_RATE * seconds))
    probed = bench.side.drive("events", records=1, seconds=seconds, rate=PROBE_RATE)
    seen = watcher.seen()
    done = finish(bench, drive(), before, besides=probed.events)
    bench.side.disconnect()
    lost = f"{probed.events} probes sent, {len(seen)} seen" if len(seen) != probed.events else ""
    return [
        Row(
            "receive → durable at half the maximum, p99",
            "ms",
            percentile(seen, 0.99) * 1000 if seen else float("nan"),
            "at most",
            250,
            bench.raw.get("commit"),
            "; ".join(filter(None, (lost, done.problem))),
            done.details | milliseconds(seen) | {"probes": len(seen)},
        )
    ]


def pages(bench: Bench) -> list[Row]:
    """Lists and single pages of the REST API, in turn, with and without the ingest beside them."""
    telemetry.connect_agents(bench)
    seconds = bench.seconds(SECONDS)
    quiet = _call_pages(bench, seconds / 3)
    drive, before = _begin_half(bench)
    busy = _call_pages(bench, seconds)
    done = finish(bench, drive(), before)
    failed = [answer for answer in (*quiet, *busy) if answer.status != 200]
    problem = f"{failed[0].call.path}: HTTP {failed[0].status}" if failed else ""
    by_path = {call.path: milliseconds([took(answer) for answer in busy if answer.call == call]) for call in _PAGES}
    return [
        Row(
            "REST at half the maximum, p95",
            "ms",
            percentile([took(answer) for answer in busy], 0.95) * 1000,
            "at most",
            150,
            Raw("the same without ingest", percentile([took(answer) for answer in quiet], 0.95) * 1000),
            "; ".join(filter(None, (problem, done.problem))),
            done.details | milliseconds([took(answer) for answer in busy]) | {"by_path": by_path},
        )
    ]


def took(answer: Answered) -> float:
    """Seconds from when the call was due until its answer was here."""
    return answer.answered_at - answer.sent_at


def _call_pages(bench: Bench, seconds: float) -> list[Answered]:
    calls = bench.side.begin_rest(bench.portal.rest(0), _PAGES, clients=REST_CLIENTS, seconds=seconds, rate=REST_RATE)
    return calls.results()[0]


def _begin_half(bench: Bench) -> tuple[partial[Driven], dict[str, float]]:
    """Start the ingest at half of what it reached in closed loop; measured now unless that was done before."""
    key = f"{_KIND}:{_RECORDS}"
    if key not in bench.maxima:
        telemetry.events(bench)
    bench.database.empty(EVENT_TABLE, WINDOW_TABLE)
    bench.load.take_log()
    before = bench.usage()
    # Longer than what runs beside it, so that its end is under load too.
    seconds = bench.seconds(SECONDS) * 1.2
    return bench.load.begin_drive(_KIND, records=_RECORDS, seconds=seconds, rate=bench.maxima[key] / 2), before


class _Watcher:
    """Looks for the probes' rows from a thread and a connection of its own."""

    def __init__(self, database_url: str, count: int) -> None:
        self._url = database_url
        self._count = count
        self._seen: list[float] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def seen(self) -> list[float]:
        """How many seconds each probe took, once all were seen or it is too late."""
        self._thread.join(self._count / PROBE_RATE + _SEEN_WITHIN_S)
        return list(self._seen)

    def _watch(self) -> None:
        # Events of one agent are stored in the order in which they were sent.
        newest = datetime.now(tz=UTC)
        deadline = time.monotonic() + self._count / PROBE_RATE + _SEEN_WITHIN_S
        with closing(Database(self._url)) as database:
            while len(self._seen) < self._count and time.monotonic() < deadline:
                rows = database.connection.execute(_PROBES_SINCE, [_PROBE.instance_id, newest]).fetchall()
                now = datetime.now(tz=UTC)
                for (occurred_at,) in rows:
                    self._seen.append((now - occurred_at).total_seconds())
                    newest = max(newest, occurred_at)
                time.sleep(_LOOK_EVERY_S)


_PROBES_SINCE = """
    SELECT occurred_at FROM agents_event
    WHERE instance_id = %s AND occurred_at > %s AND kind LIKE 'task.%%' ORDER BY occurred_at
"""
_SERVICE = "/api/v1/services/bench-00"
_PAGES: Sequence[Call] = [
    Call("GET", path)
    for path in (
        "/api/v1/services",
        "/api/v1/instances",
        "/api/v1/sessions",
        "/api/v1/events",
        "/api/v1/commands",
        f"{_SERVICE}?environment=dev",
        f"{_SERVICE}/tasks?environment=dev",
        f"{_SERVICE}/instances?environment=dev",
        f"{_SERVICE}/events?environment=dev",
        f"{_SERVICE}/metric-windows?environment=dev",
    )
]
