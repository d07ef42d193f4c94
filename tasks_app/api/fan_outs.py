"""Fan-outs: the same order for many instances of any service, and those that were given."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from agents.access import ensure_may_command
from agents.api.fleet import FleetView
from agents.api.selecting import SelectorField
from agents.api.serializers import PublicIdField, optional_text
from agents.models import Command, FanOut, FanOutTarget
from agents.models.command import CommandKind
from agents.models.instance import Connectivity
from agents.selectors.fan_outs import command_counts, fan_outs, get_fan_out, targets_of
from agents.services.groups import NAME_MAX_CHARS
from agents.services.orders import REASON_MAX_LENGTH, Order
from controlplane.access.actors import actor_of
from controlplane.access.policy import COMMANDS_NEED_OPERATOR
from controlplane.common.rest.collections import Collection, detail, detail_query, not_wanted
from controlplane.common.rest.fields import BooleanField, IdField, ObjectField, TextField, TimestampField
from controlplane.common.rest.filters import NAME_MAX, ApiFilter, Filters, any_of, exactly, named
from controlplane.common.rest.sparse import SparseSerializer
from controlplane.common.rest.views import endpoint
from tasks_app.api.orders import (
    OUTCOMES,
    QUEUE,
    SKIP,
    CommandBody,
    FanOutCountsSerializer,
    TargetSerializer,
    checked,
    targets_by_outcome,
)
from tasks_app.services.commands import Target
from tasks_app.services.fan_outs import TARGETS_MAX, Aim, Reach, expect_fan_out, fan_out_to

NOOP_CODE, NOOP_MESSAGE = "no_matching_instances", "no instance is meant"
KINDS = [(kind.value, kind.label) for kind in CommandKind]
AIMS = ("selector", "group", "instance_ids")


class FleetFanOutBody(CommandBody):
    """Exactly one of `selector`, `group` and `instance_ids` says whom it is for."""

    kind = serializers.ChoiceField(choices=CommandKind.choices)
    selector = SelectorField(required=False)
    group = TextField(required=False, max_length=NAME_MAX_CHARS, help_text="The name of a saved group.")
    instance_ids = serializers.ListField(child=IdField(), required=False, allow_empty=False, max_length=TARGETS_MAX)
    task_name = TextField(
        required=False, max_length=NAME_MAX, trim_whitespace=False, help_text="The same as `args.task_name`."
    )
    reason = TextField(max_length=REASON_MAX_LENGTH)
    offline_behavior = serializers.ChoiceField(choices=(SKIP, QUEUE), default=SKIP)
    dry_run = BooleanField(default=False, help_text="Answers what it would do, and does nothing.")

    default_error_messages = {
        "aim": "Name exactly one of selector, group and instance_ids",
        "unique": "The instances should be unique",
        "task_names": "task_name and args.task_name name different tasks",
    }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        named_aims = [name for name in AIMS if name in attrs]
        if len(named_aims) != 1:
            self._refuse(named_aims[-1] if named_aims else "selector", "aim")
        targets = attrs.get("instance_ids", ())
        if len(set(targets)) != len(targets):
            self._refuse("instance_ids", "unique")
        args = attrs["args"]
        if "task_name" in attrs:
            if args.get("task_name", attrs["task_name"]) != attrs["task_name"]:
                self._refuse("task_name", "task_names")
            args = {**args, "task_name": attrs["task_name"]}
        order = Order(
            kind=attrs["kind"],
            args=args,
            timeout_s=attrs["timeout_s"],
            hold=attrs["offline_behavior"] == QUEUE,
            reason=attrs["reason"],
        )
        return {**attrs, "order": checked(order, hold_field="offline_behavior")}

    def _refuse(self, field: str, code: str) -> None:
        raise serializers.ValidationError({field: [serializers.ErrorDetail(str(self.error_messages[code]), code)]})


class ReachSerializer(serializers.Serializer[Reach]):
    matching = serializers.IntegerField()
    online = serializers.IntegerField()
    offline = serializers.IntegerField()
    never_reported = serializers.IntegerField()
    connected = serializers.IntegerField(
        help_text="With an open control session, whatever their heartbeats say; others get no command at once."
    )
    lacking_capability = serializers.IntegerField(help_text="What they can never do, connected or not.")
    busy = serializers.IntegerField(help_text="Had tasks in flight with their last heartbeat.")


class FleetFanOutSerializer(serializers.Serializer[Any]):
    fan_out_id = serializers.CharField(allow_null=True, help_text="`fan_` and 32 hex digits; null for a dry run.")
    dry_run = serializers.BooleanField()
    kind = serializers.ChoiceField(choices=KINDS)
    target_mode = serializers.ChoiceField(choices=FanOut.Mode.choices)
    selector = serializers.CharField(allow_null=True, help_text="In canonical form; of a group the one that it has.")
    group = serializers.CharField(allow_null=True)
    offline_behavior = serializers.ChoiceField(choices=(SKIP, QUEUE))
    noop_reason_code = serializers.CharField(allow_null=True)
    noop_reason_message = serializers.CharField(allow_null=True)
    reach = ReachSerializer()
    counts = FanOutCountsSerializer()
    dispatched = TargetSerializer(many=True)
    queued = TargetSerializer(many=True)
    skipped = TargetSerializer(many=True)
    rejected = TargetSerializer(many=True)


class FanOutItemSerializer(SparseSerializer):
    """A fan-out as it was given. The context's `counts` maps its id to how many of its commands have which status."""

    fan_out_id = serializers.CharField(source="public_id", help_text="`fan_` and 32 hex digits.")
    kind = serializers.ChoiceField(choices=KINDS)
    args = ObjectField()
    task_name = optional_text()
    target_mode = serializers.ChoiceField(choices=FanOut.Mode.choices)
    service_name = serializers.CharField(source="service.name", allow_null=True)
    environment = serializers.CharField(source="service.environment", allow_null=True)
    selector = optional_text(help_text="As it read then.")
    group = optional_text(source="group_name", help_text="As it was called then.")
    retry_of = PublicIdField("fan_", source="retry_of_id", allow_null=True)
    reason = optional_text()
    offline_behavior = serializers.SerializerMethodField()
    timeout_s = serializers.IntegerField()
    created_by = optional_text(source="created_by_name")
    created_at = TimestampField()
    counts = serializers.SerializerMethodField(help_text="What became of it at each when it was given.")
    commands = serializers.SerializerMethodField(
        help_text="How many of its commands have which status now. In lists only where `fields` names it."
    )

    @extend_schema_field({"type": "string", "enum": [SKIP, QUEUE]})
    def get_offline_behavior(self, fan_out: FanOut) -> str:
        return QUEUE if fan_out.holds else SKIP

    @extend_schema_field(FanOutCountsSerializer)
    def get_counts(self, fan_out: FanOut) -> dict[str, int]:
        return {outcome: getattr(fan_out, outcome) for outcome in OUTCOMES} | {"total": fan_out.target_count}

    @extend_schema_field(
        {"type": "object", "properties": {status: {"type": "integer"} for status in Command.Status.values}}
    )
    def get_commands(self, fan_out: FanOut) -> dict[str, int]:
        counts = self.context["counts"].get(fan_out.pk, {})
        return {status: counts.get(status, 0) for status in Command.Status.values}


