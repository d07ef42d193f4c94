"""How often commands came to each status: counted in the process that moved them, added to the totals with its pulse.

Ten rows that every command of every process updated would make them wait for each other, so each process adds up
for itself. One that is killed loses what it counted since its last pulse.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final

from agents.models import Command, CommandTotals
from agents.models.event import EventKind
from controlplane.common.bulk import upsert

Status = Command.Status

STATUS_OF: Final[Mapping[str, Status]] = {
    EventKind.COMMAND_QUEUED: Status.PENDING,
    EventKind.COMMAND_DISPATCHED: Status.DISPATCHED,
    EventKind.COMMAND_ACCEPTED: Status.ACCEPTED,
    EventKind.COMMAND_REJECTED: Status.REJECTED,
    EventKind.COMMAND_SUCCEEDED: Status.SUCCEEDED,
    EventKind.COMMAND_FAILED: Status.FAILED,
    EventKind.COMMAND_TIMEOUT: Status.TIMEOUT,
    EventKind.COMMAND_EXPIRED: Status.EXPIRED,
    EventKind.COMMAND_CANCELLED: Status.CANCELLED,
}

_counted: Counter[str] = Counter()
_lock = threading.Lock()


def count_transitions(moves: Mapping[Status, int]) -> None:
    """Note moves that are committed; any thread may call it."""
    with _lock:
        _counted.update(moves)


def store_transitions() -> None:
    """Add what this process counted to the totals. One statement where there is anything; an error loses nothing."""
    with _lock:
        moves = dict(_counted)
        _counted.clear()
    try:
        upsert(CommandTotals, ("status", "count"), list(moves.items()), assignments="count = t.count + v.count")
    except Exception:
        count_transitions({Status(status): count for status, count in moves.items()})
        raise
