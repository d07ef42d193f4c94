"""The base of views about notifications: what stands in their paths, and who of programs may not look."""

from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.request import Request

from agents.api.serializers import optional_text
from controlplane.access.policy import environments_of
from controlplane.common.errors import Forbidden
from controlplane.common.rest.fields import IdField, IntegerField, TextField
from controlplane.common.rest.views import ApiView

NARROWED = (
    "This token is narrowed to environments, and rules, alerts and what is told speak of all of them: only a token for "
    "every environment may look here."
)


def _number(of: str) -> IntegerField:
    return IntegerField(from_text=True, min_value=1, max_value=2**63 - 1, help_text=f"The `id` of {of}.")


class NotificationView(ApiView):
    """Closed to tokens that are narrowed to environments: a message may speak of any instance."""

    path_fields: ClassVar = {
        "channel_id": _number("a channel"),
        "rule_id": _number("a rule"),
        "alert_id": _number("an alert"),
        "silence_id": _number("a silence"),
        "delivery_id": IdField(),
    }

    def check_permissions(self, request: Request) -> None:
        super().check_permissions(request)
        if environments_of(request) is not None:
            raise Forbidden(NARROWED)


class ServiceScopeSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    environment = serializers.CharField()


def told_types() -> serializers.ListField:
    return serializers.ListField(child=serializers.CharField())


def scoped_environments() -> serializers.ListField:
    return serializers.ListField(child=serializers.CharField(), help_text="Empty means all.")


def scoped_selector() -> TextField:
    return optional_text(help_text="In canonical form.")


def scoped_tasks() -> TextField:
    return optional_text(help_text="Names with `*` and `?`, several by commas.")
