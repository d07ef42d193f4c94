"""Archiving instances and services, and taking them back."""

from rest_framework import serializers
from rest_framework.response import Response

from agents.api.fleet import FleetView
from agents.api.queries import ServiceQuery
from agents.api.serializers import InstanceDetailSerializer, optional_time
from agents.models import Instance, Service
from agents.selectors.instances import get_instance
from agents.selectors.services import get_service
from agents.services.archive import archive_instance, archive_service, restore_instance, restore_service
from controlplane.access.actors import actor_of
from controlplane.common.rest.views import endpoint


class ServiceArchiveSerializer(serializers.Serializer[Service]):
    """What became of a service. The context has `changed_instances`."""

    name = serializers.CharField()
    environment = serializers.CharField()
    archived_at = optional_time(help_text="Since when it is left out of lists and figures.")
    changed_instances = serializers.SerializerMethodField(help_text="How many instances went with it.")

    def get_changed_instances(self, _service: Service) -> int:
        changed: int = self.context["changed_instances"]
        return changed


class _InstanceView(FleetView):
    def instance(self) -> Instance:
        return get_instance(self.params["instance_id"], environments=self.environments)

    def answer(self) -> Response:
        return Response(InstanceDetailSerializer(self.instance()).data)


class InstanceArchiveView(_InstanceView):
    """It is left out of lists, figures and bulk orders until it reports again. Archiving what is archived is fine."""

    @endpoint("Archive an instance that is offline", responds=InstanceDetailSerializer, refusals=(404, 409))
    def post(self) -> Response:
        archive_instance(self.instance(), actor=actor_of(self.request))
        return self.answer()


class InstanceRestoreView(_InstanceView):
    """Takes it back into lists and figures, and its service with it. Refused while it is being forgotten."""

    @endpoint("Restore an archived instance", responds=InstanceDetailSerializer, refusals=(404, 409))
    def post(self) -> Response:
        restore_instance(self.instance(), actor=actor_of(self.request))
        return self.answer()


class _ServiceView(FleetView):
    def service(self) -> Service:
        return get_service(self.params["service_name"], self.query["environment"], environments=self.environments)

    def answer(self, changed_instances: int) -> Response:
        context = {"changed_instances": changed_instances}
        return Response(ServiceArchiveSerializer(self.service(), context=context).data)


class ServiceArchiveView(_ServiceView):
    """Refused while one of its instances is online or connected; nothing is archived then."""

    @endpoint(
        "Archive a service with all its instances",
        query=ServiceQuery,
        responds=ServiceArchiveSerializer,
        refusals=(404, 409),
    )
    def post(self) -> Response:
        return self.answer(archive_service(self.service(), actor=actor_of(self.request)))


class ServiceRestoreView(_ServiceView):
    """With the instances that were archived together with it; others stay as they are.

    Refused while it is being forgotten.
    """

    @endpoint("Restore an archived service", query=ServiceQuery, responds=ServiceArchiveSerializer, refusals=(404, 409))
    def post(self) -> Response:
        return self.answer(restore_service(self.service(), actor=actor_of(self.request)))
