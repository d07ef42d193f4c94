"""Serializer fields that refuse what they would otherwise guess at, and write values as the API does."""

import math
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from controlplane.common.clean import BIGINT_MAX, NESTING_MAX, clean_text

OFFSET_MAX = 2**31 - 1
# Whoever asks from the beginning or to the end of the calendar means always. So near to them a moment could not be
# written in another zone, nor an hour taken off or a week be added.
EARLIEST = datetime(1, 2, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 1, tzinfo=UTC)
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_EPOCH = re.compile(r"[+-]?[0-9]{1,12}(\.[0-9]{1,9})?")
# A plus sign that nobody escaped in a query arrives as a space.
_UNESCAPED_OFFSET = re.compile(r" (\d{2}:?\d{2})$")


def unstorable(text: str) -> bool:
    """Whether no database would take this text: it holds a NUL or half of a surrogate pair."""
    return clean_text(text) != text


def iso(moment: datetime) -> str:
    """A timestamp as the API writes it: in settings.TIME_ZONE, numeric offset, microseconds omitted when zero."""
    return moment.astimezone(timezone.get_default_timezone()).isoformat()


class TextField(serializers.CharField):
    """A string and nothing that could become one; with `null_when_blank`, stored "" is written as null."""

    default_error_messages = {"string_type": "Input should be a valid string"}

    def __init__(self, *, null_when_blank: bool = False, **kwargs: Any) -> None:
        self.null_when_blank = null_when_blank
        if null_when_blank:
            kwargs["allow_null"] = True
        super().__init__(**kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is not serializers.empty and data is not None and not isinstance(data, str):
            self.fail("string_type")
        return super().run_validation(data)

    def to_representation(self, value: Any) -> Any:
        text = super().to_representation(value)
        return None if self.null_when_blank and text == "" else text


class IntegerField(serializers.IntegerField):
    """A whole JSON number; text only where `from_text` (queries) says so."""

    default_error_messages = {
        "int_type": "Input should be a valid integer",
        "int_parsing": "Input should be a valid integer, unable to parse string as an integer",
    }

    def __init__(self, *, from_text: bool = False, **kwargs: Any) -> None:
        self.from_text = from_text
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> int:
        if self.from_text:
            if not isinstance(data, str) or _INTEGER.fullmatch(data.strip()) is None:
                self.fail("int_parsing")
            return int(data)
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("int_type")
        return data


class IdField(serializers.UUIDField):
    """A UUID written as text."""

    default_error_messages = {"uuid_parsing": "Input should be a valid UUID"}

    def to_internal_value(self, data: Any) -> uuid.UUID:
        if not isinstance(data, str):
            self.fail("uuid_parsing")
        try:
            return uuid.UUID(data)
        except ValueError:
            self.fail("uuid_parsing")


class TimestampField(serializers.Field[Any, Any, Any, Any]):
    """ISO 8601 with any offset, none (UTC) or epoch seconds in, from EARLIEST to LATEST; settings.TIME_ZONE out."""

    default_error_messages = {"datetime_parsing": "Input should be a valid datetime"}

    def to_internal_value(self, data: Any) -> datetime:
        if not isinstance(data, str):
            self.fail("datetime_parsing")
        text = data.strip()
        try:
            if _EPOCH.fullmatch(text):
                moment = datetime.fromtimestamp(float(text), UTC)
            else:
                moment = datetime.fromisoformat(_UNESCAPED_OFFSET.sub(r"+\1", text))
                moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            self.fail("datetime_parsing")
        return min(max(moment, EARLIEST), LATEST)

    def to_representation(self, value: datetime) -> str:
        return iso(value)


@extend_schema_field(OpenApiTypes.BOOL)
class FlagField(serializers.Field[Any, Any, Any, Any]):
    """`true` or `false` in a query."""

    default_error_messages = {"bool_parsing": "Input should be true or false"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, **kwargs)

    def to_internal_value(self, data: Any) -> bool:
        if data not in {"true", "false"}:
            self.fail("bool_parsing")
        return bool(data == "true")


class BooleanField(serializers.BooleanField):
    """`true` or `false` of JSON, and nothing that could become one."""

    default_error_messages = {"bool_type": "Input should be true or false"}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is not serializers.empty and not isinstance(data, bool):
            self.fail("bool_type")
        return super().run_validation(data)


@extend_schema_field({"type": "object", "additionalProperties": {}})
class ObjectField(serializers.Field[Any, Any, Any, Any]):
    """A free-form JSON object that every database can hold."""

    default_error_messages = {
        "dict_type": "Input should be a valid dictionary",
        "json_invalid": "Input holds what cannot be stored: {problem}",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("dict_type")
        problem = json_problem(data)
        if problem:
            self.fail("json_invalid", problem=problem)
        return data

    def to_representation(self, value: Any) -> Any:
        return value


def json_problem(document: object) -> str:
    """Why this parsed JSON cannot be stored or sent on, or "" where it can. Walks it without recursion."""
    stack: list[tuple[object, int]] = [(document, 1)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, str):
            if unstorable(node):
                return "a NUL or an unpaired surrogate"
        elif isinstance(node, int):
            if abs(node) > BIGINT_MAX:
                return "a whole number beyond 64 bit"
        elif isinstance(node, float):
            if not math.isfinite(node):
                return "a number that is not finite"
        elif isinstance(node, Mapping):
            if depth > NESTING_MAX:
                return f"more than {NESTING_MAX} levels"
            stack.extend((key, depth + 1) for key in node)
            stack.extend((value, depth + 1) for value in node.values())
        elif isinstance(node, list):
            if depth > NESTING_MAX:
                return f"more than {NESTING_MAX} levels"
            stack.extend((value, depth + 1) for value in node)
    return ""


@cache
def _fields_of(serializer_class: type["RequestSerializer"]) -> Any:
    made: Any = serializers.Serializer.fields
    fields = made.func(serializer_class())
    for each in fields.values():
        _name_choices(getattr(each, "child", each))
    return fields


def _name_choices(reads: Any) -> None:
    """Have the refusal of a value say which ones there are."""
    if isinstance(reads, serializers.ChoiceField):
        choices = ", ".join(str(choice) for choice in reads.choices)
        reads.error_messages["invalid_choice"] = f'"{{input}}" is not a valid choice. Choose among: {choices}.'


class RequestSerializer(serializers.Serializer[Any]):
    """What validates a request. All of a class share their fields: making them costs ten times as much as using them.

    So a field may not ask for the context of its serializer.
    """

    @property
    def fields(self) -> Any:
        return _fields_of(type(self))


class QuerySerializer(RequestSerializer):
    """The query of a GET. Unknown keys are ignored; the last of a repeated key counts, but of a list all of them."""


class ExportField(serializers.ChoiceField):
    """How a list is wanted: a page as JSON, or all of it as a file."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs |= {
            "required": False,
            "help_text": "`csv` and `ndjson`, or their media types in Accept, give the whole list as a file.",
        }
        super().__init__(choices=("json", "csv", "ndjson"), **kwargs)


class PageQuery(QuerySerializer):
    limit = IntegerField(from_text=True, default=50, min_value=1, max_value=200)
    offset = IntegerField(from_text=True, default=0, min_value=0, max_value=OFFSET_MAX)
    format = ExportField()


class BodySerializer(RequestSerializer):
    """The JSON body of a write. Unknown keys are refused."""

    default_error_messages = {"extra_forbidden": "Extra inputs are not permitted"}

    def to_internal_value(self, data: Any) -> Any:
        problems: dict[str, Any] = {}
        values: Any = {}
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as exc:
            if not isinstance(data, Mapping) or not isinstance(exc.detail, dict):
                raise
            problems = dict(exc.detail)
        for key in data:
            if key not in self.fields:
                message = str(self.error_messages["extra_forbidden"])
                problems[key] = [serializers.ErrorDetail(message, "extra_forbidden")]
        if problems:
            raise serializers.ValidationError(problems)
        return values