class FanOutFilters(Filters):
    kind = any_of("kind", CommandKind)
    target_mode = any_of("target_mode", FanOut.Mode)
    service = named("service__name", "Exact name of the service that it was given to.")
    environment = named("service__environment", "Exact name of the environment of that service.")
    group = named("group_name", "Exact name of the group, as it was called then.")
    task_name = named("task_name", "Exact name of the task.")
    created_by = named("created_by_name", "The user or token that gave it, exactly.")
    created_after = ApiFilter(TimestampField(required=False, help_text="Inclusive."), exactly("created_at__gte"))
    created_before = ApiFilter(TimestampField(required=False, help_text="Inclusive."), exactly("created_at__lte"))


def _counts(_view: FleetView, rows: Sequence[FanOut], wanted: Sequence[str]) -> Mapping[str, Any]:
    return {"counts": command_counts(rows) if not wanted or "commands" in wanted else {}}


FAN_OUTS: Collection[FanOut] = Collection(
    name="fan-outs",
    item=FanOutItemSerializer,
    filters=FanOutFilters,
    orderings={"created_at": ("created_at", "id")},
    default="-created_at",
    wide={"args": "args"},
    on_demand=frozenset({"commands"}),
    context_of=_counts,
)


class FanOutTargetSerializer(SparseSerializer):
    instance_id = serializers.UUIDField()
    node_name = serializers.CharField(source="instance.node_name")
    service_name = serializers.CharField(source="instance.service.name")
    environment = serializers.CharField(source="instance.service.environment")
    connectivity = serializers.ChoiceField(choices=Connectivity.choices, source="instance.connectivity")
    outcome = serializers.ChoiceField(choices=FanOutTarget.Outcome.choices)
    reason_code = optional_text()
    command_id = PublicIdField("cmd_", allow_null=True)
    status = serializers.ChoiceField(
        choices=Command.Status.choices,
        source="command.status",
        allow_null=True,
        default=None,
        help_text="Of the command now; null where there was none, or it is past.",
    )
    error_code = optional_text(source="command.error_code", default=None)
    finished_at = TimestampField(source="command.finished_at", allow_null=True, default=None)


