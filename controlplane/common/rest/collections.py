"""The product's own collections: filters, ordering, cursors, sparse fields, ETags and exports, said once for each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet
from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.response import Response

from controlplane.common.rest.cursors import (
    Asked,
    CursorInvalid,
    CursorQuery,
    Order,
    batches_of,
    slice_of,
    slice_serializer,
)
from controlplane.common.rest.errors import RequestInvalid, problem
from controlplane.common.rest.exports import BATCH_ROWS, Export, export, wanted_format
from controlplane.common.rest.fields import QuerySerializer
from controlplane.common.rest.filters import CommaField, Filters
from controlplane.common.rest.sparse import names_of, spared, sparse
from controlplane.common.rest.views import ApiView

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class Collection(Generic[Row]):
    """How rows of one kind are found and shown.

    `orderings` maps a public name to the columns of a total order, each with an index; `default` is one of the names,
    with a minus where it goes down. `wide` maps fields to the columns that are spared where the field is not asked for.
    Fields `on_demand` are written only where `fields` names them. `context_of` gives the serializer of some rows what
    it needs beside them, by the view, the rows and the wanted fields (all where there are none).
    """

    name: str
    item: type[serializers.Serializer[Any]]
    filters: type[Filters]
    orderings: Mapping[str, tuple[str, ...]]
    default: str
    wide: Mapping[str, str] = field(default_factory=dict)
    on_demand: frozenset[str] = frozenset()
    context_of: Callable[[Any, Sequence[Any], Sequence[str]], Mapping[str, Any]] | None = None

    @cached_property
    def query(self) -> type[QuerySerializer]:
        """The serializer of a query of this collection."""
        choices = [sign + name for name in self.orderings for sign in ("", "-")]
        parameters = {
            **self.filters.fields_by_name(),
            "ordering": serializers.ChoiceField(choices=choices, default=self.default),
            "fields": _fields_parameter(self.item),
        }
        return type(f"{self.item.__name__.removesuffix('Serializer')}Query", (CursorQuery,), parameters)

    @cached_property
    def page(self) -> type[serializers.Serializer[Any]]:
        """The serializer of an answer, as the OpenAPI document shows it."""
        return slice_serializer(self.item)

    def answer(self, view: ApiView, rows: QuerySet[Row]) -> HttpResponseBase:
        """A page of the rows that the filters of the request leave, or all of them as a file."""
        query = view.query
        wanted: Sequence[str] = query.get("fields", ()) or self._unasked
        rows = self.filters.narrow(rows, query).defer(*spared(self.wide, wanted))
        file_format = wanted_format(view.request, query)
        if file_format is not None:
            batches = batches_of(rows, self._order(query["ordering"]), size=BATCH_ROWS)
            exported = Export(self.name, self.item, batches, wanted, lambda batch: self._context(view, batch, wanted))
            return export(view.request, file_format, exported, stands=view.standing())
        try:
            found = slice_of(
                rows,
                self._order(query["ordering"]),
                asked=self._asked(view),
                cursor=query.get("cursor"),
                limit=query["limit"],
            )
        except CursorInvalid as exc:
            message = "Input should be the next_cursor of an answer to the same filters and ordering"
            raise RequestInvalid([problem("cursor", ["query", "cursor"], message, query["cursor"])]) from exc
        context = self._context(view, found.items, wanted)
        items = sparse(self.item, wanted, found.items, many=True, context=context).data
        return Response({"items": items, "next_cursor": found.next_cursor})

    def _context(self, view: ApiView, rows: Sequence[Any], wanted: Sequence[str]) -> Mapping[str, Any]:
        return self.context_of(view, rows, wanted) if self.context_of is not None else {}

    @cached_property
    def _unasked(self) -> tuple[str, ...]:
        """The fields of a request that names none; empty where these are all."""
        return tuple(name for name in names_of(self.item) if name not in self.on_demand) if self.on_demand else ()

    def _order(self, ordering: str) -> Order:
        return Order(self.orderings[ordering.removeprefix("-")], descending=ordering.startswith("-"))

    def _asked(self, view: ApiView) -> Asked:
        given = view.request.query_params
        written = {name: given[name] for name in self.filters.base_filters if name in given}
        return Asked(view.query["ordering"], written)


def _fields_parameter(item: type[serializers.Serializer[Any]]) -> CommaField:
    return CommaField(names_of(item), help_text="Only these fields, by comma.")


@cache
def detail_query(item: type[serializers.Serializer[Any]]) -> type[QuerySerializer]:
    """The serializer of a query for one row: which of its fields are wanted."""
    return type("DetailQuery", (QuerySerializer,), {"fields": _fields_parameter(item)})


def detail(
    view: ApiView,
    item: type[serializers.Serializer[Any]],
    row: Model,
    context: Mapping[str, Any] | None = None,
) -> Response:
    """One row, with the fields that the query wants."""
    return Response(sparse(item, view.query.get("fields", ()), row, context=context).data)


def not_wanted(view: ApiView, wide: Mapping[str, str]) -> list[str]:
    """The columns that a request for one row spares."""
    return spared(wide, view.query.get("fields", ()))
