"""Pages `{total, limit, offset, items}`, where the contract asks for them; cursors are in a module of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet
from rest_framework import serializers

from controlplane.common.rest.keysets import beyond, values_at

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """One page of a collection in total order."""

    total: int
    limit: int
    offset: int
    items: list[Row]


# How far beyond a page history is counted: a total over millions of rows would read all of them, for each page.
COUNTED_BEYOND_PAGE = 20_000


def page_of(rows: QuerySet[Row], query: Mapping[str, Any], *, is_history: bool = False) -> Page[Row]:
    """The page that a validated PageQuery asks for: one count and one select, which an empty collection saves.

    The total of a history is exact up to COUNTED_BEYOND_PAGE rows beyond the page and no higher, so that whoever pages
    on until the total still meets every row; a history must be in a total order of its own columns.
    """
    limit, offset = query["limit"], query["offset"]
    if is_history:
        return _page_of_history(rows, limit, offset)
    total = rows.count()
    items = list(rows[offset : offset + limit]) if offset < total else []
    return Page(total, limit, offset, items)


def _page_of_history(rows: QuerySet[Row], limit: int, offset: int) -> Page[Row]:
    """Two selects, a third for a later page: only that one goes through the rows before the page, by their keys alone.

    Those are read off an index that has them, where the rows themselves would have to be looked at one by one.
    """
    ordering = [str(name) for name in rows.query.order_by]
    keys = rows.values_list(*(name.removeprefix("-") for name in ordering))
    page = rows
    if offset:
        first = list(keys[offset : offset + 1])
        if not first:
            return Page(keys[:offset].count(), limit, offset, [])
        page = rows.filter(beyond(ordering, first[0], inclusive=True))
    items = list(page[:limit])
    if len(items) < limit:
        return Page(offset + len(items), limit, offset, items)
    return Page(offset + limit + _count_after(rows, ordering, items, offset), limit, offset, items)


def _count_after(rows: QuerySet[Row], ordering: Sequence[str], items: Sequence[Row], offset: int) -> int:
    """How many rows follow those of a page, up to COUNTED_BEYOND_PAGE.

    Asked of the first column alone, which the indexes have, and in its order: in none, PostgreSQL would rather read a
    table from its beginning. Rows of the page that share its last value are then counted too, and taken off again;
    where rows before the page may share it as well, the whole ordering is asked.
    """
    leading = ordering[0].removeprefix("-")
    shared = [getattr(row, leading) == getattr(items[-1], leading) for row in items]
    is_split = offset > 0 and shared[0]
    place = (
        (ordering, values_at(items[-1], ordering)) if is_split else (ordering[:1], values_at(items[-1], ordering[:1]))
    )
    known = 0 if is_split else sum(shared)
    following = rows.filter(beyond(*place, inclusive=not is_split)).order_by(ordering[0]).values_list(leading)
    return following[: COUNTED_BEYOND_PAGE + known].count() - known


@cache
def page_serializer(item: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """The serializer of a Page of `item`."""
    fields: dict[str, Any] = {
        "total": serializers.IntegerField(
            help_text=f"How many match, on all pages; history is counted to {COUNTED_BEYOND_PAGE:,} beyond this page."
        ),
        "limit": serializers.IntegerField(),
        "offset": serializers.IntegerField(),
        "items": item(many=True),
    }
    return type(f"{item.__name__.removesuffix('Serializer')}Page", (serializers.Serializer,), fields)