class TargetFilters(Filters):
    outcome = any_of("outcome", FanOutTarget.Outcome)
    status = any_of("command__status", Command.Status, "Of the command now. One or more, by comma.")


TARGETS: Collection[FanOutTarget] = Collection(
    name="targets",
    item=FanOutTargetSerializer,
    filters=TargetFilters,
    orderings={"position": ("id",)},
    default="position",
)


class FanOutsView(FleetView):
    refusal = COMMANDS_NEED_OPERATOR

    @endpoint("Fan-outs", query=FAN_OUTS.query, responds=FAN_OUTS.page, tagged=True)
    def get(self) -> HttpResponseBase:
        return FAN_OUTS.answer(self, fan_outs(environments=self.environments))

    @endpoint(
        "Send a command to many instances",
        body=FleetFanOutBody,
        responds=FleetFanOutSerializer,
        refusals=(404, 409),
        example={"kind": "ping", "reason": "after the deploy", "selector": "env=prod,region in (eu,us)"},
    )
    def post(self) -> Response:
        """Sorts the instances into dispatched, queued, skipped and rejected; each that gets no command has a reason.

        Whom a selector or a group means is asked once, and kept with the fan-out: what matches later changes nothing.
        Archived instances are never meant by either. `shutdown` goes to `instance_ids` alone.
        """
        body, order = self.body, self.body["order"]
        ensure_may_command(self.request, order.kind)
        aim, actor = _aim(body), actor_of(self.request)
        if body["dry_run"]:
            expected = expect_fan_out(aim, order, actor=actor, environments=self.environments)
            return Response(FleetFanOutSerializer(_answer(aim, body, expected.targets, None)).data)
        made = fan_out_to(aim, order, actor=actor, environments=self.environments)
        return Response(FleetFanOutSerializer(_answer(aim, body, made.targets, made.kept)).data)


def _aim(body: Mapping[str, Any]) -> Aim:
    if "selector" in body:
        return Aim.by_selector(body["selector"])
    return Aim.by_group(body["group"]) if "group" in body else Aim.by_ids(body["instance_ids"])


def _answer(aim: Aim, body: Mapping[str, Any], targets: Sequence[Target], kept: FanOut | None) -> dict[str, object]:
    return {
        "fan_out_id": kept.public_id if kept else None,
        "dry_run": kept is None,
        "kind": body["kind"],
        "target_mode": aim.mode,
        "selector": str(aim.selector) if aim.selector is not None else None,
        "group": aim.group_name or None,
        "offline_behavior": body["offline_behavior"],
        "noop_reason_code": None if targets else NOOP_CODE,
        "noop_reason_message": None if targets else NOOP_MESSAGE,
        "reach": Reach.of(targets),
        **targets_by_outcome(targets, is_made=kept is not None),
    }


class FanOutView(FleetView):
    @endpoint(
        "One fan-out",
        query=detail_query(FanOutItemSerializer),
        responds=FanOutItemSerializer,
        refusals=(404,),
        tagged=True,
    )
    def get(self) -> HttpResponseBase:
        spared = not_wanted(self, FAN_OUTS.wide)
        found = get_fan_out(self.params["fan_out_id"], environments=self.environments, without=spared)
        return detail(self, FanOutItemSerializer, found, _counts(self, [found], self.query.get("fields", ())))


class FanOutTargetsView(FleetView):
    @endpoint("Targets of a fan-out", query=TARGETS.query, responds=TARGETS.page, refusals=(404,), tagged=True)
    def get(self) -> HttpResponseBase:
        """In the order in which they were meant. Instances that were forgotten since are missing."""
        found = get_fan_out(self.params["fan_out_id"], environments=self.environments)
        return TARGETS.answer(self, targets_of(found))
