"""What stands in the paths of this API, and how it is read."""

import uuid
from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from controlplane.common.rest.fields import IdField, IntegerField, TextField
from controlplane.common.rest.tokens import TokenIdField

COMMAND_ID_PATTERN: Final = r"^cmd_[0-9a-f]{32}$"


@extend_schema_field({"type": "string", "pattern": COMMAND_ID_PATTERN})
class CommandIdField(serializers.RegexField):
    """`cmd_` and 32 hex digits; read as the UUID that they are."""

    default_error_messages = {"invalid": "Input should be cmd_ and 32 hex digits"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(COMMAND_ID_PATTERN, **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        return uuid.UUID(hex=super().run_validation(data).removeprefix("cmd_"))


FAN_OUT_ID_PATTERN: Final = r"^fan_[0-9a-f]{32}$"


@extend_schema_field({"type": "string", "pattern": FAN_OUT_ID_PATTERN})
class FanOutIdField(serializers.RegexField):
    """`fan_` and 32 hex digits; read as the UUID that they are."""

    default_error_messages = {"invalid": "Input should be fan_ and 32 hex digits"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(FAN_OUT_ID_PATTERN, **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        return uuid.UUID(hex=super().run_validation(data).removeprefix("fan_"))


PATH_FIELDS: Final[dict[str, serializers.Field[Any, Any, Any, Any]]] = {
    "service_name": TextField(trim_whitespace=False, help_text="Percent-encoded; a slash in the name is %2F."),
    "task_name": TextField(trim_whitespace=False, help_text="Percent-encoded; a slash in the name is %2F."),
    "instance_id": IdField(),
    "command_id": CommandIdField(help_text="`cmd_` and 32 hex digits."),
    "event_id": IntegerField(from_text=True, min_value=1, help_text="The `id` of an event in the history."),
    "removal_id": IdField(),
    "fan_out_id": FanOutIdField(help_text="`fan_` and 32 hex digits."),
    "group_name": TextField(
        trim_whitespace=False, max_length=100, help_text="Percent-encoded, as every part of a path."
    ),
    "token_id": TokenIdField(),
}
