"""What the portal takes in: heartbeats, events, metric windows, each durable; and all of them mixed."""

from bench.context import Bench, Ingested, ingest
from bench.report import Raw, Row

AGENTS = 400
SERVICES = 20
SECONDS = 12.0


def heartbeats(bench: Bench) -> list[Row]:
    """A heartbeat counts when the database holds it or a later one of its instance.

    Many agents, so that writing only the newest of each in a batch spares next to nothing.
    """
    done = _drive(bench, "heartbeat")
    rate = _rate(done, "heartbeats, durable", 4000, bench.raw.get("frames"))
    return [rate, *_cost(done, rate, 0.25, bench.raw.get("frame cost"))]


def events(bench: Bench) -> list[Row]:
    """Twenty a frame; a row of the table counts."""
    done = _drive(bench, "events", records=20)
    rate = _rate(done, "events, 20 per frame", 15000, bench.raw.get("insert events"))
    return [rate, *_cost(done, rate, 0.05)]


def single_events(bench: Bench) -> list[Row]:
    """One a frame; a row of the table counts."""
    done = _drive(bench, "events", records=1)
    return [_rate(done, "events, 1 per frame", 3000, bench.raw.get("frames"))]


def metrics(bench: Bench) -> list[Row]:
    """Windows of five tasks a frame; a row of the table counts."""
    done = _drive(bench, "metrics", records=5)
    return [_rate(done, "metric windows, 5 per frame", 7500, bench.raw.get("insert windows"))]


def mixed(bench: Bench) -> list[Row]:
    """Heartbeats, events and windows in turn, five records a frame; no target of its own."""
    done = _drive(bench, "mixed", records=5)
    return [Row("mixed records", "/s", done.records / done.seconds, problem=done.problem, details=done.details)]


def connect_agents(bench: Bench) -> None:
    bench.connect_fleet(bench.agents(AGENTS), service_count=SERVICES, webs=range(bench.options.web))


def _drive(bench: Bench, kind: str, records: int = 1) -> Ingested:
    connect_agents(bench)
    done = ingest(bench, kind, records=records, seconds=bench.seconds(SECONDS), rate=bench.options.rate)
    bench.maxima[f"{kind}:{records}"] = done.driven.frames / done.seconds
    return done


def _rate(done: Ingested, what: str, target: float, raw: Raw | None) -> Row:
    return Row(what, "/s", done.records / done.seconds, "at least", target, raw, done.problem, done.details)


def _cost(done: Ingested, rate: Row, target: float, raw: Raw | None = None) -> list[Row]:
    """What the web processes needed for it."""
    seconds = done.cpu["web"] / done.records * 1000
    return [Row(f"{rate.what}: CPU-s of web per 1,000", "s", seconds, "at most", target, raw)]
