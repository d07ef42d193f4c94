"""Lists and dashboards over a fleet with a past: 50,000 instances, 5 million events, 2 million metric windows.

Not among `all`: making the past takes minutes. `--agents` makes a smaller one of as many instances.
"""

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from urllib.parse import quote

import psycopg

from bench.context import Bench
from bench.history import Size, fill
from bench.report import Raw, Row
from bench.rest import Answered, Call
from bench.scenarios.latency import took
from bench.stats import milliseconds, percentile

TARGET_MS = 120
SECONDS_PER_PATH = 2.0
PAGES_FOLLOWED = 20
_LARGEST = """
    SELECT s.name, s.environment, s.id FROM agents_service s JOIN agents_instance i ON i.service_id = s.id
    GROUP BY s.id ORDER BY count(*) DESC, s.id LIMIT 1
"""
_MIDDLE = """
    SELECT name, environment, id FROM (
        SELECT s.*, row_number() OVER (ORDER BY count(i.id), s.id) AS place, count(*) OVER () AS services
        FROM agents_service s JOIN agents_instance i ON i.service_id = s.id GROUP BY s.id
    ) AS ranked WHERE place = (services + 1) / 2
"""
_INSTANCE = "SELECT id FROM agents_instance WHERE service_id = %s AND connectivity = 'online' ORDER BY id LIMIT 1"
_NEWEST = "SELECT * FROM agents_event ORDER BY occurred_at DESC, event_id LIMIT 50"


def lists(bench: Bench) -> list[Row]:
    """Every list and dashboard at its default parameters and on deep pages, one call after the other."""
    size = size_of(bench.options.agents)
    filled = fill(bench.servers.database_url, size)
    paths = _paths(bench)
    times: dict[str, list[float]] = {}
    problems: list[str] = []
    for path in paths:
        answers = _ask(bench, [Call("GET", path)])
        problems += [f"{path}: HTTP {answer.status}" for answer in answers[:1] if answer.status != 200]
        times[path] = [took(answer) for answer in answers]
    for path in ("/api/v1/instances", "/api/v1/commands", "/api/v1/sessions", "/api/v1/history"):
        times[f"{path} (page {PAGES_FOLLOWED} by cursor)"] = [took(answer) for answer in _follow(bench, path)]
    slowest = max(times, key=lambda path: percentile(times[path], 0.95))
    by_path = {path: milliseconds(took_s) for path, took_s in times.items()}
    return [
        Row(
            f"lists over {size.instances:,} instances, {size.events:,} events: p95 of the slowest, {slowest}",
            "ms",
            percentile(times[slowest], 0.95) * 1000,
            "at most",
            TARGET_MS,
            newest_events(bench),
            "; ".join(problems),
            {"by_path": by_path, "fill_seconds": {name: round(took_s, 1) for name, took_s in filled.items()}},
        ),
        Row(
            "the same, p95 of all calls",
            "ms",
            percentile(list(itertools.chain.from_iterable(times.values())), 0.95) * 1000,
            "at most",
            TARGET_MS,
        ),
    ]


def size_of(instances: int | None) -> Size:
    """The whole past, or one of so many instances."""
    whole = Size()
    if instances is None:
        return whole
    share = instances / whole.instances
    return Size(*(max(1, round(getattr(whole, name) * share)) for name in Size.__slots__))


def _paths(bench: Bench) -> list[str]:
    connection = bench.database.connection
    found = ["/api/v1/services", "/api/v1/events", "/api/v1/instances", "/api/v1/sessions", "/api/v1/commands"]
    found += [f"/api/v1/events?{query}" for query in ("kind=cancelled", "environment=dev", "offset=10000")]
    found += ["/api/v1/services?offset=400", "/api/v1/events?offset=100000"]
    found += ["/api/v1/metrics/durations", "/api/v1/metrics/durations/series", "/api/v1/history"]
    narrowed = ("kind=task.*", "level=error", "environment=staging", "task_name=task-0", "task_name=none", "q=refused")
    found += [f"/api/v1/history?{query}" for query in narrowed]
    for statement in (_LARGEST, _MIDDLE):
        row = connection.execute(statement).fetchone()
        if row is None:
            continue
        name, environment, service_id = row
        instance = connection.execute(_INSTANCE, [service_id]).fetchone()
        found += _of_service(str(name), str(environment), str(instance[0]) if instance else None)
    return found


def _of_service(name: str, environment: str, instance_id: str | None) -> Iterator[str]:
    base, query = f"/api/v1/services/{quote(name, safe='')}", f"environment={environment}"
    below = (
        "", "/dashboard", "/tasks", "/tasks/task-0", "/tasks/task-0/events", "/instances", "/metric-windows", "/events",
        "/commands", "/sessions",
    )  # fmt: skip
    for rest in below:
        yield f"{base}{rest}?{query}"
    for deep in ("/events?offset=10000", "/metric-windows?offset=10000", "/instances?offset=100"):
        yield f"{base}{deep}&{query}"
    named = f"service={quote(name, safe='')}&{query}"
    yield f"/api/v1/metrics/durations?{named}"
    yield f"/api/v1/metrics/durations/series?{named}"
    if instance_id is not None:
        yield f"{base}/instances/{instance_id}?{query}"
        yield f"/api/v1/instances/{instance_id}"
        yield f"/api/v1/instances/{instance_id}/commands"


def _ask(bench: Bench, calls: Sequence[Call], seconds: float = SECONDS_PER_PATH) -> list[Answered]:
    """In closed loop of one client; the first answer, which fills caches, is left out where there are others."""
    answers = bench.side.begin_rest(bench.portal.rest(0), calls, clients=1, seconds=bench.seconds(seconds)).results()[0]
    return answers[1:] or answers


def _follow(bench: Bench, path: str) -> list[Answered]:
    """The answers for the page that many cursors lead to."""
    cursor = ""
    for _ in range(PAGES_FOLLOWED - 1):
        [answer, *_rest] = _ask(bench, [Call("GET", f"{path}?cursor={cursor}" if cursor else path)], seconds=0.01)
        cursor = json.loads(answer.body)["next_cursor"]
        if cursor is None:
            break
    return _ask(bench, [Call("GET", f"{path}?cursor={cursor}" if cursor else path)])


def newest_events(bench: Bench) -> Raw:
    """The raw limit of a list: what PostgreSQL takes for the rows of its first page."""
    with psycopg.connect(bench.servers.database_url) as connection:
        samples = []
        for _ in range(50):
            began = time.monotonic()
            connection.execute(_NEWEST).fetchall()
            samples.append(time.monotonic() - began)
    return Raw("psycopg: SELECT of the newest 50 events, p95", percentile(samples, 0.95) * 1000)
