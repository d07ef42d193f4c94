"""How many events there are of what, at a bounded cost: never by reading a long history from end to end.

Counts are of the newest COUNTED_MAX events that match, of a search SEARCHED_MAX: to look into the texts of an event
takes ten times as long as to count it. Bars over time are exact where there are no more than EXACT_MAX;
else each is reckoned from the newest BAR_MAX events of its span, by how much of the span they take.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Func, IntegerField, QuerySet
from django.db.models.expressions import RawSQL

from agents.models import Event
from agents.models.event import NOTABLE
from controlplane.common.database import read_in_order

COUNTED_MAX: Final = 5_000
SEARCHED_MAX: Final = 2_000
EXACT_MAX: Final = 2_000
BAR_MAX: Final = 60
BARS: Final = 32
NEW_MAX: Final = 1000
# What a facet can be of: a column of the counted rows, by its public name.
FACETS: Final = ("kind", "level", "service_id", "dialect", "task_name", "actor")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of the newest events have each value, by facet; `is_whole` says that no older ones match."""

    total: int
    is_whole: bool
    by_facet: dict[str, dict[Any, int]]


@dataclass(frozen=True, slots=True)
class Bars:
    """Events by level over spans of equal length, None where nothing is known; estimated where some are reckoned."""

    begins: list[datetime]
    width: timedelta
    by_level: dict[str, list[float | None]] = field(default_factory=dict)
    is_estimated: bool = False


class _Span(Func):
    """The number of the span of `width_s` seconds that a time falls into."""

    output_field = IntegerField()

    def __init__(self, moment: str, begin: datetime, width_s: float) -> None:
        super().__init__(F(moment))
        self.begin_s, self.width_s = begin.timestamp(), width_s

    def as_postgresql(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        template = f"floor((extract(epoch FROM %(expressions)s) - {self.begin_s}) / {self.width_s})::int"
        sql, params = super().as_sql(compiler, connection, template=template)
        return sql, list(params)

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper, **_: Any) -> tuple[str, tuple[Any, ...]]:
        template = f"CAST((strftime('%%%%s', %(expressions)s) - {self.begin_s}) / {self.width_s} AS INTEGER)"
        sql, params = super().as_sql(compiler, connection, template=template)
        return sql, tuple(params)


def newest(rows: QuerySet[Event]) -> QuerySet[Event]:
    return rows.order_by("-occurred_at", "-id")


