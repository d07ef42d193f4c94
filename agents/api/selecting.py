"""Selectors and groups as requests name them: in bodies, and as filters of lists."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Q
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents.labels import Operator, Selector, SelectorInvalid, parse
from agents.labels.selector import TEXT_MAX_CHARS
from agents.selectors.groups import GroupUnknown, selector_of
from agents.selectors.labels import matches_q, of_matching
from agents.services.groups import NAME_MAX_CHARS
from controlplane.common.rest.fields import TextField
from controlplane.common.rest.filters import ApiFilter

SELECTOR_HELP = "As in `env=prod,region in (eu,us),!canary,cpu-cores>8`: all of it must hold."
_REQUIREMENT = {
    "type": "object",
    "properties": {
        "key": {"type": "string"},
        "operator": {"type": "string", "enum": [operator.value for operator in Operator]},
        "values": {"type": "array", "items": {"type": "string"}, "nullable": True},
    },
    "required": ["key", "operator"],
    "additionalProperties": False,
}
_JSON = {
    "type": "object",
    "properties": {
        "match_labels": {"type": "object", "additionalProperties": {"type": "string"}, "nullable": True},
        "match_expressions": {"type": "array", "items": _REQUIREMENT, "nullable": True},
    },
    "additionalProperties": False,
}


@extend_schema_field({"type": "string", "maxLength": TEXT_MAX_CHARS})
class SelectorTextField(TextField):
    """The text of a selector; read as a Selector."""

    default_error_messages = {"selector": "{problem}"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_blank": True, "help_text": SELECTOR_HELP, **kwargs})

    def run_validation(self, data: Any = serializers.empty) -> Any:
        text = super().run_validation(data)
        if not isinstance(text, str):
            return text
        try:
            return parse(text)
        except SelectorInvalid as exc:
            self.fail("selector", problem=str(exc))


@extend_schema_field({"oneOf": [{"type": "string", "maxLength": TEXT_MAX_CHARS}, _JSON]})
class SelectorField(SelectorTextField):
    """A selector as text or in its JSON form; read as a Selector."""

    default_error_messages = {"selector_type": "Input should be the text of a selector, or its JSON form"}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if isinstance(data, Mapping):
            try:
                return Selector.from_json(data)
            except SelectorInvalid as exc:
                place = "" if exc.field in {"", "selector"} else f"{exc.field}: "
                self.fail("selector", problem=f"{place}{exc}")
        if data is not serializers.empty and data is not None and not isinstance(data, str):
            self.fail("selector_type")
        return super().run_validation(data)


@extend_schema_field({"type": "string", "minLength": 1, "maxLength": NAME_MAX_CHARS})
class GroupField(TextField):
    """The name of a saved group; read as the Selector that it stands for now. Costs a query."""

    default_error_messages = {"group": "There is no group named {name}"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": NAME_MAX_CHARS, "help_text": "The name of a saved group.", **kwargs})

    def run_validation(self, data: Any = serializers.empty) -> Any:
        name = super().run_validation(data)
        if not isinstance(name, str):
            return name
        try:
            return selector_of(name)
        except GroupUnknown:
            self.fail("group", name=name)


def of_instance(selector: Selector) -> Q:
    """Matches rows whose `instance` a selector finds; an empty one matches those without an instance as well."""
    return of_matching(selector) if selector else Q()


def selector_filter(condition: Any = of_instance) -> ApiFilter:
    return ApiFilter(SelectorTextField(required=False), condition)


def group_filter(condition: Any = of_instance) -> ApiFilter:
    return ApiFilter(GroupField(required=False), condition)


def of_itself(selector: Selector) -> Q:
    """The same for rows that are instances."""
    return matches_q(selector)
