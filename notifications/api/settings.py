"""Channels as the settings API of the reference control plane has them. Source: contract 7.1.

What it calls a channel is a channel and a rule of its own here; what a channel has beyond that API is kept when it is
changed through it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.response import Response

from agents.selectors.services import services
from controlplane.access.actors import actor_of
from controlplane.access.policy import environments_of
from controlplane.common.errors import Invalid
from controlplane.common.rest.errors import RequestInvalid, problem
from controlplane.common.rest.fields import BodySerializer, BooleanField, IntegerField, TextField, TimestampField
from controlplane.common.rest.views import ApiView, endpoint
from notifications.api.base import NotificationView, ServiceScopeSerializer
from notifications.api.bodies import NAME_MAX, UniqueListField, event_types, model_values, service_scopes
from notifications.models import Channel, EventType, Rule
from notifications.selectors.channels import channels, get_channel
from notifications.selectors.previews import preview_of_test
from notifications.services.channels import delete_channel, send_test
from notifications.services.own_rules import create_with_rule, enable, update_with_rule

GRACE_DEFAULT_S: Final = 300
GRACE_MAX_S: Final = 86_400
URL_MAX: Final = 4096
MESSAGE_MAX: Final = 2000
PARAMETERS_MAX: Final = 100
# Those that the settings API knows; others are made on the console and shown here as well.
PROVIDERS: Final = ("feishu", "wechat_work", "custom")
METHODS: Final = ("GET", "POST")
# Fields of a body and of the services, where they are called differently.
_FIELDS: Final = {
    "address": "webhook_url",
    "options": "custom_config",
    "missed_start_grace_s": "missed_start_grace_seconds",
}


# What is taken.


class ParameterBody(BodySerializer):
    key = TextField(max_length=255)
    value = TextField(
        allow_blank=True, max_length=2000, trim_whitespace=False, help_text="A template: `{{ task_name }}`."
    )


class ParametersField(UniqueListField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=ParameterBody(), default=list, max_length=PARAMETERS_MAX, **kwargs)

    def key_of(self, value: Any) -> str:
        return str(value["key"])


class MethodField(serializers.ChoiceField):
    """In any case."""

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(data.upper() if isinstance(data, str) else data)


class CustomConfigBody(BodySerializer):
    method = MethodField(choices=METHODS, default="POST")
    query_params = ParametersField()
    body_params = ParametersField()

    default_error_messages = {"no_body": "body_params are not allowed for GET"}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["method"] == "GET" and attrs["body_params"]:
            message = str(self.error_messages["no_body"])
            raise serializers.ValidationError({"body_params": serializers.ErrorDetail(message, "value_error")})
        return attrs


class ChannelChangesBody(BodySerializer):
    """What is left out stays as it is; so does the address, which is never shown."""

    name = TextField(required=False, max_length=NAME_MAX)
    provider = serializers.ChoiceField(choices=PROVIDERS, required=False)
    webhook_url = TextField(required=False, max_length=URL_MAX)
    enabled = BooleanField(required=False)
    service_scopes = service_scopes(required=False)
    event_types = event_types(required=False)
    missed_start_grace_seconds = IntegerField(required=False, min_value=1, max_value=GRACE_MAX_S)
    custom_config = CustomConfigBody(required=False, allow_null=True)


class ChannelBody(ChannelChangesBody):
    name = TextField(max_length=NAME_MAX)
    provider = serializers.ChoiceField(choices=PROVIDERS)
    webhook_url = TextField(max_length=URL_MAX)
    enabled = BooleanField(default=True)
    service_scopes = service_scopes(default=list)
    event_types = event_types(default=list)
    missed_start_grace_seconds = IntegerField(default=GRACE_DEFAULT_S, min_value=1, max_value=GRACE_MAX_S)


class EnabledBody(BodySerializer):
    enabled = BooleanField()


class TestBody(BodySerializer):
    message = TextField(required=False, allow_blank=True, max_length=MESSAGE_MAX)


# What is given.


class ParameterSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    value = serializers.CharField(allow_blank=True)


class CustomConfigSerializer(serializers.Serializer[Any]):
    method = serializers.ChoiceField(choices=METHODS)
    query_params = ParameterSerializer(many=True)
    body_params = ParameterSerializer(many=True)


class ChannelSerializer(serializers.Serializer[Any]):
    """The whole address is never given."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    provider = serializers.CharField(help_text="Beside those of a body also `email` and `apprise`.")
    webhook_url_masked = serializers.CharField(source="address_masked")
    enabled = serializers.BooleanField()
    service_scopes = serializers.SerializerMethodField()
    event_types = serializers.SerializerMethodField()
    missed_start_grace_seconds = serializers.SerializerMethodField()
    custom_config = serializers.SerializerMethodField()
    created_at = TimestampField()
    updated_at = TimestampField()

    def _rule(self, channel: Channel) -> Rule:
        return getattr(channel, "own_rule", None) or Rule()

    def get_service_scopes(self, channel: Channel) -> list[dict[str, str]]:
        return list(self._rule(channel).service_scopes)

    def get_event_types(self, channel: Channel) -> list[str]:
        return list(self._rule(channel).event_types)

    def get_missed_start_grace_seconds(self, channel: Channel) -> int:
        return self._rule(channel).missed_start_grace_s

    def get_custom_config(self, channel: Channel) -> dict[str, Any] | None:
        return custom_config_of(channel)