def grouped(rows: QuerySet[Any, Any], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """How many of the rows, a slice of values, share the same `columns`: those and the number, in no order."""
    try:
        sql, params = rows.query.sql_with_params()
    except EmptyResultSet:
        return []
    named = ", ".join(connection.ops.quote_name(column) for column in columns)
    with connection.cursor() as cursor:
        # Both are Django's own SQL; what anybody wrote is in the parameters.
        cursor.execute(f"SELECT {named}, count(*) FROM ({sql}) AS counted GROUP BY {named}", params)  # noqa: S608
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def counted_max(*, is_searched: bool) -> int:
    """How many events are counted at most."""
    return SEARCHED_MAX if is_searched else COUNTED_MAX


def counts_of(rows: QuerySet[Event], facets: Sequence[str] = FACETS, *, is_searched: bool = False) -> Counts:
    """One statement. Of nothing that an event does not tell (no task, nobody) there is no count."""
    most = counted_max(is_searched=is_searched)
    counted = newest(rows).select_related(None).annotate(dialect=F("instance__dialect"))
    # One more than is counted tells whether that is all.
    found = grouped(counted.values(*facets)[: most + 1], facets)
    by_facet: dict[str, dict[Any, int]] = {facet: {} for facet in facets}
    for *group, count in found:
        for facet, value in zip(facets, group, strict=True):
            if value not in {None, ""}:
                by_facet[facet][value] = by_facet[facet].get(value, 0) + count
    total = sum(count for *_, count in found)
    return Counts(min(total, most), total <= most, by_facet)


def bars_of(rows: QuerySet[Event], begin: datetime, end: datetime, *, is_searched: bool = False) -> Bars:
    """Events by level from `begin` to `end`. One statement, or three where there are more than EXACT_MAX.

    Of a search (`is_searched`) that finds more, older spans stay unknown: each look at a span would search anew.
    """
    width, most = (end - begin) / BARS, SEARCHED_MAX if is_searched else EXACT_MAX
    begins = [begin + width * place for place in range(BARS)]
    rows = rows.filter(occurred_at__gte=begin, occurred_at__lt=end)
    spans = newest(rows).select_related(None).annotate(span=_Span("occurred_at", begin, width.total_seconds()))
    found = grouped(spans.values("span", "level")[: most + 1], ["span", "level"])
    total = sum(count for *_, count in found)
    if total > most and not is_searched:
        return Bars(begins, width, _reckoned(rows, begins, width), is_estimated=True)
    by_level: dict[str, list[float | None]] = {level: [0.0] * BARS for level in Event.Level.values}
    for span, level, count in found:
        by_level[level][min(max(int(span), 0), BARS - 1)] = float(count)
    if total > most:
        oldest = min(int(span) for span, *_ in found)
        for line in by_level.values():
            line[: oldest + 1] = [None] * (oldest + 1)
    return Bars(begins, width, by_level, is_estimated=total > most)


def _reckoned(rows: QuerySet[Event], begins: Sequence[datetime], width: timedelta) -> dict[str, list[float | None]]:
    """One statement that probes an index twice for each span: for what is notable, and for routine.

    Within a transaction of PostgreSQL's the index is read in its order: the rows of spans are known to be many.
    """
    read_in_order()
    statement, params = _PROBES[connection.vendor](rows, begins, width)
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        found = cursor.fetchall()
    by_level: dict[str, list[float | None]] = {level: [0.0] * len(begins) for level in Event.Level.values}
    totals: dict[tuple[int, int], tuple[int, datetime]] = {}
    for place, arm, _level, count, oldest in found:
        so_far, earliest = totals.get((place, arm), (0, begins[place] + width))
        totals[place, arm] = so_far + count, min(earliest, _moment(oldest))
    for place, arm, level, count, _oldest in found:
        total, earliest = totals[place, arm]
        taken = (begins[place] + width - earliest) / width
        share = 1.0 if total < BAR_MAX else 1 / max(taken, 1e-6)
        line = by_level[level]
        line[place] = round((line[place] or 0.0) + count * share)
    return by_level


_Sql = tuple[str, list[Any]]
_COUNTED: Final = "level, count(*) AS n, min(occurred_at) AS oldest"


def _probes_of_all(rows: QuerySet[Event], begins: Sequence[datetime], width: timedelta) -> _Sql:
    """One subquery for all spans: PostgreSQL plans it once, where each of its own would take as long as reading it."""
    span = "(%s::timestamptz + spans.place * %s::interval)"
    begin = RawSQL(span, [begins[0], width])  # noqa: S611 -- values are parameters
    end = RawSQL(span, [begins[0] + width, width])  # noqa: S611 -- values are parameters
    arms, params = [], []
    for arm, (sql, given) in enumerate(_newest_of_span(rows.filter(occurred_at__gte=begin, occurred_at__lt=end))):
        arms.append(
            f"SELECT spans.place, {arm} AS arm, {_COUNTED} FROM generate_series(0, {len(begins) - 1}) AS spans(place), "  # noqa: S608
            f"LATERAL ({sql}) AS newest GROUP BY 1, 2, 3"
        )
        params += given
    return " UNION ALL ".join(arms), params


def _probes_of_each(rows: QuerySet[Event], begins: Sequence[datetime], width: timedelta) -> _Sql:
    """The same where no subquery can ask for what is outside of it."""
    arms, params = [], []
    for place, begin in enumerate(begins):
        of_span = rows.filter(occurred_at__gte=begin, occurred_at__lt=begin + width)
        for arm, (sql, given) in enumerate(_newest_of_span(of_span)):
            arms.append(
                f"SELECT {place} AS place, {arm} AS arm, {_COUNTED} "  # noqa: S608 -- Django's own SQL
                f"FROM (SELECT * FROM ({sql}) AS newest) AS probed GROUP BY level"
            )
            params += given
    return " UNION ALL ".join(arms), params


def _newest_of_span(rows: QuerySet[Event]) -> Iterator[_Sql]:
    """BAR_MAX events at most: of what is notable, and of routine."""
    span = newest(rows).select_related(None)
    for part in (span.filter(NOTABLE), span.exclude(NOTABLE)):
        sql, params = part.values("level", "occurred_at")[:BAR_MAX].query.sql_with_params()
        yield sql, list(params)


_PROBES: Final = {"postgresql": _probes_of_all, "sqlite": _probes_of_each}


def _moment(value: Any) -> datetime:
    """A time as the database gives it to a cursor: SQLite as text."""
    if isinstance(value, datetime):
        return value
    return datetime.fromisoformat(f"{value}+00:00")


def newer_than(rows: QuerySet[Event], occurred_at: datetime, event_pk: int) -> int:
    """How many events come before the first one of a list, up to NEW_MAX."""
    newer = rows.filter(occurred_at__gte=occurred_at).exclude(occurred_at=occurred_at, pk__lte=event_pk)
    return newer.order_by().values("pk")[:NEW_MAX].count()
