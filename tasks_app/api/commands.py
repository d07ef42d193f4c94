"""Sending commands: to one instance, to a service, to a task; and those that were sent. Source: contract 3."""

from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from rest_framework.response import Response

from agents.access import ensure_may_command
from agents.api.fleet import FleetView
from agents.api.queries import InstanceCommandsQuery, ServiceCommandsQuery, ServiceQuery
from agents.api.serializers import CommandSummarySerializer
from agents.models import Command
from agents.selectors.commands import commands
from agents.selectors.instances import ensure_instance_exists
from controlplane.access.actors import actor_of
from controlplane.access.policy import COMMANDS_NEED_OPERATOR
from controlplane.common.rest.cursors import Order
from controlplane.common.rest.lists import paged
from controlplane.common.rest.paging import page_serializer
from controlplane.common.rest.views import endpoint
from tasks_app.api.orders import (
    SELECTED,
    FanOutSerializer,
    InstanceCommandBody,
    ServiceCommandBody,
    TaskCommandBody,
    fan_out_answer,
)
from tasks_app.api.views import OfServiceView
from tasks_app.selectors.tasks import ensure_task_exists
from tasks_app.services.commands import fan_out, order_command

# Under which the order is kept: see fan-outs.
FAN_OUT_HEADER = "X-Fan-Out-Id"
# Making a serializer costs as much as using it ten times; one that only writes may be shared.
_made = CommandSummarySerializer()


def command_list(view: FleetView, rows: QuerySet[Command]) -> HttpResponseBase:
    """Commands, newest first."""
    order = Order(("created_at", "id"), descending=True)
    return paged(view, rows, CommandSummarySerializer, name="commands", file_order=order, is_history=True)


class InstanceCommandsView(FleetView):
    refusal = COMMANDS_NEED_OPERATOR

    @endpoint(
        "Commands to one instance",
        query=InstanceCommandsQuery,
        responds=page_serializer(CommandSummarySerializer),
        refusals=(404,),
    )
    def get(self) -> HttpResponseBase:
        instance_id = self.params["instance_id"]
        ensure_instance_exists(instance_id, environments=self.environments)
        return command_list(self, commands(instance_id=instance_id))

    @endpoint(
        "Send a command to one instance",
        body=InstanceCommandBody,
        responds=CommandSummarySerializer,
        refusals=(404, 409),
        example={"kind": "run_task_once", "args": {"task_name": "sync", "payload": {}}, "reason": "backfill"},
    )
    def post(self) -> Response:
        """The answer is the stored command, usually still pending: follow it by its id.

        `drain`, `restart` and `shutdown` need an admin, who logged in recently or shows a token of scope `admin`.
        """
        order = self.body["order"]
        ensure_may_command(self.request, order.kind)
        if self.environments is not None:
            ensure_instance_exists(self.params["instance_id"], environments=self.environments)
        command = order_command(self.params["instance_id"], order, actor=actor_of(self.request))
        return Response(_made.to_representation(command))


class FanOutView(OfServiceView):
    refusal = COMMANDS_NEED_OPERATOR

    def fan_out(self) -> Response:
        """Send the validated order to the targets that the body names."""
        order = self.body["order"]
        ensure_may_command(self.request, order.kind)
        service = self.service()
        if "task_name" in self.params:
            ensure_task_exists(service, self.params["task_name"])
        targets = self.body["target_instance_ids"] if self.body["target_mode"] == SELECTED else None
        made = fan_out(service, order, actor=actor_of(self.request), instance_ids=targets)
        # The body has the shape that clients of the reference know: what they do not is said beside it.
        headers = {FAN_OUT_HEADER: made.kept.public_id}
        return Response(FanOutSerializer(fan_out_answer(self.body, made)).data, headers=headers)


class ServiceCommandsView(FanOutView):
    @endpoint(
        "Commands to the instances of a service",
        query=ServiceCommandsQuery,
        responds=page_serializer(CommandSummarySerializer),
        refusals=(404,),
    )
    def get(self) -> HttpResponseBase:
        rows = commands(
            service=self.service(),
            instance_id=self.query.get("instance_id"),
            kind=self.query.get("kind"),
            status=self.query.get("status"),
        )
        return command_list(self, rows)

    @endpoint(
        "Send a command to instances of a service",
        query=ServiceQuery,
        body=ServiceCommandBody,
        responds=FanOutSerializer,
        refusals=(404,),
        example={"kind": "sync_now", "reason": "after the deploy", "target_mode": "all_online"},
    )
    def post(self) -> Response:
        """Sorts the instances into dispatched, queued, skipped and rejected; each that gets no command has a reason.

        Where `target_instance_ids` holds one that the service does not have, nothing is sent to anybody.
        """
        return self.fan_out()


class ServiceTaskCommandsView(FanOutView):
    @endpoint(
        "Send a task command to instances of a service",
        query=ServiceQuery,
        body=TaskCommandBody,
        responds=FanOutSerializer,
        refusals=(404,),
        example={"kind": "pause_task", "reason": "the partner is down", "target_mode": "all_online"},
    )
    def post(self) -> Response:
        """Sorts the instances into dispatched, queued, skipped and rejected; each that gets no command has a reason.

        Where `target_instance_ids` holds one that the service does not have, nothing is sent to anybody.
        """
        return self.fan_out()