class ChannelListSerializer(serializers.Serializer[Any]):
    items = ChannelSerializer(many=True)


class DeletedSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=("deleted",))


class TestedSerializer(serializers.Serializer[Any]):
    """What the provider said; the reference control plane sends nothing and has the first four alone."""

    status = serializers.ChoiceField(choices=("accepted",))
    channel_id = serializers.IntegerField()
    provider = serializers.CharField()
    preview_text = serializers.CharField()
    delivered = serializers.BooleanField(help_text="By what the provider says in its body.")
    status_code = serializers.IntegerField(allow_null=True)
    provider_code = serializers.CharField(allow_null=True)
    error = serializers.CharField(allow_null=True)


class NotifiableServicesSerializer(serializers.Serializer[Any]):
    items = ServiceScopeSerializer(many=True)


def custom_config_of(channel: Channel) -> dict[str, Any] | None:
    """The part of the options that the settings API knows; None for other providers."""
    if channel.provider != "custom":
        return None
    options = channel.options
    return {
        "method": options.get("method", "POST"),
        "query_params": list(options.get("query_params", ())),
        "body_params": list(options.get("body_params", ())),
    }


# What must hold of a channel as a whole.


@dataclass(frozen=True, slots=True)
class Merged:
    """A channel as it would be, whatever was said now and what before."""

    provider: str
    custom_config: Mapping[str, Any] | None
    event_types: Sequence[str]
    grace_s: int


def _ensure_whole(merged: Merged) -> None:
    """Raises RequestInvalid."""
    problems = []
    if (merged.provider == "custom") != (merged.custom_config is not None):
        is_missing = merged.custom_config is None
        message = (
            "custom_config is required for provider custom" if is_missing else "custom_config is for provider custom"
        )
        problems.append(problem("missing" if is_missing else "value_error", ["body", "custom_config"], message, None))
    if merged.grace_s != GRACE_DEFAULT_S and EventType.TASK_MISSED_START not in merged.event_types:
        message = f"a value other than {GRACE_DEFAULT_S} needs the event type task_missed_start"
        problems.append(problem("value_error", ["body", "missed_start_grace_seconds"], message, merged.grace_s))
    if problems:
        raise RequestInvalid(problems)


