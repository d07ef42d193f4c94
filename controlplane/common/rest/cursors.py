"""Cursors: pages of a collection by where the last one ended, in any total order that an index serves.

A deep page costs what the first costs, and rows that come or go meanwhile neither repeat nor hide others.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from django.db import models
from django.db.models import Model, Q, QuerySet
from rest_framework import serializers

from controlplane.common.clean import BIGINT_MAX
from controlplane.common.rest.fields import (
    ExportField,
    IntegerField,
    QuerySerializer,
    TextField,
    unstorable,
)
from controlplane.common.rest.keysets import beyond, values_at

Row = TypeVar("Row", bound=Model)
# Room for the names of 255 characters by which a collection may be ordered.
CURSOR_MAX_LENGTH: Final = 5000


@dataclass(frozen=True, slots=True)
class Order:
    """A total order of rows: columns without NULL, the one that counts most first and a unique one last.

    All go in one direction, so that one index serves both directions.
    """

    columns: tuple[str, ...]
    descending: bool = False

    @property
    def names(self) -> list[str]:
        """The columns as an ordering of Django's, with a minus before those that descend."""
        sign = "-" if self.descending else ""
        return [sign + column for column in self.columns]

    def apply(self, rows: QuerySet[Row]) -> QuerySet[Row]:
        return rows.order_by(*self.names)

    def values_of(self, row: Model) -> list[Any]:
        return values_at(row, self.names)

    def after(self, values: Sequence[Any]) -> Q:
        """Matches rows that follow the one with these values; its first condition is a range of the index."""
        return beyond(self.names, values)


@dataclass(frozen=True, slots=True)
class Slice(Generic[Row]):
    """The rows after a cursor, and the cursor of the rows after these."""

    items: list[Row]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a cursor belongs to: an ordering by its public name, and filters as they were written."""

    ordering: str
    filters: Mapping[str, str]

    @property
    def mark(self) -> str:
        """Short, and another one for other filters or another ordering; it guards against mistakes, not attacks."""
        written = json.dumps([self.ordering, sorted(self.filters.items())])
        return hashlib.blake2b(written.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


class CursorInvalid(Exception):
    """No answer to this ordering and these filters gave this cursor."""


def slice_of(rows: QuerySet[Row], order: Order, *, asked: Asked, cursor: str | None, limit: int) -> Slice[Row]:
    """The `limit` rows after the cursor, in one select. Raises CursorInvalid."""
    if cursor is not None:
        rows = rows.filter(order.after(_decode(cursor, rows.model, order, asked)))
    items = list(order.apply(rows)[: limit + 1])
    if len(items) <= limit:
        return Slice(items, None)
    return Slice(items[:limit], _encode(order.values_of(items[limit - 1]), asked))


def batches_of(rows: QuerySet[Row], order: Order, *, size: int) -> Iterator[list[Row]]:
    """All rows in batches, each read by a statement of its own when it is asked for."""
    batch = list(order.apply(rows)[:size])
    while batch:
        yield batch
        if len(batch) < size:
            return
        batch = list(order.apply(rows.filter(order.after(order.values_of(batch[-1]))))[:size])


def _encode(values: Sequence[Any], asked: Asked) -> str:
    document = json.dumps([asked.mark, *(_written(value) for value in values)], ensure_ascii=False)
    return base64.urlsafe_b64encode(document.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def _decode(text: str, model: type[Model], order: Order, asked: Asked) -> list[Any]:
    try:
        mark, *values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if mark != asked.mark:
            raise CursorInvalid
        fields = [model._meta.get_field(column) for column in order.columns]
        return [_read(field, value) for field, value in zip(fields, values, strict=True)]
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
        raise CursorInvalid from exc


def _written(value: Any) -> str | int:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.hex if isinstance(value, UUID) else value


def _read(field: Any, value: Any) -> Any:
    """The value of a column as `_written` wrote it; ValueError and its like for anything else."""
    if isinstance(field, models.DateTimeField):
        return datetime.fromisoformat(value).astimezone(UTC)
    if isinstance(field, models.UUIDField):
        return UUID(value)
    if isinstance(field, models.IntegerField):
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > BIGINT_MAX:
            raise ValueError(value)
        return value
    if not isinstance(value, str) or unstorable(value):
        raise ValueError(value)
    return value


class CursorQuery(QuerySerializer):
    limit = IntegerField(from_text=True, default=50, min_value=1, max_value=200)
    cursor = TextField(
        required=False,
        max_length=CURSOR_MAX_LENGTH,
        help_text="The next_cursor of the answer before, which had the same filters and ordering.",
    )
    format = ExportField()


@cache
def slice_serializer(item: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """The serializer of a Slice of `item`."""
    fields: dict[str, Any] = {
        "items": item(many=True),
        "next_cursor": serializers.CharField(allow_null=True, help_text="Send it as `cursor`; null on the last page."),
    }
    return type(f"{item.__name__.removesuffix('Serializer')}Slice", (serializers.Serializer,), fields)
