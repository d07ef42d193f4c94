"""How nodes.json fares."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from agents.models import NodesFile

# Rounds of the scheduler that may pass without a look at the file.
_ROUNDS_MISSED = 3


@dataclass(frozen=True, slots=True)
class NodesFileState:
    """Whether the file is up to date; `detail` is one sentence for people. `meta` is empty before it was written."""

    ready: bool
    detail: str
    meta: dict[str, Any] = field(default_factory=dict)


def nodes_file_state(now: datetime) -> NodesFileState:
    """One query by primary key. Raises DatabaseError."""
    row = NodesFile.objects.first()
    if row is None:
        return NodesFileState(ready=False, detail="It has never been written.")
    meta: dict[str, Any] = {
        "path": row.path,
        "nodes": row.node_count,
        "written_at": row.written_at,
        "checked_at": row.checked_at,
    }
    if row.failing_since is not None:
        meta |= {"failing_since": row.failing_since, "failed_at": row.failed_at, "failed_by": row.failed_by}
        return NodesFileState(ready=False, detail=f"It cannot be written. {row.error}", meta=meta)
    if row.checked_at < now - timedelta(seconds=_ROUNDS_MISSED * settings.SCHEDULER_INTERVAL_SECONDS):
        return NodesFileState(ready=False, detail="No process looks after it.", meta=meta)
    return NodesFileState(ready=True, detail="It is up to date.", meta=meta)
