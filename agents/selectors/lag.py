"""What the portal itself is behind with: what agents report and is not stored yet, and nodes.json."""

from dataclasses import dataclass
from datetime import datetime

from agents.models import NodesFile, Replica
from agents.selectors.replicas import queue_figures

LAG_TOLD_MS = 5_000


@dataclass(frozen=True, slots=True)
class Lag:
    """A queue of a process that cannot write (`failing_since`), or that is behind."""

    replica: Replica
    queue: str
    waiting: int
    oldest_ms: float
    failing_since: datetime | None


def lagging(replicas: list[Replica]) -> list[Lag]:
    return [
        Lag(replica, queue.name, queue.waiting, queue.oldest_ms, queue.failing_since)
        for replica in replicas
        for queue in queue_figures(replica)
        if queue.failing_since is not None or queue.oldest_ms >= LAG_TOLD_MS
    ]


def running_replicas() -> list[Replica]:
    """Those that have not ended; an index has just these."""
    return list(Replica.objects.filter(stopped_at=None).order_by("-last_seen_at")[:200])


def failing_nodes_file() -> NodesFile | None:
    return NodesFile.objects.filter(failing_since__isnull=False).first()
