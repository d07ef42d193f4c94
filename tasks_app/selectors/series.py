"""Work over time: what was done in each stretch of a window, and how long it took.

Counts come from metric windows; those of the whole fleet from their rollups, which are a thousand times fewer.

A bucket in which nothing at all was reported is None: nobody knows what happened then, which is not nothing.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.core.cache import cache
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import FloatField, QuerySet, Sum
from django.db.models.functions import Cast, Greatest

from agents.models import Instance, Service
from agents.selectors.visibility import Environments, within
from controlplane.common.database import TookTooLong, statements_within
from tasks_app.models import MetricWindow, Task, WorkRollup
from tasks_app.models.rollup import HOUR_S, MINUTE_S
from tasks_app.selectors.durations import (
    Durations,
    Group,
    by_instance,
    duration_series,
    durations,
    sampled_series,
    too_much_to_read,
)
from tasks_app.selectors.lookback import success_rate

READ_MAX_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class WorkWindow:
    """A stretch of time that ends now, in buckets of `width_s`.

    How long deliveries of the whole fleet took in it is told of a sample, and read at most once in `fleet_kept_s` by
    each process; 0 reads all of them, each time.
    """

    key: str
    length: timedelta
    width_s: int
    fleet_kept_s: int


WINDOWS: Final[Mapping[str, WorkWindow]] = {
    each.key: each
    for each in (
        WorkWindow("1h", timedelta(hours=1), 60, 0),
        WorkWindow("6h", timedelta(hours=6), 300, 30),
        WorkWindow("24h", timedelta(hours=24), 900, 60),
        WorkWindow("7d", timedelta(days=7), 3600, 120),
    )
}
WINDOW_DEFAULT: Final = "1h"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose work: all that is of these, None narrows nothing. A task names its service, an instance its own."""

    service: Service | None = None
    instance: Instance | None = None
    task: Task | None = None
    environments: Environments = None

    @property
    def is_fleet(self) -> bool:
        return self.service is None and self.instance is None and self.task is None

    @property
    def service_of(self) -> Service | None:
        if self.task is not None:
            return self.task.service
        return self.instance.service if self.instance is not None else self.service

    @property
    def key(self) -> str:
        return "all" if self.environments is None else ",".join(sorted(self.environments))


@dataclass(frozen=True, slots=True)
class Counts:
    """What metric windows counted. `failed` are deliveries that failed for good, the `dead_lettered` ones among them:
    an agent counts those as both. A delivery that is tried again counts as `retried` each time."""

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    dead_lettered: int = 0
    cancelled: int = 0

    @property
    def success_rate(self) -> float | None:
        """Percent of outcomes; None where there was none."""
        if not self.succeeded + self.failed + self.cancelled:
            return None
        return success_rate(succeeded=self.succeeded, failed=self.failed, cancelled=self.cancelled)


@dataclass(frozen=True, slots=True)
class CountSeries:
    """One Counts for each time, oldest first; None where nothing was reported. `read_at` is when that was known."""

    times: list[datetime]
    width_s: int
    counts: list[Counts | None]
    read_at: datetime


@dataclass(frozen=True, slots=True)
class LatencySeries:
    """One Durations for each time, oldest first; None where nothing ended. `is_sampled`: not of all deliveries."""

    times: list[datetime]
    width_s: int
    durations: list[Durations | None]
    read_at: datetime
    is_sampled: bool = False


def count_series(scope: Scope, window: WorkWindow, *, now: datetime) -> CountSeries:
    """One query. Raises Invalid where it would read for too long."""
    times = _times(window, now)
    if scope.is_fleet:
        found = _rolled_up(scope, times[0], now, width_s=window.width_s)
    else:
        end = times[-1] + timedelta(seconds=window.width_s)
        found = _counts(scope, times[0], min(now, end), width_s=window.width_s)
    first = int(times[0].timestamp()) // window.width_s
    return CountSeries(times, window.width_s, [found.get(first + place) for place in range(len(times))], now)


def latency_series(scope: Scope, window: WorkWindow, *, now: datetime) -> LatencySeries:
    """Two queries at most. Raises Invalid where it would read for too long."""

    def read() -> LatencySeries:
        times = _times(window, now)
        group = _group(scope, times[0], now)
        if scope.is_fleet and window.fleet_kept_s:
            buckets, is_sampled = sampled_series(group, width_s=window.width_s)
        else:
            buckets, is_sampled = duration_series(group, width_s=window.width_s)[1], False
        told = [None if bucket.is_gap else bucket.durations for bucket in buckets]
        return LatencySeries(times, window.width_s, (told + [None] * len(times))[: len(times)], now, is_sampled)

    return _kept(scope, window, read)


def total_counts(scope: Scope, started_at: datetime, ended_at: datetime) -> Counts | None:
    """Of the whole stretch: of windows that ended after `started_at` and not after `ended_at`; None where none did.

    One query.
    """
    return _counts(scope, started_at, ended_at, width_s=None).get(0)


def total_durations(scope: Scope, started_at: datetime, ended_at: datetime) -> Durations:
    """Two queries at most."""
    return durations(_group(scope, started_at, ended_at))


def durations_by_instance(scope: Scope, started_at: datetime, ended_at: datetime) -> dict[UUID, Durations]:
    """The same of each instance that has any. Two queries at most."""
    return by_instance(_group(scope, started_at, ended_at))


_reading: Final = threading.Lock()


def _kept(scope: Scope, window: WorkWindow, read: Callable[[], LatencySeries]) -> LatencySeries:
    if not scope.is_fleet or not window.fleet_kept_s:
        return read()
    # The database is named: those of tests and of replicas are others.
    key = f"work:{connection.settings_dict['NAME']}:latency:{window.key}:{scope.key}"
    kept: LatencySeries | None = cache.get(key)
    if kept is None:
        # Of the pages that ask at once, one of a process reads it.
        with _reading:
            kept = cache.get(key)
            if kept is None:
                kept = read()
                cache.set(key, kept, window.fleet_kept_s)
    return kept


