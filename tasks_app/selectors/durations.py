"""True percentiles of how long tasks took, over any stretch of time and any group of instances.

They are made of the durations of single deliveries, as their events tell them: percentiles of percentiles, or of
averages, would say nothing. A percentile here is the nearest rank: a duration that was really measured.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet
from psycopg import errors

from agents.models import Event, Service
from agents.models.event import EventKind
from agents.selectors.visibility import Environments, within
from controlplane.common.errors import Invalid

# The deliveries that agents, too, make their averages of. Source: contract 2.3.
OUTCOMES: Final = {
    "succeeded": EventKind.TASK_SUCCEEDED.value,
    "retried": EventKind.TASK_RETRIED.value,
    "failed": EventKind.TASK_FAILED.value,
}
BUCKETS_MAX: Final = 500
# Widths that a series picks from where none is asked for, in seconds: the first that makes at most BUCKETS_WANTED.
BUCKET_WIDTHS_S: Final = (10, 30, 60, 300, 900, 1800, 3600, 6 * 3600, 86400)
BUCKETS_WANTED: Final = 120
# How long PostgreSQL may read for one answer.
READ_MAX_MS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Whose deliveries, and when: from `started_at`, included, to `ended_at`, excluded; None narrows nothing."""

    started_at: datetime
    ended_at: datetime
    service: Service | None = None
    environment: str | None = None
    task_name: str | None = None
    instance_ids: Collection[UUID] = ()
    outcomes: Collection[str] = tuple(OUTCOMES)
    environments: Environments = None


@dataclass(frozen=True, slots=True)
class Durations:
    """Of `count` deliveries, in milliseconds; all None where there was none."""

    count: int = 0
    min_ms: int | None = None
    p50_ms: int | None = None
    p95_ms: int | None = None
    p99_ms: int | None = None
    max_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    started_at: datetime
    ended_at: datetime
    durations: Durations

    @property
    def is_gap(self) -> bool:
        """Whether nothing ended here: a chart breaks its line instead of drawing one through."""
        return self.durations.count == 0


def durations(group: Group) -> Durations:
    """The percentiles over the whole stretch. One query; Invalid where it would read for longer than READ_MAX_MS."""
    return _by_bucket(group, width_s=None).get(0, Durations())


def duration_series(group: Group, *, width_s: int | None = None) -> tuple[int, list[Bucket]]:
    """The width of a bucket in seconds, and the buckets that cover the stretch, oldest first, empty ones among them.

    Buckets begin at multiples of their width since the epoch, so that the same one comes out the same whenever it is
    asked for. One query. Raises Invalid where they would be more than BUCKETS_MAX, or it would read for too long.
    """
    width_s = width_s or _fitting_width_s(group)
    first = int(group.started_at.timestamp()) // width_s
    last = int((group.ended_at - timedelta(microseconds=1)).timestamp()) // width_s
    if last - first >= BUCKETS_MAX:
        raise Invalid(
            f"These would be {last - first + 1} buckets, of at most {BUCKETS_MAX}; "
            "ask for wider ones or a shorter time.",
            field="bucket_s",
            code="too_many_buckets",
        )
    found = _by_bucket(group, width_s=width_s)
    return width_s, [
        Bucket(_moment(number * width_s), _moment((number + 1) * width_s), found.get(number, Durations()))
        for number in range(first, last + 1)
    ]


def _moment(epoch_s: int) -> datetime:
    return datetime.fromtimestamp(epoch_s, UTC)


def _fitting_width_s(group: Group) -> int:
    wanted_s = (group.ended_at - group.started_at).total_seconds() / BUCKETS_WANTED
    return next((width for width in BUCKET_WIDTHS_S if width >= wanted_s), BUCKET_WIDTHS_S[-1])


def _rows(group: Group) -> QuerySet[Event, Any]:
    wanted = {
        "service": group.service,
        "service__environment": group.environment if group.service is None else None,
        "task_name": group.task_name,
    }
    rows = Event.objects.filter(
        within(group.environments, "service__environment"),
        kind__in=[OUTCOMES[outcome] for outcome in group.outcomes],
        occurred_at__gte=group.started_at,
        occurred_at__lt=group.ended_at,
        duration_ms__isnull=False,
        **{name: value for name, value in wanted.items() if value is not None},
    )
    if group.instance_ids:
        rows = rows.filter(instance__in=group.instance_ids)
    if group.task_name is not None:
        # The index of tasks is limited to events that have one.
        rows = rows.exclude(task_name="")
    return rows.order_by().values_list("occurred_at", "duration_ms")


# Whole seconds since the epoch, by vendor.
_EPOCH: Final = {
    "postgresql": "floor(extract(epoch FROM occurred_at))::bigint",
    "sqlite": "CAST(strftime('%%s', occurred_at) AS INTEGER)",
}
# Nearest rank: of n sorted durations the one numbered ceil(n * share).
_PERCENTILES: Final = """
    SELECT bucket, MAX(n), MIN(duration_ms),
        MAX(CASE WHEN place = (n * 50 + 99) / 100 THEN duration_ms END),
        MAX(CASE WHEN place = (n * 95 + 99) / 100 THEN duration_ms END),
        MAX(CASE WHEN place = (n * 99 + 99) / 100 THEN duration_ms END),
        MAX(duration_ms)
    FROM (
        SELECT bucket, duration_ms, COUNT(*) OVER (PARTITION BY bucket) AS n,
            ROW_NUMBER() OVER (PARTITION BY bucket ORDER BY duration_ms) AS place
        FROM (SELECT {bucket} AS bucket, duration_ms FROM ({rows}) AS chosen) AS bucketed
    ) AS ranked
    GROUP BY bucket
"""


def _by_bucket(group: Group, *, width_s: int | None) -> dict[int, Durations]:
    """The percentiles of each bucket that has any, by its number since the epoch; without a width all is bucket 0."""
    rows, parameters = _rows(group).query.sql_with_params()
    bucket = "0" if width_s is None else f"{_EPOCH[connection.vendor]} / {width_s:d}"
    statement = _PERCENTILES.format(bucket=bucket, rows=rows)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{READ_MAX_MS}ms"])
            cursor.execute(statement, parameters)
            return {number: Durations(*figures) for number, *figures in cursor.fetchall()}
    except OperationalError as error:
        if isinstance(error.__cause__, errors.QueryCanceled):
            raise Invalid(
                f"There is more to read than {READ_MAX_MS // 1000} s suffice for; "
                "name a service or task, or ask for a shorter time.",
                code="too_much_to_read",
            ) from error
        raise
