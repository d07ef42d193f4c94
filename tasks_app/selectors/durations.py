"""True percentiles of how long tasks took, over any stretch of time and any group of instances.

They are made of the durations of single deliveries, as their events tell them: percentiles of percentiles, or of
averages, would say nothing. A percentile here is the nearest rank: a duration that was really measured.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet
from django.utils.translation import gettext

from agents.models import Event, Service
from agents.models.event import EventKind
from agents.selectors.events import services_with_task
from agents.selectors.visibility import Environments, within
from controlplane.common.database import TookTooLong, statements_within
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
    """The percentiles over the whole stretch. Invalid where PostgreSQL would read for longer than READ_MAX_MS.

    Two queries at most.
    """
    return _by_bucket(group, width_s=None).get(0, Durations())


def by_instance(group: Group) -> dict[UUID, Durations]:
    """The same for each instance of the group on which anything ended. Two queries at most."""
    rows = _rows(group).filter(instance__isnull=False).values_list("instance_id", "duration_ms")
    # SQLite tells a UUID as its digits.
    return {UUID(str(key)): figures for key, figures in _percentiles("instance_id", rows).items()}


def duration_series(group: Group, *, width_s: int | None = None) -> tuple[int, list[Bucket]]:
    """The width of a bucket in seconds, and the buckets that cover the stretch, oldest first, empty ones among them.

    Buckets begin at multiples of their width since the epoch, so that the same one comes out the same whenever it is
    asked for. Two queries at most. Raises Invalid where they would be more than BUCKETS_MAX, or it would read for too
    long.
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


# A sample has at most so many deliveries of each bucket: the newest of each of its parts.
SAMPLE_PARTS: Final = 8
SAMPLED_OF_PART: Final = 40


def sampled_series(group: Group, *, width_s: int) -> tuple[list[Bucket], bool]:
    """As duration_series(), of a sample where that would read too much; and whether anything was left out.

    `count` is how many the sample has. PostgreSQL reads some ten deliveries for each second of a day, whatever the size
    of the fleet, in an index alone. SQLite reads all. Two queries at most.
    """
    if connection.vendor != "postgresql":
        return duration_series(group, width_s=width_s)[1], False
    first = int(group.started_at.timestamp()) // width_s
    last = int((group.ended_at - timedelta(microseconds=1)).timestamp()) // width_s
    try:
        rows, parameters = _rows(group).query.sql_with_params()
    except EmptyResultSet:
        found: list[tuple[int, bool, Durations]] = []
    else:
        statement = _SAMPLE.format(rows=rows, parts=SAMPLE_PARTS, width=f"{width_s:d}", most=SAMPLED_OF_PART)
        bounds = [first * SAMPLE_PARTS, (last + 1) * SAMPLE_PARTS - 1]
        found = [(number, cut, Durations(*told)) for number, cut, *told in _read(statement, [*bounds, *parameters])]
    by_number = {number: told for number, _cut, told in found}
    buckets = [
        Bucket(_moment(number * width_s), _moment((number + 1) * width_s), by_number.get(number, Durations()))
        for number in range(first, last + 1)
    ]
    return buckets, any(cut for _number, cut, _told in found)


def _moment(epoch_s: int) -> datetime:
    return datetime.fromtimestamp(epoch_s, UTC)


def _fitting_width_s(group: Group) -> int:
    wanted_s = (group.ended_at - group.started_at).total_seconds() / BUCKETS_WANTED
    return next((width for width in BUCKET_WIDTHS_S if width >= wanted_s), BUCKET_WIDTHS_S[-1])


def _rows(group: Group) -> QuerySet[Event, Any]:
    rows = Event.objects.filter(
        kind__in=[OUTCOMES[outcome] for outcome in group.outcomes],
        occurred_at__gte=group.started_at,
        occurred_at__lt=group.ended_at,
        duration_ms__isnull=False,
    )
    if group.service is not None:
        rows = rows.filter(service=group.service)
    elif group.task_name is not None or group.environment is not None or group.environments is not None:
        rows = rows.filter(service__in=list(_services(group).values_list("pk", flat=True)))
    if group.instance_ids:
        rows = rows.filter(instance__in=group.instance_ids)
    if group.task_name is not None:
        # The index of tasks is limited to events that have one.
        rows = rows.filter(task_name=group.task_name).exclude(task_name="")
    return rows.order_by().values_list("occurred_at", "duration_ms")