def _times(window: WorkWindow, now: datetime) -> list[datetime]:
    """The beginnings of the buckets that cover the window, the running one last; multiples of their width."""
    last = int(now.timestamp()) // window.width_s
    number = int(window.length.total_seconds()) // window.width_s
    return [datetime.fromtimestamp(each * window.width_s, UTC) for each in range(last - number + 1, last + 1)]


def _group(scope: Scope, started_at: datetime, ended_at: datetime) -> Group:
    return Group(
        started_at=started_at,
        ended_at=ended_at,
        service=scope.service_of,
        task_name=scope.task.name if scope.task else None,
        instance_ids=(scope.instance.pk,) if scope.instance else (),
        environments=scope.environments,
    )


def _rows(scope: Scope, started_at: datetime, ended_at: datetime) -> QuerySet[MetricWindow]:
    rows = MetricWindow.objects.filter(window_ended_at__gt=started_at, window_ended_at__lte=ended_at)
    if scope.instance is not None:
        rows = rows.filter(instance=scope.instance)
    if scope.service_of is not None:
        rows = rows.filter(service=scope.service_of)
    if scope.task is not None:
        rows = rows.filter(task_name=scope.task.name)
    if scope.environments is not None:
        seen = Service.objects.filter(within(scope.environments, "environment"))
        rows = rows.filter(service__in=list(seen.values_list("pk", flat=True)))
    return rows.order_by()


_COUNTED: Final = ("started", "succeeded", "retried", "failed", "dead_lettered", "cancelled")
# The bucket of a window that ends just where one does is that one. SQLite writes no fraction where there is none.
_BUCKETS: Final = {
    "postgresql": "ceil(extract(epoch FROM window_ended_at) / {width})::bigint - 1",
    "sqlite": "(CAST(strftime('%%s', window_ended_at) AS INTEGER) - (length(window_ended_at) = 19)) / {width}",
}
_GREATEST: Final = {"postgresql": "GREATEST", "sqlite": "MAX"}
# In doubles: SQLite refuses integer sums beyond 64 bit, and up to 2**53 they are exact.
_SUMS: Final = """
    SELECT {bucket} AS bucket, SUM(started * 1.0::float8), SUM(succeeded * 1.0::float8),
        SUM({greatest}(failed, dead_lettered) * 1.0::float8), SUM(retried * 1.0::float8),
        SUM(dead_lettered * 1.0::float8), SUM(cancelled * 1.0::float8)
    FROM ({rows}) AS chosen GROUP BY 1
"""


def _counts(scope: Scope, started_at: datetime, ended_at: datetime, *, width_s: int | None) -> dict[int, Counts]:
    """By the number of the bucket since the epoch; without a width all is bucket 0."""
    chosen: QuerySet[Any, Any] = _rows(scope, started_at, ended_at).values_list("window_ended_at", *_COUNTED)
    try:
        rows, parameters = chosen.query.sql_with_params()
    except EmptyResultSet:
        return {}
    vendor = connection.vendor
    bucket = "0" if width_s is None else _BUCKETS[vendor].format(width=f"{width_s:d}")
    statement = _SUMS.format(bucket=bucket, greatest=_GREATEST[vendor], rows=rows)
    if vendor != "postgresql":
        statement = statement.replace("::float8", "")
    with _limited(), connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return {number: Counts(*map(int, sums)) for number, *sums in cursor.fetchall()}


@contextmanager
def _limited() -> Iterator[None]:
    """Raises Invalid where a statement in it takes longer than READ_MAX_MS."""
    try:
        with statements_within(READ_MAX_MS):
            yield
    except TookTooLong as error:
        raise too_much_to_read() from error


def _rolled_up(scope: Scope, started_at: datetime, ended_at: datetime, *, width_s: int) -> dict[int, Counts]:
    """The same of the whole fleet, from its rollups: a range of their primary key, some thousand rows at most."""
    sums = {f"{name}_sum": Sum(name) for name in _COUNTED}
    rows: Any = (
        WorkRollup.objects.filter(
            within(scope.environments, "environment"),
            width_s=MINUTE_S if width_s % HOUR_S else HOUR_S,
            started_at__gte=started_at,
            started_at__lt=ended_at,
        )
        .order_by()
        .values_list("started_at")
        .annotate(**sums)
    )
    found: dict[int, list[float]] = {}
    for begun_at, *counts in rows:
        known = found.setdefault(int(begun_at.timestamp()) // width_s, [0.0] * len(_COUNTED))
        known[:] = map(sum, zip(known, counts, strict=True))
    return {number: Counts(**dict(zip(_COUNTED, map(int, counts), strict=True))) for number, counts in found.items()}


def counts_by_instance(scope: Scope, started_at: datetime, ended_at: datetime) -> dict[Any, Counts]:
    """The same as total_counts(), of each instance that reported any. One query; raises Invalid as it does."""
    sums = {name: Sum(Cast(name, FloatField())) for name in ("started", "succeeded", "retried", "dead_lettered")}
    sums |= {"failed": Sum(Cast(Greatest("failed", "dead_lettered"), FloatField()))}
    sums |= {"cancelled": Sum(Cast("cancelled", FloatField()))}
    rows: Any = (
        _rows(scope, started_at, ended_at)
        .values("instance_id")
        .annotate(**{f"{name}_sum": each for name, each in sums.items()})
    )
    with _limited():
        return {row["instance_id"]: Counts(**{name: int(row[f"{name}_sum"]) for name in sums}) for row in rows}
