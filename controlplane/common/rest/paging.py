"""Pages `{total, limit, offset, items}`, where the contract asks for them; cursors are in a module of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet
from rest_framework import serializers

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
    on until the total still meets every row.
    """
    limit, offset = query["limit"], query["offset"]
    counted = rows.order_by()[: offset + limit + COUNTED_BEYOND_PAGE] if is_history else rows
    total = counted.count()
    items = list(rows[offset : offset + limit]) if offset < total else []
    return Page(total, limit, offset, items)


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
