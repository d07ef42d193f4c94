"""Labels of instances: read in their layers; operators write their own layer."""

from collections.abc import Mapping
from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from agents.api.fleet import FleetView
from agents.api.selecting import GroupField, SelectorField
from agents.api.serializers import LabelsSerializer, labels_shown
from agents.models import Instance
from agents.selectors.instances import get_instance, instances
from agents.selectors.labels import matching
from agents.services.errors import InstanceUnknown
from agents.services.labels import (
    INSTANCES_MAX,
    LabelsChanged,
    change_operator_labels,
    patch_operator_labels,
    set_operator_labels,
)
from controlplane.access.actors import actor_of
from controlplane.common.errors import Invalid
from controlplane.common.rest.fields import BodySerializer, IdField, ObjectField, TextField
from controlplane.common.rest.views import endpoint

# How a body names the instances that are meant.
WHOM = ("instance_ids", "selector", "group")


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
class LabelsField(ObjectField):
    """Labels; which of them may be given is the service's to say."""


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string", "nullable": True}})
class LabelsPatchField(ObjectField):
    """The same, with null for what goes."""


class LabelsBody(BodySerializer):
    labels = LabelsField(help_text="All that operators give it from now on; others of theirs go.")


class LabelsPatchBody(BodySerializer):
    labels = LabelsPatchField(help_text="What operators give it beside what they gave before; null takes one off.")


class BulkLabelsBody(BodySerializer):
    """Which instances: by id, by a selector, or by a group; exactly one of these."""

    instance_ids = serializers.ListField(child=IdField(), required=False, min_length=1, max_length=INSTANCES_MAX)
    selector = SelectorField(
        required=False, help_text="As text or in its JSON form. Archived instances are never meant."
    )
    group = GroupField(required=False, help_text="The name of a saved group. Archived instances are never meant.")
    set = LabelsField(default=dict, help_text="Labels that all of them get.")
    remove = serializers.ListField(
        child=TextField(trim_whitespace=False), default=list, max_length=1000, help_text="Keys that go."
    )

    def validate(self, attrs: Mapping[str, Any]) -> Mapping[str, Any]:
        given = [name for name in WHOM if name in attrs]
        if len(given) != 1:
            raise serializers.ValidationError({"selector": "Give either instance_ids, selector or group"})
        if "selector" in attrs and not attrs["selector"]:
            message = "An empty selector means every instance; ask for a label that all of them have"
            raise serializers.ValidationError({"selector": message})
        if not attrs["set"] and not attrs["remove"]:
            raise serializers.ValidationError({"set": "Give labels to set or remove"})
        return attrs


class BulkLabelsSerializer(serializers.Serializer[LabelsChanged]):
    """What came of it."""

    instance_count = serializers.IntegerField(help_text="How many instances were meant.")
    changed_count = serializers.IntegerField(help_text="How many of them had other labels before.")
    warnings = serializers.ListField(child=serializers.CharField())


class InstanceLabelsView(FleetView):
    """Who writes last wins; to change single labels beside others who do, PATCH."""

    @endpoint("Labels of an instance", responds=LabelsSerializer, refusals=(404,), tagged=True)
    def get(self) -> HttpResponseBase:
        return Response(labels_shown(self._instance()))

    @endpoint(
        "Replace the operators' labels of an instance",
        body=LabelsBody,
        responds=LabelsSerializer,
        refusals=(404,),
        example={"labels": {"env": "prod", "team": "payments"}},
    )
    def put(self) -> Response:
        instance = self._instance()
        set_operator_labels(instance.pk, self.body["labels"], actor=actor_of(self.request))
        return Response(labels_shown(instance))

    @endpoint(
        "Change some of the operators' labels of an instance",
        body=LabelsPatchBody,
        responds=LabelsSerializer,
        refusals=(404,),
        example={"labels": {"rack": "7", "old": None}},
    )
    def patch(self) -> Response:
        instance = self._instance()
        patch_operator_labels(instance.pk, self.body["labels"], actor=actor_of(self.request))
        return Response(labels_shown(instance))

    def _instance(self) -> Instance:
        return get_instance(self.params["instance_id"], environments=self.environments)


class BulkLabelsView(FleetView):
    """For all of them or for none."""

    @endpoint(
        "Change labels of many instances",
        body=BulkLabelsBody,
        responds=BulkLabelsSerializer,
        refusals=(404,),
        example={"selector": "portal/environment=dev,!rack", "set": {"rack": "7"}, "remove": ["old"]},
    )
    def post(self) -> Response:
        done = change_operator_labels(
            self._meant(), given=self.body["set"], removed=self.body["remove"], actor=actor_of(self.request)
        )
        return Response(
            {
                "instance_count": done.instance_count,
                "changed_count": len(done.changed_ids),
                "warnings": list(done.warnings),
            }
        )

    def _meant(self) -> set[Any]:
        rows = instances(environments=self.environments)
        if by := next((name for name in ("selector", "group") if name in self.body), ""):
            found = matching(rows.filter(archived_at=None), self.body[by]).values_list("pk", flat=True)
            meant = set(found[: INSTANCES_MAX + 1])
            if len(meant) > INSTANCES_MAX:
                raise Invalid(
                    f"more than {INSTANCES_MAX} instances are meant; ask for fewer at once",
                    field=by,
                    code="too_many_instances",
                )
            return meant
        asked = set(self.body["instance_ids"])
        # What is of an environment that a token does not have does not exist for it.
        if missing := asked - set(rows.filter(pk__in=asked).values_list("pk", flat=True)):
            raise InstanceUnknown(f"instance {min(missing)} was not found")
        return asked
