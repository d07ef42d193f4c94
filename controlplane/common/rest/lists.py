"""Lists as the contract has them: a page, or the whole of it as a file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.response import Response

from controlplane.common.rest.cursors import Order, batches_of
from controlplane.common.rest.exports import BATCH_ROWS, Export, export, wanted_format
from controlplane.common.rest.paging import page_of, page_serializer
from controlplane.common.rest.views import ApiView

Row = TypeVar("Row", bound=Model)


def paged(
    view: ApiView,
    rows: QuerySet[Row],
    item: type[serializers.Serializer[Any]],
    *,
    name: str,
    file_order: Order,
    is_history: bool = False,
    context_of: Callable[[Any], Mapping[str, Any]] | None = None,
) -> HttpResponseBase:
    """The page of `rows` that the query asks for, in their own order; or all of them as a file called `name`.

    Files are in `file_order`, by which a batch finds where the last one ended; limit and offset do not count for them.
    """
    batches = batches_of(rows, file_order, size=BATCH_ROWS)
    file = whole(view, item, batches, name=name, context_of=context_of)
    if file is not None:
        return file
    page = page_of(rows, view.query, is_history=is_history)
    context = dict(context_of(page.items)) if context_of else {}
    return Response(page_serializer(item)(page, context=context).data)


def whole(
    view: ApiView,
    item: type[serializers.Serializer[Any]],
    batches: Iterator[Sequence[Any]],
    *,
    name: str,
    context_of: Callable[[Any], Mapping[str, Any]] | None = None,
) -> HttpResponseBase | None:
    """The whole list as a file, where the request wants one; nothing of `batches` is read before it is sent."""
    file_format = wanted_format(view.request, view.query)
    if file_format is None:
        return None
    return export(view.request, file_format, Export(name, item, batches, context_of=context_of), stands=view.standing())
