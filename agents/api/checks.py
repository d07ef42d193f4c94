"""Trying a selector before it is used: whom it finds, and who misses it narrowly."""

from collections.abc import Mapping
from typing import Any

from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.response import Response

from agents.api.fleet import FleetView
from agents.api.selecting import GroupField, SelectorField
from agents.models.instance import Connectivity, Dialect
from agents.selectors.matches import match
from controlplane.common.rest.fields import BodySerializer
from controlplane.common.rest.views import endpoint


class SelectorCheckBody(BodySerializer):
    """A selector, or the group whose selector it is; exactly one of the two."""

    selector = SelectorField(required=False)
    group = GroupField(required=False)

    def validate(self, attrs: Mapping[str, Any]) -> Mapping[str, Any]:
        if ("selector" in attrs) == ("group" in attrs):
            code = "invalid" if "selector" in attrs else "required"
            raise serializers.ValidationError(
                {"selector": serializers.ErrorDetail("Give either selector or group", code)}
            )
        return attrs


class MatchedInstanceSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    node_name = serializers.CharField()
    dialect = serializers.ChoiceField(choices=Dialect.choices)
    service_name = serializers.CharField(source="service.name")
    environment = serializers.CharField(source="service.environment")
    connectivity = serializers.ChoiceField(choices=Connectivity.choices)


class NearInstanceSerializer(MatchedInstanceSerializer):
    """An instance that fails one requirement alone."""

    id = serializers.UUIDField(source="instance.id")
    node_name = serializers.CharField(source="instance.node_name")
    dialect = serializers.ChoiceField(choices=Dialect.choices, source="instance.dialect")
    service_name = serializers.CharField(source="instance.service.name")
    environment = serializers.CharField(source="instance.service.environment")
    connectivity = serializers.ChoiceField(choices=Connectivity.choices, source="instance.connectivity")
    value = serializers.CharField(
        source="label", allow_null=True, help_text="What its label of that key is instead; null where it has none."
    )


class RequirementCheckSerializer(serializers.Serializer[Any]):
    requirement = serializers.CharField(source="text")
    excluded = serializers.IntegerField(help_text="How many instances fail it.")


class NearMissSerializer(serializers.Serializer[Any]):
    requirement = serializers.CharField(source="text")
    key = serializers.CharField(help_text="Of the label that is asked for.")
    count = serializers.IntegerField(source="missed", help_text="How many instances fail this requirement alone.")
    examples = NearInstanceSerializer(many=True)


class SelectorCheckSerializer(serializers.Serializer[Any]):
    selector = serializers.CharField(source="selector.__str__", help_text="In canonical form.")
    selector_json = serializers.SerializerMethodField()
    instance_count = serializers.IntegerField(source="total", help_text="Of how many instances it was asked.")
    matching = serializers.IntegerField()
    requirements = RequirementCheckSerializer(many=True, source="parts")
    near_misses = NearMissSerializer(many=True, help_text="The requirements that most instances miss alone first.")
    sample = MatchedInstanceSerializer(many=True, help_text="A few that match, by name.")
    warnings = serializers.ListField(child=serializers.CharField())

    def get_selector_json(self, found: Any) -> dict[str, Any]:
        made: dict[str, Any] = found.selector.as_json()
        return made


class SelectorCheckView(FleetView):
    @endpoint(
        "Try a selector",
        body=SelectorCheckBody,
        responds=SelectorCheckSerializer,
        example={"selector": "env=prod,region in (eu,us)"},
    )
    def post(self) -> HttpResponseBase:
        """Changes nothing. The selector comes as text, in its JSON form or as a saved group; it is answered in both."""
        selector = self.body["selector"] if "selector" in self.body else self.body["group"]
        found = match(selector, environments=self.environments)
        return Response(SelectorCheckSerializer(found).data)
