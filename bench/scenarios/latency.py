"""How long a record takes until it is durable, and how long a page takes, while ingest runs at half its maximum."""

import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
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
    watcher = Watcher(bench.servers.database_url, [_PROBE], rate=PROBE_RATE, seconds=seconds)
    probed = bench.side.drive("events", records=1, seconds=seconds, rate=PROBE_RATE)
    seen = [probe.took_s for probe in watcher.seen()]
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


@dataclass(frozen=True, slots=True)
class Seen:
    """A probe whose row was seen. `sent_at` is a wall-clock second."""

    sent_at: float
    took_s: float


class Watcher:
    """Looks for the rows of events that agents send `rate` of a second in all, from a thread and a connection of its
    own. Their `occurred_at` must be later than now."""

    def __init__(self, database_url: str, probes: Sequence[Identity], *, rate: float, seconds: float) -> None:
        self._url = database_url
        self._count = round(rate * seconds)
        # Events of one agent are stored in the order in which they were sent.
        self._newest = dict.fromkeys((probe.instance_id for probe in probes), datetime.now(tz=UTC))
        self._within_s = seconds + _SEEN_WITHIN_S
        self._seen: list[Seen] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def seen(self) -> list[Seen]:
        """The probes, once all were seen or it is too late."""
        self._thread.join(self._within_s)
        return list(self._seen)

    def _watch(self) -> None:
        deadline = time.monotonic() + self._within_s
        with closing(Database(self._url)) as database:
            while len(self._seen) < self._count and time.monotonic() < deadline:
                self._look(database)
                time.sleep(_LOOK_EVERY_S)

    def _look(self, database: Database) -> None:
        known = [list(self._newest), list(self._newest.values())]
        rows = database.connection.execute(_PROBES_SINCE, known).fetchall()
        now = datetime.now(tz=UTC)
        for instance_id, occurred_at in rows:
            self._seen.append(Seen(occurred_at.timestamp(), (now - occurred_at).total_seconds()))
            self._newest[instance_id] = max(self._newest[instance_id], occurred_at)


_PROBES_SINCE = """
    SELECT probe.id, stored.occurred_at FROM unnest(%s::uuid[], %s::timestamptz[]) AS probe (id, newest)
    CROSS JOIN LATERAL (
        SELECT occurred_at FROM agents_event
        WHERE instance_id = probe.id AND occurred_at > probe.newest AND kind LIKE 'task.%%'
        ORDER BY occurred_at LIMIT 100
    ) AS stored
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
