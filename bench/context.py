"""What a scenario works with: the portal, the load, the database, and how to measure between two moments."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.agent import Log
from bench.database import Database, NotDurable
from bench.fleet import Driven
from bench.load import Load
from bench.machine import Cores, busy_seconds, cpu_seconds, cpu_seconds_by_kind
from bench.portal import Portal
from bench.report import Raw
from bench.servers import Servers

EVENT_TABLE, WINDOW_TABLE = "agents_event", "tasks_app_metricwindow"
DURABLE_WITHIN_S = 60
_POSTGRES = "postgres: "
PARTS = ("web", "background", "postgres", "redis", "load")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line may change. None leaves a scenario its own choice."""

    agents: int | None = None
    seconds: float | None = None
    rate: float | None = None
    # Web processes that agents of the ingest scenarios are dealt over.
    web: int = 1
    load: int = 1


@dataclass(slots=True)
class Bench:
    """One run. `raw` and `maxima` are filled by the scenarios that measure them, for those that come later."""

    options: Options
    cores: Cores
    servers: Servers
    portal: Portal
    database: Database
    load: Load
    # Probes and REST clients, which must not wait for the load's own work.
    side: Load
    raw: dict[str, Raw] = field(default_factory=dict)
    # Frames a second that a kind of ingest reached in closed loop.
    maxima: dict[str, float] = field(default_factory=dict)
    # The run that the identities of the connected fleet come from.
    fleet_run: str = ""
    _fleet: tuple[object, ...] = ()

    def agents(self, default: int) -> int:
        return self.options.agents or default

    def seconds(self, default: float) -> float:
        return self.options.seconds or default

    def connect_fleet(self, size: int, *, service_count: int, webs: Sequence[int]) -> None:
        """Have exactly these agents connected, with their topology stored."""
        wanted = (size, service_count, tuple(webs))
        if self._fleet == wanted:
            return
        if self._fleet:
            self.drop_fleet()
        self.fleet_run = f"{size}-{service_count}"
        self.load.fleet(self.fleet_run, size, service_count=service_count)
        connected, marks = self.load.connect(self.portal.targets(*webs))
        if connected.count < size:
            raise NotDurable(f"only {connected.count} of {size} agents could connect: {self.load.take_log()}")
        self.database.wait_for(marks, within_s=DURABLE_WITHIN_S)
        self._fleet = wanted

    def drop_fleet(self) -> None:
        """Close every agent's socket and wait until their sessions have ended."""
        self.load.disconnect()
        self._fleet = ()
        deadline = time.monotonic() + DURABLE_WITHIN_S
        while self.database.active_sessions():
            if time.monotonic() > deadline:
                raise NotDurable("sessions of closed sockets do not end")
            time.sleep(0.05)

    def usage(self) -> dict[str, float]:
        """CPU seconds so far, by part."""
        return {
            "web": cpu_seconds(process.pid for process in self.portal.webs),
            "background": cpu_seconds([self.portal.worker.pid, self.portal.beat.pid]),
            "postgres": cpu_seconds(self.servers.postgres_pids),
            "redis": cpu_seconds(self.servers.redis_pids),
            "load": cpu_seconds([*self.load.pids, *self.side.pids]),
            "server core": busy_seconds(self.cores.server),
            "other core": busy_seconds(self.cores.rest),
        } | self._postgres_usage()

    def since(self, before: dict[str, float]) -> dict[str, float]:
        """CPU seconds since `before`, an earlier `usage`."""
        return {name: value - before.get(name, 0.0) for name, value in self.usage().items()}

    def _postgres_usage(self) -> dict[str, float]:
        if not self.servers.postgres_pids:
            return {}
        own = {self.database.connection.info.backend_pid}
        found = cpu_seconds_by_kind(self.servers.postgres_pids[0], own)
        return {f"{_POSTGRES}{kind}": used for kind, used in found.items()}


@dataclass(frozen=True, slots=True)
class Ingested:
    """One drive with its durable outcome. `seconds` is from the first frame until all of it was in the database."""

    driven: Driven
    seconds: float
    cpu: dict[str, float]
    log: Log
    stored_events: int
    stored_windows: int

    @property
    def problem(self) -> str:
        """Why the figures of this drive must not be believed; empty when all that was sent is stored."""
        found = []
        if self.stored_events != self.driven.events:
            found.append(f"{self.driven.events} events sent, {self.stored_events} stored")
        if self.stored_windows != self.driven.windows:
            found.append(f"{self.driven.windows} windows sent, {self.stored_windows} stored")
        if self.log.closes:
            found.append(f"sockets closed {dict(self.log.closes)}")
        if self.log.errors:
            found.append(f"error frames {dict(self.log.errors)}")
        if self.driven.withheld:
            found.append(f"{self.driven.withheld} frames of the schedule could not be sent")
        return "; ".join(found)

    @property
    def details(self) -> dict[str, object]:
        return {
            "frames": self.driven.frames,
            "seconds": round(self.seconds, 3),
            "cpu_seconds": {name: round(used, 3) for name, used in self.cpu.items()},
            "cpu_s_per_1000": {
                name: round(used / self.records * 1000, 4)
                for name, used in self.cpu.items()
                if name in PARTS or name.startswith(_POSTGRES)
            },
            "late_s": round(self.driven.late_s, 3),
            "others_share_of_server_core": round(self._others("server core", "web", "background"), 3),
            "others_share_of_other_core": round(self._others("other core", "postgres", "redis", "load"), 3),
        }

    @property
    def records(self) -> int:
        return self.driven.heartbeats + self.driven.events + self.driven.windows

    def _others(self, core: str, *ours: str) -> float:
        """The share of a core that went to processes that are not of this run."""
        return max(0.0, self.cpu[core] - sum(self.cpu[name] for name in ours)) / self.seconds


def ingest(bench: Bench, kind: str, *, records: int = 1, seconds: float, rate: float | None = None) -> Ingested:
    """Drive the connected fleet and wait until everything sent is durable."""
    bench.database.empty(EVENT_TABLE, WINDOW_TABLE)
    bench.load.take_log()
    before = bench.usage()
    driven = bench.load.drive(kind, records=records, seconds=seconds, rate=rate)
    return finish(bench, driven, before)


def finish(bench: Bench, driven: Driven, before: dict[str, float], *, besides: int = 0) -> Ingested:
    """The outcome of a drive that has ended; waits until all of it is durable.

    `besides` is how many events others sent at the same time.
    """
    durable_at = bench.database.wait_for(driven.marks, within_s=DURABLE_WITHIN_S)
    used = bench.since(before)
    return Ingested(
        driven,
        durable_at - driven.began_at,
        used,
        bench.load.take_log(),
        bench.database.task_events(driven.began_at) - besides,
        bench.database.windows(driven.began_at),
    )
