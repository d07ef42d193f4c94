"""Bodies of the three ways to send a command, and the answer of a fan-out. Source: contract 3.1, 3.3."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from django.conf import settings
from rest_framework import serializers

from agents.models import Command
from agents.models.command import TASK_KINDS, CommandKind
from agents.models.instance import Connectivity
from agents.services.orders import REASON_MAX_LENGTH, Order, validate_order
from controlplane.common.errors import Invalid
from controlplane.common.rest.fields import BodySerializer, IdField, IntegerField, ObjectField, TextField
from tasks_app.services.commands import FannedOut, Target

# One request may name this many instances; for more there is `all_online`.
TARGETS_MAX = 10_000
OUTCOMES = ("dispatched", "queued", "skipped", "rejected")
ALL_ONLINE, SELECTED = "all_online", "selected_instances"
TARGET_MODES = (ALL_ONLINE, SELECTED)
SKIP, QUEUE = "skip", "queue"
NOOP_CODE, NOOP_MESSAGE = "no_online_instances", "no instance of the service is online"
SERVICE_KINDS = [(kind.value, kind.label) for kind in CommandKind if kind != CommandKind.SHUTDOWN]
TASK_CHOICES = [(kind.value, kind.label) for kind in CommandKind if kind in TASK_KINDS]


def checked(order: Order, *, hold_field: str) -> Order:
    """The validated order; what the service says of `hold` is said of the field that asked for it."""
    try:
        return validate_order(order)
    except Invalid as exc:
        if exc.field != "hold":
            raise
        raise Invalid(str(exc), field=hold_field, code=exc.code) from exc


class CommandBody(BodySerializer):
    """Fields that every command has. Validated, it also holds `order`."""

    args = ObjectField(default=dict)
    timeout_s = IntegerField(
        default=settings.COMMAND_TIMEOUT_DEFAULT_S, min_value=1, help_text="Seconds from now until it expires."
    )


class InstanceCommandBody(CommandBody):
    kind = serializers.ChoiceField(choices=CommandKind.choices)
    delivery_mode = serializers.ChoiceField(
        choices=Command.DeliveryMode.choices, default=Command.DeliveryMode.NOW_ONLY.value
    )
    reason = TextField(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=REASON_MAX_LENGTH,
        help_text="Required for commands that stop an instance and for those about a task.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        order = Order(
            kind=attrs["kind"],
            args=attrs["args"],
            timeout_s=attrs["timeout_s"],
            hold=attrs["delivery_mode"] == Command.DeliveryMode.HOLD,
            reason=attrs.get("reason") or "",
            surface=Command.Surface.INSTANCE,
        )
        return {**attrs, "order": checked(order, hold_field="delivery_mode")}


class FanOutBody(CommandBody):
    """A command for many instances."""

    reason = TextField(max_length=REASON_MAX_LENGTH)
    target_mode = serializers.ChoiceField(choices=TARGET_MODES)
    target_instance_ids = serializers.ListField(
        child=IdField(), default=list, max_length=TARGETS_MAX, help_text=f"Those meant by {SELECTED}, else empty."
    )
    offline_behavior = serializers.ChoiceField(choices=(SKIP, QUEUE), default=SKIP)
    surface = Command.Surface.SERVICE

    default_error_messages = {
        "unique": "The instances should be unique",
        "targets_missing": f"{SELECTED} needs at least one instance",
        "targets_unexpected": f"{ALL_ONLINE} takes no instances",
    }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        targets = attrs["target_instance_ids"]
        if len(set(targets)) != len(targets):
            self.refuse("target_instance_ids", "unique")
        if attrs["target_mode"] == SELECTED and not targets:
            self.refuse("target_instance_ids", "targets_missing")
        if attrs["target_mode"] == ALL_ONLINE and targets:
            self.refuse("target_instance_ids", "targets_unexpected")
        order = Order(
            kind=attrs["kind"],
            args=self.order_args(attrs),
            timeout_s=attrs["timeout_s"],
            hold=attrs["offline_behavior"] == QUEUE,
            reason=attrs["reason"],
            surface=self.surface,
        )
        return {**attrs, "order": checked(order, hold_field="offline_behavior")}

    def order_args(self, attrs: Mapping[str, Any]) -> dict[str, object]:
        return cast("dict[str, object]", attrs["args"])

    def refuse(self, field: str, code: str, key: str | None = None) -> None:
        problem = [serializers.ErrorDetail(str(self.error_messages[code]), code)]
        raise serializers.ValidationError({field: {key: problem} if key else problem})


class ServiceCommandBody(FanOutBody):
    kind = serializers.ChoiceField(choices=SERVICE_KINDS)


class TaskCommandBody(FanOutBody):
    """As for a service; the task is the one in the path."""

    kind = serializers.ChoiceField(choices=TASK_CHOICES)
    surface = Command.Surface.TASK

    default_error_messages = {
        "extra_forbidden": "The task is the one in the path",
        "selection_needed": f"{CommandKind.RUN_TASK_ONCE.value} needs {SELECTED}",
        "queue_forbidden": "A task command cannot wait for a reconnect",
    }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "task_name" in attrs["args"]:
            self.refuse("args", "extra_forbidden", "task_name")
        if attrs["offline_behavior"] == QUEUE:
            self.refuse("offline_behavior", "queue_forbidden")
        if attrs["kind"] == CommandKind.RUN_TASK_ONCE and attrs["target_mode"] != SELECTED:
            self.refuse("target_mode", "selection_needed")
        return super().validate(attrs)

    def order_args(self, attrs: Mapping[str, Any]) -> dict[str, object]:
        return {**attrs["args"], "task_name": self.context["params"]["task_name"]}


class TargetSerializer(serializers.Serializer[Any]):
    instance_id = serializers.UUIDField()
    node_name = serializers.CharField()
    connectivity = serializers.ChoiceField(choices=Connectivity.choices)
    session_id = serializers.CharField(allow_null=True)
    command_id = serializers.CharField(allow_null=True)
    outcome = serializers.ChoiceField(choices=OUTCOMES)
    reason_code = serializers.CharField(allow_null=True)
    reason_message = serializers.CharField(allow_null=True)


class FanOutCountsSerializer(serializers.Serializer[Any]):
    dispatched = serializers.IntegerField()
    queued = serializers.IntegerField()
    skipped = serializers.IntegerField()
    rejected = serializers.IntegerField()
    total = serializers.IntegerField()


class FanOutSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=SERVICE_KINDS)
    target_mode = serializers.ChoiceField(choices=TARGET_MODES)
    offline_behavior = serializers.ChoiceField(choices=(SKIP, QUEUE))
    noop_reason_code = serializers.CharField(allow_null=True)
    noop_reason_message = serializers.CharField(allow_null=True)
    counts = FanOutCountsSerializer()
    dispatched = TargetSerializer(many=True)
    queued = TargetSerializer(many=True)
    skipped = TargetSerializer(many=True)
    rejected = TargetSerializer(many=True)


def fan_out_answer(body: Mapping[str, Any], made: FannedOut) -> dict[str, object]:
    """A fan-out in the shape of FanOutSerializer."""
    return {
        "kind": body["kind"],
        "target_mode": body["target_mode"],
        "offline_behavior": body["offline_behavior"],
        "noop_reason_code": None if made.targets else NOOP_CODE,
        "noop_reason_message": None if made.targets else NOOP_MESSAGE,
        **targets_by_outcome(made.targets),
    }


def targets_by_outcome(targets: Sequence[Target], *, is_made: bool = True) -> dict[str, object]:
    """`counts` and the targets of each outcome; without the ids of commands that are not made."""
    by_outcome = {
        outcome: [_target(target, is_made=is_made) for target in targets if target.outcome == outcome]
        for outcome in OUTCOMES
    }
    counts = {outcome: len(found) for outcome, found in by_outcome.items()} | {"total": len(targets)}
    return {"counts": counts, **by_outcome}


def _target(target: Target, *, is_made: bool) -> dict[str, object]:
    return {
        "instance_id": target.instance.pk,
        "node_name": target.instance.node_name,
        "connectivity": target.instance.connectivity,
        "session_id": f"sess_{target.session_id.hex}" if target.session_id else None,
        "command_id": target.command.public_id if target.command and is_made else None,
        "outcome": target.outcome,
        "reason_code": target.reason_code,
        "reason_message": target.reason_message,
    }
