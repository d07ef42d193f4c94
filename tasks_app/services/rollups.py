"""Rollups of work: each window that is new is added once to its minute and to its hour, in its own transaction."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from operator import add
from typing import Final

from django.db import connection

from agents.models import Service
from agents.services.reports import Window
from controlplane.common.bulk import upsert
from tasks_app.models import WorkRollup
from tasks_app.models.rollup import HOUR_S, MINUTE_S, SHARDS

_KEY: Final = ("width_s", "started_at", "environment", "shard")
_COUNTS: Final = ("started", "succeeded", "retried", "failed", "dead_lettered", "cancelled")
_ADD: Final = ", ".join(f"{name} = t.{name} + v.{name}" for name in _COUNTS)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

# In the order of _COUNTS.
Counts = list[int]
Key = tuple[int, datetime, str]


def roll_up(windows: Iterable[tuple[Window, datetime]]) -> None:
    """Add windows, each with the time that it is stored under. Two statements, none where there is no window.

    An environment has a row for each connection that stores, so that one does not wait until the other has committed.
    """
    # The windows of one frame end together, so that little is left to be taken apart by minute and hour.
    by_end: dict[tuple[int, datetime], Counts] = {}
    for window, ended_at in windows:
        # A dead-lettered delivery is counted as failed by some agents, and by some not.
        failed = max(window.failed, window.dead_lettered)
        sums = by_end.get((window.service_id, ended_at))
        if sums is None:
            by_end[window.service_id, ended_at] = [
                window.started, window.succeeded, window.retried, failed, window.dead_lettered, window.cancelled
            ]  # fmt: skip
            continue
        # Spelled out, since this is run for every window: a loop takes three times as long.
        sums[0] += window.started
        sums[1] += window.succeeded
        sums[2] += window.retried
        sums[3] += failed
        sums[4] += window.dead_lettered
        sums[5] += window.cancelled
    if not by_end:
        return
    environments = dict(
        Service.objects.filter(pk__in={service_id for service_id, _ended_at in by_end}).values_list("pk", "environment")
    )
    rows: dict[Key, Counts] = {}
    for (service_id, ended_at), counts in by_end.items():
        environment = environments.get(service_id, "")
        for width_s, began_at in _buckets(ended_at):
            sums = rows.setdefault((width_s, began_at, environment), [0] * len(_COUNTS))
            sums[:] = map(add, sums, counts)
    shard = _shard()
    stored = [(*key, shard, *map(float, counts)) for key, counts in rows.items()]
    upsert(WorkRollup, (*_KEY, *_COUNTS), stored, key=_KEY, assignments=_ADD)


def _buckets(ended_at: datetime) -> Iterator[tuple[int, datetime]]:
    """The minute and the hour that this is in; what ends just where one does is in that one."""
    microseconds = (ended_at - _EPOCH) // _MICROSECOND
    for width_s in (MINUTE_S, HOUR_S):
        number = -(-microseconds // (width_s * 1_000_000)) - 1
        yield width_s, _EPOCH + timedelta(seconds=number * width_s)


def _shard() -> int:
    """Which rows this connection adds to. PostgreSQL numbers its connections one after the other."""
    if connection.vendor != "postgresql":
        return 0
    connection.ensure_connection()
    number: int = connection.connection.info.backend_pid
    return number % SHARDS
