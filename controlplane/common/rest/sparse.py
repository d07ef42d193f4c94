"""`fields=a,b`: only some fields of what a serializer writes, and only the columns that those need."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from rest_framework import serializers


class SparseSerializer(serializers.Serializer[Any]):
    """One whose answers may lack fields; the OpenAPI document requires none of them."""


@cache
def names_of(item: type[serializers.Serializer[Any]]) -> tuple[str, ...]:
    """The names of all fields that the serializer writes, in their order."""
    return tuple(item().fields)


def sparse(
    item: type[serializers.Serializer[Any]],
    wanted: Sequence[str],
    instance: Any,
    *,
    many: bool = False,
    context: Mapping[str, Any] | None = None,
) -> serializers.BaseSerializer[Any]:
    """The serializer of this instance, or of many, with the wanted fields alone; with all where none are named."""
    serializer: Any = item(instance, many=many, context=dict(context or {}))
    if wanted:
        fields = serializer.child.fields if many else serializer.fields
        for name in set(fields) - set(wanted):
            fields.pop(name)
    made: serializers.BaseSerializer[Any] = serializer
    return made


def spared(wide: Mapping[str, str], wanted: Sequence[str]) -> list[str]:
    """Columns that need not be read: those behind fields of `wide` that are not wanted. None where all fields are."""
    return [column for name, column in wide.items() if name not in wanted] if wanted else []
