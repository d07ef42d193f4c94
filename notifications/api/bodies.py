"""What bodies of requests about notifications have in common."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import time
from typing import Any, Final
from zoneinfo import available_timezones

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents.api.selecting import SelectorField
from controlplane.common.rest.fields import BodySerializer, IntegerField, TextField
from notifications.models import EventType

NAME_MAX: Final = 255
ENVIRONMENT_MAX: Final = 64
SCOPES_MAX: Final = 500
PATTERN_MAX: Final = 500
ZONE_MAX: Final = 64
# PostgreSQL's integers.
INTEGER_MAX: Final = 2**31 - 1


class UniqueListField(serializers.ListField):
    """A list that says nothing twice."""

    default_error_messages = {"unique": "Input should have no duplicates"}

    def run_child_validation(self, data: Any) -> Any:
        values = super().run_child_validation(data)
        self.ensure_unique(values)
        return values

    def ensure_unique(self, values: Sequence[Any]) -> None:
        if len({self.key_of(value) for value in values}) != len(values):
            self.fail("unique")

    def key_of(self, value: Any) -> Hashable:
        """What may not be there twice."""
        return tuple(sorted(value.items())) if isinstance(value, Mapping) else value


class ServiceScopeBody(BodySerializer):
    name = TextField(max_length=NAME_MAX, trim_whitespace=False)
    environment = TextField(max_length=ENVIRONMENT_MAX, trim_whitespace=False)


def service_scopes(**kwargs: Any) -> UniqueListField:
    return UniqueListField(
        child=ServiceScopeBody(), max_length=SCOPES_MAX, help_text="Empty means every service.", **kwargs
    )


def event_types(**kwargs: Any) -> UniqueListField:
    kwargs.setdefault("help_text", "Empty tells nothing.")
    return UniqueListField(child=serializers.ChoiceField(choices=EventType.choices), max_length=50, **kwargs)


@extend_schema_field({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$", "nullable": True})
class WallTimeField(TextField):
    """A time of the day as `HH:MM`; null for none."""

    default_error_messages = {"wall_time": "Input should be a time of the day, as in 22:00"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_null": True, **kwargs})

    def run_validation(self, data: Any = serializers.empty) -> Any:
        text = super().run_validation(data)
        if not isinstance(text, str):
            return text
        hours, colon, minutes = text.partition(":")
        is_written = len(text) == 5 and colon and hours.isascii() and minutes.isascii()
        if not (is_written and hours.isdigit() and minutes.isdigit() and int(hours) < 24 and int(minutes) < 60):
            self.fail("wall_time")
        return time(int(hours), int(minutes))

    def to_representation(self, value: Any) -> Any:
        return f"{value:%H:%M}"


class ZoneField(TextField):
    """The name of a time zone; empty for the portal's."""

    default_error_messages = {"zone": "Input should be the name of a time zone, as in Europe/Berlin"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_blank": True, "max_length": ZONE_MAX, **kwargs})

    def run_validation(self, data: Any = serializers.empty) -> Any:
        name = super().run_validation(data)
        if isinstance(name, str) and name and name not in available_timezones():
            self.fail("zone")
        return name


def weekdays(help_text: str, **kwargs: Any) -> UniqueListField:
    day = IntegerField(min_value=0, max_value=6)
    return UniqueListField(child=day, max_length=7, help_text=f"0 is Monday. {help_text}".strip(), **kwargs)


def seconds(**kwargs: Any) -> IntegerField:
    return IntegerField(**{"min_value": 0, "max_value": INTEGER_MAX, **kwargs})


class ScopeBody(BodySerializer):
    """What is left out narrows nothing."""

    service_scopes = service_scopes(required=False)
    environments = UniqueListField(
        child=TextField(max_length=ENVIRONMENT_MAX), required=False, max_length=100, help_text="Empty means all."
    )
    selector = SelectorField(required=False)
    task_pattern = TextField(
        required=False,
        allow_blank=True,
        max_length=PATTERN_MAX,
        help_text="Names of tasks with `*` and `?`, several by commas.",
    )


def model_values(body: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a body as the fields of a model have them."""
    values = dict(body)
    if "selector" in values:
        values["selector"] = str(values["selector"])
    if "service_scopes" in values:
        values["service_scopes"] = [dict(each) for each in values["service_scopes"]]
    return values
