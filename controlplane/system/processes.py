"""The processes of the portal by what each published with its last pulse."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from agents.models import Replica
from agents.selectors.overview import process_state
from agents.selectors.replicas import QueueFigures, queue_figures

# More than anybody runs; a portal that is restarted in a circle leaves silent ones behind.
PROCESSES_SHOWN: Final = 100
# A process that fell silent is shown for so long.
SILENT_SHOWN_FOR: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Process:
    """One process that has not ended. None stands for what it did not publish: only web processes hold agents."""

    id: UUID
    kind: str
    kind_label: str
    host: str
    pid: int
    state: str
    started_at: datetime
    last_seen_at: datetime
    connections: int | None
    streams: int | None
    frames_per_s: float | None
    waiting: int | None
    oldest_ms: float | None
    lag_ms: float | None
    database_ms: float | None
    redis_ms: float | None
    queues: list[QueueFigures]


def processes(now: datetime) -> list[Process]:
    """All that have not ended, by kind. One query."""
    rows = Replica.objects.filter(stopped_at=None, last_seen_at__gte=now - SILENT_SHOWN_FOR)
    return [_process(each, now) for each in rows.order_by("kind", "-last_seen_at", "id")[:PROCESSES_SHOWN]]


def _process(row: Replica, now: datetime) -> Process:
    figures: Mapping[str, Any] = row.ingest
    queues = queue_figures(row)
    latency = figures.get("latency", {})
    streams = figures.get("gauges", {}).get("event_streams")
    return Process(
        id=row.pk,
        kind=row.kind,
        kind_label=str(row.get_kind_display()),
        host=row.host_id.partition("/")[0],
        pid=row.pid,
        state=process_state(row, now=now),
        started_at=row.process_started_at,
        last_seen_at=row.last_seen_at,
        connections=figures.get("connections"),
        streams=None if streams is None else int(streams),
        frames_per_s=figures.get("traffic", {}).get("frames_per_s"),
        waiting=sum(queue.waiting for queue in queues) if queues else None,
        oldest_ms=max((queue.oldest_ms for queue in queues), default=None),
        lag_ms=max((queue.last_lag_ms for queue in queues), default=None),
        database_ms=_ms(latency.get("database_s")),
        redis_ms=_ms(latency.get("redis_s")),
        queues=queues,
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)
