"""Open pages of the console while agents report: how soon a page shows what happened, and what the pages cost."""

import asyncio
import json
import threading
import time
from dataclasses import dataclass

from bench.context import Bench
from bench.machine import resident_bytes
from bench.pages import Seen, hold_open, log_in
from bench.report import Row
from bench.rest import Call
from bench.stats import milliseconds, percentile

AGENTS = 500
SERVICES = 10
SECONDS = 60.0
PAGES = 50
# A portal takes so many streams of one person only, and a person seldom has more pages open.
USERS = 5
SHOWN_WITHIN_S = 2.0
# A process that keeps nothing still moves a little: free lists, and the fragments of a heap under load.
GROWTH_MAX_MIB = 16.0
# The real client's intervals: a heartbeat and the metrics every 30 s, the events of 5 s in a frame.
FRAMES_PER_AGENT_S = 1 / 30 + 1 / 30 + 1 / 5
RECORDS = 5
# Orders a second, of which each is four events on the pages that watch its instance and on every home page.
ORDERS_PER_S = 1.0
# For what happened last to come to the pages.
SETTLE_S = 3.0
# What is held in memory after a first while is what a process needs to serve these pages at all.
WARM_UP_SHARE = 1 / 3
_PASSWORD = "only-for-the-bench-7c1f"
_MAKE_USERS = """
from django.contrib.auth.models import User
for name in [f"bench-{{number}}" for number in range({count})]:
    User.objects.filter(username=name).exists() or User.objects.create_superuser(name, password={password!r})
"""
_PING = json.dumps({"kind": "ping", "timeout_s": 60}).encode()


@dataclass(frozen=True, slots=True)
class Memory:
    """The resident memory of the web process: after the first while, and at the end."""

    warm_bytes: int
    end_bytes: int

    @property
    def grown_mib(self) -> float:
        return (self.end_bytes - self.warm_bytes) / 1024 / 1024


def open_pages(bench: Bench) -> list[Row]:
    """A fifth of the pages is the home page, a fifth are services, the rest instances that commands are sent to."""
    size = bench.agents(AGENTS)
    seconds = bench.seconds(SECONDS)
    bench.connect_fleet(size, service_count=SERVICES, webs=range(bench.options.web))
    instances = _instances(bench)
    pages = _pages(bench, instances)
    load = _Beside(bench, instances[: PAGES * 3 // 5], size, seconds)
    seen = asyncio.run(hold_open(bench.portal.url(0), pages, seconds + SETTLE_S, on_live=load.begin))
    memory, problems = load.end()
    what = f"{len(pages)} pages open, {size} agents"
    return _rows(seen, memory, what, "; ".join([*dict.fromkeys(seen.problems), *problems]))


class _Beside:
    """What goes on while the pages are open: agents report, commands are ordered, the memory is looked at."""

    def __init__(self, bench: Bench, ordered: list[str], size: int, seconds: float) -> None:
        self._bench = bench
        self._calls = [Call("POST", f"/api/v1/instances/{instance}/commands", _PING) for instance in ordered]
        self._size, self._seconds = size, seconds
        self._warm_bytes = 0
        self._looker = threading.Thread(target=self._look, daemon=True)

    def begin(self) -> None:
        rate = self._size * FRAMES_PER_AGENT_S
        self._drive = self._bench.load.begin_drive("mixed", records=RECORDS, seconds=self._seconds, rate=rate)
        # One at least, however short the run.
        self._orders = self._bench.side.begin_rest(
            self._bench.portal.rest(0),
            self._calls,
            clients=4,
            seconds=self._seconds,
            rate=max(ORDERS_PER_S, 1.5 / self._seconds),
        )
        self._looker.start()

    def end(self) -> tuple[Memory, list[str]]:
        """What the web process held, and what went wrong."""
        end_bytes = self._resident()
        self._looker.join()
        answers = [answer for found in self._orders.results() for answer in found]
        withheld = self._drive().withheld
        problems = [f"an order was answered by HTTP {answer.status}" for answer in answers if answer.status != 200]
        if withheld:
            problems.append(f"{withheld} frames of the schedule could not be sent")
        return Memory(self._warm_bytes, end_bytes), problems[:1]

    def _look(self) -> None:
        time.sleep(self._seconds * WARM_UP_SHARE)
        self._warm_bytes = self._resident()

    def _resident(self) -> int:
        return resident_bytes(self._bench.portal.webs[0].pid)


def _rows(seen: Seen, memory: Memory, what: str, problem: str) -> list[Row]:
    took = [update.seconds for update in seen.updates]
    details: dict[str, object] = {
        **milliseconds(took),
        "updates": len(took),
        "fetches": seen.fetches,
        "fetched_kib": seen.fetched_bytes // 1024,
        "warm_mib": round(memory.warm_bytes / 1024 / 1024, 1),
    }
    if not took:
        problem = f"no page had anything to show; {problem}"
    share = percentile(took, 0.95) if took else float("nan")
    return [
        Row(f"{what}: shown after, p95", "s", share, "at most", SHOWN_WITHIN_S, None, problem, details),
        Row("the same, slowest", "s", max(took, default=float("nan")), "at most", 2 * SHOWN_WITHIN_S),
        Row("the same: web process grown by", "MiB", memory.grown_mib, "at most", GROWTH_MAX_MIB),
    ]


def _pages(bench: Bench, instances: list[str]) -> list[tuple[str, str]]:
    bench.portal.manage("shell", "-v", "0", "-c", _MAKE_USERS.format(count=USERS, password=_PASSWORD))
    cookies = [log_in(bench.portal.url(0), f"bench-{number}", _PASSWORD) for number in range(USERS)]
    fifth = PAGES // 5
    services = [str(row[0]) for row in bench.database.connection.execute(_SERVICES, [fifth]).fetchall()]
    paths = ["/admin/"] * fifth
    paths += [f"/admin/agents/service/{pk}/change/" for pk in services]
    watched = instances[: PAGES - len(paths)]
    paths += [f"/admin/agents/instance/{instance}/change/" for instance in watched]
    return [(path, cookies[number % USERS]) for number, path in enumerate(paths)]


def _instances(bench: Bench) -> list[str]:
    return [str(row[0]) for row in bench.database.connection.execute(_CONNECTED, [PAGES]).fetchall()]


_CONNECTED = """
    SELECT instance_id FROM agents_session WHERE status = 'active' ORDER BY instance_id LIMIT %s
"""
_SERVICES = "SELECT id FROM agents_service WHERE name LIKE 'bench-%%' ORDER BY name LIMIT %s"