def _split(body: Mapping[str, Any], kept: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a body says of the channel and of its rule, in the names of the models. `kept` are the options of before,
    of which the settings API knows a part."""
    names = {"name": "name", "provider": "provider", "enabled": "enabled", "webhook_url": "address"}
    channel = {to: body[name] for name, to in names.items() if name in body}
    if body.get("custom_config") is not None:
        channel["options"] = {**kept, **_plain(body["custom_config"])}
    told_names = {
        "service_scopes": "service_scopes",
        "event_types": "event_types",
        "missed_start_grace_seconds": "missed_start_grace_s",
    }
    return channel, model_values({to: body[name] for name, to in told_names.items() if name in body})


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [dict(each) for each in value] if isinstance(value, list) else value for name, value in config.items()
    }


class _SettingsView(NotificationView):
    """Refusals of the services are told by the names of the body."""

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, Invalid):
            first, dot, rest = exc.field.partition(".")
            exc.field = f"{_FIELDS.get(first, first)}{dot}{rest}"
        return super().handle_exception(exc)


class NotificationChannelsView(_SettingsView):
    @endpoint("Channels, oldest first", responds=ChannelListSerializer, tagged=True)
    def get(self) -> HttpResponseBase:
        rows = channels().select_related("own_rule")
        return Response({"items": ChannelSerializer(rows, many=True).data})

    @endpoint(
        "Make a channel",
        body=ChannelBody,
        responds=ChannelSerializer,
        status=201,
        refusals=(409,),
        example={
            "name": "on call",
            "provider": "custom",
            "webhook_url": "https://hooks.example.com/portal",
            "event_types": ["task_failed", "instance_offline"],
            "service_scopes": [{"name": "web/shop", "environment": "prod"}],
            "custom_config": {"method": "POST", "body_params": [{"key": "text", "value": "{{ task_name }} failed"}]},
        },
    )
    def post(self) -> HttpResponseBase:
        """It is told of what `event_types` and `service_scopes` say, each event alone and at once; that is a rule of
        its own. Other rules may name it too."""
        body = self.body
        _ensure_whole(
            Merged(body["provider"], body.get("custom_config"), body["event_types"], body["missed_start_grace_seconds"])
        )
        channel, told = _split(body, {})
        made = create_with_rule(channel, told, actor=actor_of(self.request))
        return Response(ChannelSerializer(get_channel(made.pk)).data, status=201)


class NotificationChannelView(_SettingsView):
    @endpoint(
        "Change a channel",
        body=ChannelChangesBody,
        responds=ChannelSerializer,
        refusals=(404, 409),
        example={"event_types": ["task_failed", "task_dead_lettered"]},
    )
    def patch(self) -> HttpResponseBase:
        if not self.body:
            raise RequestInvalid([problem("value_error", ["body"], "at least one field is needed", {})])
        channel = get_channel(self.params["channel_id"])
        body, rule = self.body, getattr(channel, "own_rule", None) or Rule()
        provider = body.get("provider", channel.provider)
        is_other = provider != channel.provider
        before = None if is_other else custom_config_of(channel)
        _ensure_whole(
            Merged(
                provider,
                body.get("custom_config", before),
                body.get("event_types", rule.event_types),
                body.get("missed_start_grace_seconds", rule.missed_start_grace_s),
            )
        )
        changes, told = _split(body, {} if is_other else channel.options)
        if is_other:
            # What another provider was told, this one does not understand.
            changes.setdefault("options", {})
        changed = update_with_rule(channel, changes, told, actor=actor_of(self.request))
        return Response(ChannelSerializer(get_channel(changed.pk)).data)

    @endpoint("Delete a channel", responds=DeletedSerializer, refusals=(404,))
    def delete(self) -> HttpResponseBase:
        """What waits to be sent still goes out."""
        delete_channel(get_channel(self.params["channel_id"]), actor=actor_of(self.request))
        return Response({"status": "deleted"})


class NotificationChannelEnabledView(_SettingsView):
    @endpoint(
        "Have a channel told, or not",
        body=EnabledBody,
        responds=ChannelSerializer,
        refusals=(404,),
        example={"enabled": False},
    )
    def patch(self) -> HttpResponseBase:
        channel = get_channel(self.params["channel_id"])
        enable(channel, enabled=self.body["enabled"], actor=actor_of(self.request))
        return Response(ChannelSerializer(get_channel(channel.pk)).data)


class NotificationChannelTestView(_SettingsView):
    @endpoint(
        "Send a test",
        body=TestBody,
        responds=TestedSerializer,
        refusals=(404, 409, 429),
        example={"message": "Does this arrive?"},
    )
    def post(self) -> HttpResponseBase:
        """Really sends, and says what the provider answered. It is in the ledger like any other delivery, and counts
        against the budget: 429 where that is used up. 409 where what is kept of the channel cannot be read any more."""
        channel = get_channel(self.params["channel_id"])
        message = self.body.get("message", "")
        preview = preview_of_test(channel, message)
        verdict = send_test(channel, message)
        return Response(
            {
                "status": "accepted",
                "channel_id": channel.pk,
                "provider": channel.provider,
                "preview_text": preview.text,
                "delivered": verdict.ok,
                "status_code": verdict.status_code,
                "provider_code": verdict.provider_code or None,
                "error": verdict.error or None,
            }
        )


class NotificationServicesView(ApiView):
    path_fields: ClassVar[Mapping[str, serializers.Field[Any, Any, Any, Any]]] = {}

    @endpoint("Services that a channel can be told of", responds=NotifiableServicesSerializer, tagged=True)
    def get(self) -> HttpResponseBase:
        rows: Any = services(environments=environments_of(self.request)).order_by("environment", "name")
        return Response({"items": ServiceScopeSerializer(rows.only("name", "environment"), many=True).data})
