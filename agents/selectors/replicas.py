"""What processes published of themselves with their last pulse."""

from dataclasses import dataclass
from datetime import UTC, datetime

from agents.models import Replica


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """How one queue between agents and database fared; counts since the start of the process, times in ms."""

    name: str
    waiting: int
    oldest_ms: float
    last_lag_ms: float
    written: int
    poisoned: int
    retries: int
    failing_since: datetime | None


def queue_figures(replica: Replica) -> list[QueueFigures]:
    """The queues of a process at its last pulse; empty where it holds no agents or has published nothing yet.

    What a process of another release does not publish is 0.
    """
    return [
        QueueFigures(
            name=name,
            waiting=figures.get("waiting", 0),
            oldest_ms=1000 * figures.get("oldest_s", 0),
            last_lag_ms=1000 * figures.get("last_lag_s", 0),
            written=figures.get("written", 0),
            poisoned=figures.get("poisoned", 0),
            retries=figures.get("retries", 0),
            failing_since=datetime.fromtimestamp(since, tz=UTC) if (since := figures.get("failing_since")) else None,
        )
        for name, figures in replica.ingest.get("queues", {}).items()
    ]