def _services(group: Group) -> QuerySet[Service]:
    """Those that a group without a service is of. By their ids the indexes suffice, where a join would read rows."""
    rows = Service.objects.all() if group.task_name is None else services_with_task(group.task_name)
    if group.environment is not None:
        rows = rows.filter(environment=group.environment)
    return rows.filter(within(group.environments, "environment")).order_by()


# Whole seconds since the epoch, by vendor.
_EPOCH: Final = {
    "postgresql": "floor(extract(epoch FROM occurred_at))::bigint",
    "sqlite": "CAST(strftime('%%s', occurred_at) AS INTEGER)",
}
# Nearest rank: of n sorted durations the one numbered ceil(n * share). For SQLite it is counted off.
_PERCENTILES: Final = {
    "postgresql": """
    SELECT bucket, n, shortest, ranked[1], ranked[2], ranked[3], longest FROM (
        SELECT bucket, COUNT(*) AS n, MIN(duration_ms) AS shortest, MAX(duration_ms) AS longest,
            percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms) AS ranked
        FROM (SELECT {bucket} AS bucket, duration_ms FROM ({rows}) AS chosen) AS bucketed
        GROUP BY bucket
    ) AS counted
    """,
    "sqlite": """
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
    """,
}

# Each part of a bucket is a short range of the index of time, read from its newest end.
_SAMPLE: Final = """
    SELECT bucket, is_cut, n, shortest, ranked[1], ranked[2], ranked[3], longest FROM (
        SELECT part / {parts} AS bucket, bool_or(place = {most}) AS is_cut, COUNT(*) AS n,
            MIN(duration_ms) AS shortest, MAX(duration_ms) AS longest,
            percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms) AS ranked
        FROM generate_series(%s::bigint, %s::bigint) AS part CROSS JOIN LATERAL (
            SELECT duration_ms, row_number() OVER () AS place FROM (
                SELECT duration_ms FROM ({rows}) AS chosen
                WHERE occurred_at >= to_timestamp(part * {width} / {parts}::float8)
                    AND occurred_at < to_timestamp((part + 1) * {width} / {parts}::float8)
                ORDER BY occurred_at DESC LIMIT {most}
            ) AS newest
        ) AS numbered
        GROUP BY 1
    ) AS counted
"""


def _by_bucket(group: Group, *, width_s: int | None) -> dict[int, Durations]:
    """The percentiles of each bucket that has any, by its number since the epoch; without a width all is bucket 0."""
    bucket = "0" if width_s is None else f"{_EPOCH[connection.vendor]} / {width_s:d}"
    return _percentiles(bucket, _rows(group))


def _percentiles(bucket: str, chosen: QuerySet[Event, Any]) -> dict[Any, Durations]:
    """Of the chosen rows by what the SQL expression `bucket` makes of each."""
    try:
        rows, parameters = chosen.query.sql_with_params()
    except EmptyResultSet:
        # There is no such service.
        return {}
    statement = _PERCENTILES[connection.vendor].format(bucket=bucket, rows=rows)
    return {number: Durations(*figures) for number, *figures in _read(statement, parameters)}


def _read(statement: str, parameters: Sequence[Any]) -> list[Any]:
    try:
        with statements_within(READ_MAX_MS), connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            rows: list[Any] = cursor.fetchall()
    except TookTooLong as error:
        raise too_much_to_read() from error
    return rows


def too_much_to_read() -> Invalid:
    """What to say where a statement took longer than READ_MAX_MS."""
    text = gettext("There is more to read than %d s suffice for; name a service or task, or ask for a shorter time.")
    return Invalid(text % (READ_MAX_MS // 1000), code="too_much_to_read")
