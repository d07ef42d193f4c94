"""Pages: `{total, limit, offset, items}` where the contract asks for it, cursors for the product's own collections."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet
from rest_framework import serializers

from controlplane.common.rest.fields import IntegerField, QuerySerializer, TextField
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
    further = keys.filter(beyond(ordering, values_at(items[-1], ordering)))
    return Page(offset + limit + further[:COUNTED_BEYOND_PAGE].count(), limit, offset, items)


@dataclass(frozen=True, slots=True)
class Slice(Generic[Row]):
    """The rows after a cursor, and the cursor of the rows after these."""

    items: list[Row]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a slice begins: after the row with these values, newest first."""

    moment: datetime
    id: UUID


def slice_of(rows: QuerySet[Row], *, moment_field: str, cursor: Cursor | None, limit: int) -> Slice[Row]:
    """The `limit` rows after the cursor by (moment, id) descending, in one select that an index on both serves."""
    if cursor is not None:
        earlier = Q(**{f"{moment_field}__lt": cursor.moment}) | Q(id__lt=cursor.id)
        rows = rows.filter(earlier, **{f"{moment_field}__lte": cursor.moment})
    items = list(rows.order_by(f"-{moment_field}", "-id")[: limit + 1])
    if len(items) <= limit:
        return Slice(items, None)
    last = items[limit - 1]
    return Slice(items[:limit], encode_cursor(Cursor(getattr(last, moment_field), last.pk)))


def encode_cursor(cursor: Cursor) -> str:
    document = json.dumps([cursor.moment.isoformat(), cursor.id.hex])
    return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")


class CursorField(TextField):
    """The `next_cursor` of an earlier answer."""

    default_error_messages = {"cursor": "Input should be the next_cursor of an earlier answer"}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        text = super().run_validation(data)
        try:
            moment, row_id = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            return Cursor(datetime.fromisoformat(moment).astimezone(UTC), UUID(row_id))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            self.fail("cursor")


class CursorQuery(QuerySerializer):
    limit = IntegerField(from_text=True, default=50, min_value=1, max_value=200)
    cursor = CursorField(required=False, max_length=200, help_text="The next_cursor of the answer before.")


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
    return type(f"{_noun(item)}Page", (serializers.Serializer,), fields)


@cache
def slice_serializer(item: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """The serializer of a Slice of `item`."""
    fields: dict[str, Any] = {
        "items": item(many=True),
        "next_cursor": serializers.CharField(allow_null=True, help_text="Send it as `cursor`; null on the last page."),
    }
    return type(f"{_noun(item)}Slice", (serializers.Serializer,), fields)


def _noun(item: type[serializers.Serializer[Any]]) -> str:
    return item.__name__.removesuffix("Serializer")
