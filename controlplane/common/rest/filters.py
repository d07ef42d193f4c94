"""Filters of collections: django-filter's sets, whose values are read by serializer fields.

So a filter and a body refuse the same things in the same words, and the OpenAPI document describes both alike.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from django.db.models import Q, QuerySet
from django_filters import Filter, FilterSet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from controlplane.common.rest.fields import TextField

Condition = Callable[[Any], Q]

NAME_MAX: Final = 255
# A list of choices may repeat itself; beyond this length it is not read.
COMMA_TEXT_MAX: Final = 2000


class ApiFilter(Filter):  # type: ignore[misc]
    """One parameter of a query: `reads` validates and describes it, `condition` makes of its value what rows match."""

    def __init__(self, reads: serializers.Field[Any, Any, Any, Any], condition: Condition) -> None:
        super().__init__()
        self.reads = reads
        self.condition = condition

    def filter(self, rows: QuerySet[Any], value: Any) -> QuerySet[Any]:
        return rows.filter(self.condition(value))


class Filters(FilterSet):  # type: ignore[misc]
    """The filters that a collection offers, each an ApiFilter. A subclass lists them."""

    @classmethod
    def fields_by_name(cls) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """What reads each parameter, for the serializer of the query."""
        return {name: each.reads for name, each in cls.base_filters.items()}

    @classmethod
    def narrow(cls, rows: QuerySet[Any], values: Mapping[str, Any]) -> QuerySet[Any]:
        """The rows that match every filter with a validated value; values of other parameters are passed over."""
        for name, each in cls.base_filters.items():
            if name in values:
                rows = each.filter(rows, values[name])
        return rows


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class CommaField(TextField):
    """One or more of `choices`, separated by commas; read as a list without repetitions."""

    default_error_messages = {"enum": '"{given}" is not a valid choice. Choose among: {choices}.'}

    def __init__(self, choices: Sequence[str], **kwargs: Any) -> None:
        self.choices = tuple(choices)
        super().__init__(required=False, max_length=COMMA_TEXT_MAX, **kwargs)

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "string", "enum": list(self.choices)}}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        text = super().run_validation(data)
        given = list(dict.fromkeys(each.strip() for each in text.split(",")))
        for each in given:
            if each not in self.choices:
                self.fail("enum", given=each, choices=", ".join(self.choices))
        return given


def exactly(path: str) -> Condition:
    return lambda value: Q(**{path: value})


def among(path: str) -> Condition:
    return lambda values: Q(**{f"{path}__in": values})


def exact_name(help_text: str) -> TextField:
    """Reads a name, spaces and all."""
    return TextField(required=False, trim_whitespace=False, max_length=NAME_MAX, help_text=help_text)


def named(path: str, help_text: str) -> ApiFilter:
    """An exact name."""
    return ApiFilter(exact_name(help_text), exactly(path))


def any_of(path: str, choices: Any, help_text: str = "") -> ApiFilter:
    """One or more of a TextChoices, by comma."""
    return ApiFilter(CommaField(choices.values, help_text=help_text or "One or more, by comma."), among(path))
