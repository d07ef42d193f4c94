"""The product's own collections: instances, sessions and commands of every dialect. Newest first, by cursor."""

from django.http.response import HttpResponseBase
from rest_framework.response import Response

from agents.api.filters import CommandFilters, InstanceFilters, SessionFilters
from agents.api.fleet import FleetView
from agents.api.serializers import (
    CommandSerializer,
    InstanceDetailSerializer,
    InstanceSerializer,
    SessionSerializer,
)
from agents.models import Command, Instance, Session
from agents.selectors.commands import commands, get_command
from agents.selectors.instances import get_instance, instances
from agents.selectors.sessions import sessions
from agents.services.commands import cancel_command
from controlplane.access.actors import actor_of
from controlplane.access.policy import COMMANDS_NEED_OPERATOR
from controlplane.common.rest.collections import Collection, detail, detail_query, not_wanted
from controlplane.common.rest.views import endpoint

INSTANCES: Collection[Instance] = Collection(
    name="instances",
    item=InstanceSerializer,
    filters=InstanceFilters,
    orderings={"created_at": ("created_at", "id"), "node_name": ("node_name", "id")},
    default="-created_at",
)
SESSIONS: Collection[Session] = Collection(
    name="sessions",
    item=SessionSerializer,
    filters=SessionFilters,
    orderings={"connected_at": ("connected_at", "id")},
    default="-connected_at",
    wide={"capabilities": "capabilities", "accepted_capabilities": "accepted_capabilities"},
)
COMMANDS: Collection[Command] = Collection(
    name="commands",
    item=CommandSerializer,
    filters=CommandFilters,
    orderings={"created_at": ("created_at", "id")},
    default="-created_at",
    wide={"args": "args", "result": "result", "error_message": "error_message"},
)


class InstancesView(FleetView):
    """Newest first. `cursor` leads on: the `next_cursor` of the answer before."""

    @endpoint("Instances of every dialect", query=INSTANCES.query, responds=INSTANCES.page, tagged=True)
    def get(self) -> HttpResponseBase:
        return INSTANCES.answer(self, instances(environments=self.environments, archived=self.query["archived"]))


class InstanceView(FleetView):
    @endpoint(
        "One instance of any dialect",
        query=detail_query(InstanceDetailSerializer),
        responds=InstanceDetailSerializer,
        refusals=(404,),
        tagged=True,
    )
    def get(self) -> HttpResponseBase:
        instance = get_instance(self.params["instance_id"], environments=self.environments)
        return detail(self, InstanceDetailSerializer, instance)


class SessionsView(FleetView):
    @endpoint("Sessions of all instances", query=SESSIONS.query, responds=SESSIONS.page, tagged=True)
    def get(self) -> HttpResponseBase:
        return SESSIONS.answer(self, sessions(environments=self.environments))


class CommandsView(FleetView):
    @endpoint("Commands to all instances", query=COMMANDS.query, responds=COMMANDS.page, tagged=True)
    def get(self) -> HttpResponseBase:
        return COMMANDS.answer(self, commands(environments=self.environments))


class CommandView(FleetView):
    @endpoint(
        "One command",
        query=detail_query(CommandSerializer),
        responds=CommandSerializer,
        refusals=(404,),
        tagged=True,
    )
    def get(self) -> HttpResponseBase:
        spared = not_wanted(self, COMMANDS.wide)
        command = get_command(self.params["command_id"], environments=self.environments, without=spared)
        return detail(self, CommandSerializer, command)


class CommandCancelView(FleetView):
    """Takes back a command that was not sent yet. What an agent has received it will carry out."""

    refusal = COMMANDS_NEED_OPERATOR

    @endpoint("Cancel a pending command", responds=CommandSerializer, refusals=(404, 409))
    def post(self) -> Response:
        command = get_command(self.params["command_id"], environments=self.environments)
        cancel_command(command.pk, actor=actor_of(self.request))
        return Response(CommandSerializer(get_command(command.pk)).data)
