"""The fleet by what it runs, and who of it may be gone or there twice."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from agents.api.filters import InventoryFilters
from agents.api.fleet import FleetView
from agents.api.queries import name
from agents.api.selecting import GroupField, SelectorTextField
from agents.api.serializers import InstanceSerializer, optional_text, optional_time
from agents.models import Instance, InstanceFacts
from agents.models.instance import Connectivity, Dialect
from agents.selectors.facts import LISTED_MAX_BYTES, facts_of, listed_facts
from agents.selectors.instances import instances
from agents.selectors.inventory import Composition, Scope, capabilities
from agents.selectors.suspects import WHAT_TO_DO, WHY, duplicates, stale
from controlplane.common.rest.collections import Collection
from controlplane.common.rest.fields import FlagField, ObjectField, QuerySerializer, iso
from controlplane.common.rest.sparse import SparseSerializer
from controlplane.common.rest.views import endpoint


class ScopeQuery(QuerySerializer):
    """Which part of the fleet; all of it where nothing is given."""

    dialect = serializers.ChoiceField(choices=Dialect.choices, required=False)
    environment = name(help_text="Exact name of the environment.")
    service = name(help_text="Exact name of the service.")
    selector = SelectorTextField(required=False)
    group = GroupField(required=False)


class VersionsQuery(ScopeQuery):
    by_service = FlagField(help_text="Whether services are told apart.")


class ScopeView(FleetView):
    @property
    def scope(self) -> Scope:
        named = {key: self.query[key] for key in ("dialect", "environment", "service") if key in self.query}
        selectors = tuple(self.query[key] for key in ("selector", "group") if key in self.query)
        return Scope(**named, selectors=selectors, environments=self.environments)


class InstanceFactsSerializer(serializers.Serializer[InstanceFacts]):
    instance_id = serializers.UUIDField()
    facts = ObjectField(help_text="What the instance says of itself and its host, as it came.")
    changed_at = optional_time(help_text="When they were last other than before; null where there are none.")


class InstanceFactsView(FleetView):
    @endpoint("Facts of one instance", responds=InstanceFactsSerializer, refusals=(404,), tagged=True)
    def get(self) -> Response:
        found = facts_of(self.params["instance_id"], environments=self.environments)
        return Response(InstanceFactsSerializer(found).data)


class InventorySerializer(SparseSerializer):
    """An instance with its facts."""

    id = serializers.UUIDField()
    dialect = serializers.ChoiceField(choices=Dialect.choices)
    external_id = serializers.CharField()
    service_name = serializers.CharField(source="service.name")
    environment = serializers.CharField(source="service.environment")
    node_name = serializers.CharField(allow_blank=True)
    hostname = optional_text()
    connectivity = serializers.ChoiceField(choices=Connectivity.choices)
    facts = serializers.SerializerMethodField(
        help_text=f"Null where they are larger than {LISTED_MAX_BYTES} bytes: ask `/instances/{{id}}/facts` for those."
    )
    facts_bytes = serializers.SerializerMethodField(help_text="How large they are as JSON.")
    facts_changed_at = serializers.SerializerMethodField()

    @extend_schema_field({"type": "object", "additionalProperties": {}, "nullable": True})
    def get_facts(self, instance: Instance) -> dict[str, Any] | None:
        found = self._facts(instance)
        return found.facts if found else {}

    @extend_schema_field({"type": "integer"})
    def get_facts_bytes(self, instance: Instance) -> int:
        found = self._facts(instance)
        return found.facts_bytes if found else 0

    @extend_schema_field({"type": "string", "format": "date-time", "nullable": True})
    def get_facts_changed_at(self, instance: Instance) -> str | None:
        found = self._facts(instance)
        return iso(found.changed_at) if found else None

    def _facts(self, instance: Instance) -> InstanceFacts | None:
        found: InstanceFacts | None = self.context["facts"].get(instance.pk)
        return found


_OF_FACTS = frozenset({"facts", "facts_bytes", "facts_changed_at"})


def _facts_context(_view: Any, rows: Sequence[Instance], wanted: Sequence[str]) -> Mapping[str, Any]:
    is_asked = not wanted or not _OF_FACTS.isdisjoint(wanted)
    return {"facts": listed_facts(rows) if is_asked else {}}


INVENTORY: Collection[Instance] = Collection(
    name="inventory",
    item=InventorySerializer,
    filters=InventoryFilters,
    orderings={"created_at": ("created_at", "id"), "node_name": ("node_name", "id")},
    default="-created_at",
    context_of=_facts_context,
)


class InventoryView(FleetView):
    """Newest first. `cursor` leads on: the `next_cursor` of the answer before."""

    @endpoint("Instances with their facts", query=INVENTORY.query, responds=INVENTORY.page, tagged=True)
    def get(self) -> HttpResponseBase:
        rows = instances(environments=self.environments, archived=self.query["archived"])
        return INVENTORY.answer(self, rows)


class FleetPartSerializer(serializers.Serializer[Any]):
    dialect = serializers.CharField()
    environment = serializers.CharField()
    instances = serializers.IntegerField()
    online = serializers.IntegerField()
    offline = serializers.IntegerField()
    never_reported = serializers.IntegerField()


class VersionCountSerializer(serializers.Serializer[Any]):
    dialect = serializers.CharField()
    environment = serializers.CharField()
    service_name = optional_text(help_text="Null unless `by_service` is true.")
    version = optional_text(help_text="Null where the instance did not say.")
    instances = serializers.IntegerField()
    online = serializers.IntegerField()


class VersionsOfFieldSerializer(serializers.Serializer[Any]):
    items = VersionCountSerializer(many=True, help_text="The commonest first.")
    left_out = serializers.IntegerField(help_text="Instances of those versions that are too rare to be listed.")


class VersionOnlineSerializer(serializers.Serializer[Any]):
    deployment_version = optional_text()
    agent_version = optional_text()
    online = serializers.IntegerField()


class DriftSerializer(serializers.Serializer[Any]):
    service_name = serializers.CharField()
    environment = serializers.CharField()
    versions = serializers.SerializerMethodField()

    @extend_schema_field(VersionOnlineSerializer(many=True))
    def get_versions(self, drift: Any) -> list[dict[str, Any]]:
        return [
            {"deployment_version": deployment or None, "agent_version": agent or None, "online": count}
            for deployment, agent, count in drift.versions
        ]


class VersionsSerializer(serializers.Serializer[Any]):
    fleet = FleetPartSerializer(many=True)
    agent_version = VersionsOfFieldSerializer()
    deployment_version = VersionsOfFieldSerializer()
    python_version = VersionsOfFieldSerializer()
    mixed_services = serializers.IntegerField(help_text="Services whose online instances differ in version.")
    mixed = DriftSerializer(many=True, help_text="The first of those services.")


class VersionsView(ScopeView):
    """How many instances run each version, and in which services they differ. Archived ones do not count."""

    @endpoint("Versions in the fleet", query=VersionsQuery, responds=VersionsSerializer)
    def get(self) -> Response:
        composition = Composition(self.scope)
        mixed_services, mixed = composition.drifts()
        found = {each.field: each for each in composition.versions(by_service=self.query.get("by_service", False))}
        answer = {**found, "fleet": composition.parts(), "mixed_services": mixed_services, "mixed": mixed}
        return Response(VersionsSerializer(answer).data)


class CapabilityCountSerializer(serializers.Serializer[Any]):
    capability = serializers.CharField()
    sessions = serializers.IntegerField()


class LackingSerializer(serializers.Serializer[Any]):
    instance_id = serializers.UUIDField(source="instance.id")
    node_name = serializers.CharField(source="instance.node_name")
    service_name = serializers.CharField(source="instance.service.name")
    environment = serializers.CharField(source="instance.service.environment")
    capabilities = serializers.ListField(child=serializers.CharField(), help_text="What it lacks.")


class CapabilitiesSerializer(serializers.Serializer[Any]):
    sessions = serializers.IntegerField(help_text="Live sessions.")
    items = serializers.SerializerMethodField()
    lacking_count = serializers.IntegerField(
        help_text="Sessions that lack what more than half of their service accept."
    )
    lacking = LackingSerializer(many=True, help_text="The first of them.")

    @extend_schema_field(CapabilityCountSerializer(many=True))
    def get_items(self, found: Any) -> list[dict[str, Any]]:
        return [{"capability": capability, "sessions": sessions} for capability, sessions in found.counts]


class CapabilitiesView(ScopeView):
    """How many live sessions accept each capability, and who lacks one that most of its service have."""

    @endpoint("Capabilities in the fleet", query=ScopeQuery, responds=CapabilitiesSerializer)
    def get(self) -> Response:
        return Response(CapabilitiesSerializer(capabilities(self.scope)).data)


class SuspectSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(source="why")
    why = serializers.SerializerMethodField()
    what_to_do = serializers.SerializerMethodField()

    def get_why(self, suspect: Any) -> str:
        return WHY[suspect.why]

    def get_what_to_do(self, suspect: Any) -> str:
        return WHAT_TO_DO[suspect.why]


class StaleSerializer(SuspectSerializer):
    instance = InstanceSerializer()


class DuplicateSerializer(SuspectSerializer):
    shared = serializers.CharField(help_text="What they have in common.")
    count = serializers.IntegerField()
    instances = InstanceSerializer(many=True, help_text="The first of them, the last seen first.")


class StaleListSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField(help_text="Of all.")
    items = StaleSerializer(many=True, help_text="The longest silent first, up to a bound.")


class DuplicateListSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField(help_text="Groups in all.")
    items = DuplicateSerializer(many=True, help_text="The largest groups, up to a bound.")


class SuspectsSerializer(serializers.Serializer[Any]):
    stale = StaleListSerializer()
    duplicates = DuplicateListSerializer()


class SuspectsView(ScopeView):
    """Instances that were not heard of for STALE_AFTER_DAYS, and those that may be there twice; none is archived."""

    @endpoint("Instances that may be gone or there twice", query=ScopeQuery, responds=SuspectsSerializer)
    def get(self) -> Response:
        stale_count, stale_ones = stale(self.scope, now=timezone.now())
        duplicate_count, groups = duplicates(self.scope)
        answer = {
            "stale": {"count": stale_count, "items": stale_ones},
            "duplicates": {"count": duplicate_count, "items": groups},
        }
        return Response(SuspectsSerializer(answer).data)
