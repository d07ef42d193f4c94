"""The product's own collections: instances, sessions and commands of every dialect. Newest first, by cursor."""

from rest_framework.response import Response

from agents.api.fleet import FleetView
from agents.api.queries import CommandsQuery, InstancesQuery, SessionsQuery
from agents.api.serializers import (
    CommandSerializer,
    InstanceDetailSerializer,
    InstanceSerializer,
    SessionSerializer,
)
from agents.selectors.commands import commands, get_command
from agents.selectors.instances import get_instance, instances
from agents.selectors.sessions import sessions
from agents.services.commands import cancel_command
from controlplane.access.actors import actor_of
from controlplane.access.policy import COMMANDS_NEED_OPERATOR
from controlplane.common.rest.paging import slice_of, slice_serializer
from controlplane.common.rest.views import endpoint


class InstancesView(FleetView):
    """Newest first. `cursor` leads on: the `next_cursor` of the answer before."""

    @endpoint("Instances of every dialect", query=InstancesQuery, responds=slice_serializer(InstanceSerializer))
    def get(self) -> Response:
        query = self.query
        rows = instances(
            service_name=query.get("service"),
            environment=query.get("environment"),
            dialect=query.get("dialect"),
            connectivity=query.get("connectivity"),
            health=query.get("health"),
            text=query.get("q", ""),
            environments=self.environments,
        )
        page = slice_of(rows, moment_field="created_at", cursor=query.get("cursor"), limit=query["limit"])
        return Response(slice_serializer(InstanceSerializer)(page).data)


class InstanceView(FleetView):
    @endpoint("One instance of any dialect", responds=InstanceDetailSerializer, refusals=(404,))
    def get(self) -> Response:
        return Response(
            InstanceDetailSerializer(get_instance(self.params["instance_id"], environments=self.environments)).data
        )


class SessionsView(FleetView):
    @endpoint("Sessions of all instances", query=SessionsQuery, responds=slice_serializer(SessionSerializer))
    def get(self) -> Response:
        query = self.query
        rows = sessions(
            instance_id=query.get("instance_id"), status=query.get("status"), environments=self.environments
        )
        page = slice_of(rows, moment_field="connected_at", cursor=query.get("cursor"), limit=query["limit"])
        return Response(slice_serializer(SessionSerializer)(page).data)


class CommandsView(FleetView):
    @endpoint("Commands to all instances", query=CommandsQuery, responds=slice_serializer(CommandSerializer))
    def get(self) -> Response:
        query = self.query
        rows = commands(
            service_name=query.get("service"),
            environment=query.get("environment"),
            instance_id=query.get("instance_id"),
            task_name=query.get("task_name"),
            kind=query.get("kind"),
            status=query.get("status"),
            environments=self.environments,
        )
        page = slice_of(rows, moment_field="created_at", cursor=query.get("cursor"), limit=query["limit"])
        return Response(slice_serializer(CommandSerializer)(page).data)


class CommandView(FleetView):
    @endpoint("One command", responds=CommandSerializer, refusals=(404,))
    def get(self) -> Response:
        return Response(CommandSerializer(get_command(self.params["command_id"], environments=self.environments)).data)


class CommandCancelView(FleetView):
    """Takes back a command that was not sent yet. What an agent has received it will carry out."""

    refusal = COMMANDS_NEED_OPERATOR

    @endpoint("Cancel a pending command", responds=CommandSerializer, refusals=(404, 409))
    def post(self) -> Response:
        command = get_command(self.params["command_id"], environments=self.environments)
        cancel_command(command.pk, actor=actor_of(self.request))
        return Response(CommandSerializer(get_command(command.pk)).data)
