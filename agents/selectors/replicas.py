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
    """The queues of a process at its last pulse; empty where it holds no agents or has published nothing yet."""
    return [
        QueueFigures(
            name=name,
            waiting=figures["waiting"],
            oldest_ms=1000 * figures["oldest_s"],
            last_lag_ms=1000 * figures["last_lag_s"],
            written=figures["written"],
            poisoned=figures["poisoned"],
            retries=figures["retries"],
            failing_since=figures["failing_since"] and datetime.fromtimestamp(figures["failing_since"], tz=UTC),
        )
        for name, figures in replica.ingest.get("queues", {}).items()
    ]
