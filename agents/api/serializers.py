"""Shapes of what agents are and do, as the API shows them. Source: contract 3.4, 4.2."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents.labels.rules import warnings_of_count
from agents.models import Command, Event, Instance, Session
from agents.models.command import CommandKind
from agents.models.event import TASK_EVENT_PREFIX, EventKind
from agents.models.instance import Connectivity, Dialect, Health
from agents.selectors.events import WIRE_EVENT_KINDS
from agents.selectors.labels import Labels, labels_of
from controlplane.common.rest.fields import ObjectField, TextField, TimestampField
from controlplane.common.rest.sparse import SparseSerializer

VIEW_STATUS_BY_HEALTH = {
    Health.OK: "running",
    Health.STARTING: "starting",
    Health.ERROR: "failed",
    # It runs, and retries or fails now and then; the field `status` says so. Source: contract W24.
    Health.DEGRADED: "running",
    Health.UNKNOWN: "stopped",
}
INSTANCE_VIEW_STATUSES = ("running", "starting", "failed", "stopped")


def optional_text(**kwargs: Any) -> TextField:
    """Text that is null where nothing is known."""
    return TextField(null_when_blank=True, **kwargs)


def optional_time(**kwargs: Any) -> TimestampField:
    return TimestampField(allow_null=True, **kwargs)


@extend_schema_field({"type": "string"})
class PublicIdField(serializers.Field[Any, Any, Any, Any]):
    """A UUID written as prefix and 32 hex digits."""

    def __init__(self, prefix: str, **kwargs: Any) -> None:
        self.prefix = prefix
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: Any) -> str:
        return f"{self.prefix}{value.hex}"


class SessionSummarySerializer(serializers.Serializer[Session]):
    session_id = serializers.CharField(source="public_id", help_text="`sess_` and 32 hex digits.")
    instance_id = serializers.UUIDField()
    node_name = optional_text(source="instance.node_name")
    hostname = optional_text(source="instance.hostname")
    status = serializers.ChoiceField(choices=Session.Status.choices)
    protocol_version = serializers.CharField()
    capabilities = serializers.ListField(child=serializers.CharField())
    accepted_capabilities = serializers.ListField(child=serializers.CharField())
    connected_at = TimestampField()
    last_hello_at = TimestampField()
    last_message_at = TimestampField()
    superseded_at = optional_time()
    disconnected_at = optional_time()
    created_at = TimestampField()
    updated_at = TimestampField()


class SessionSerializer(SparseSerializer, SessionSummarySerializer):
    """A session as the collection of all sessions shows it."""

    service_name = serializers.CharField(source="instance.service.name")
    environment = serializers.CharField(source="instance.service.environment")
    end_reason = optional_text(help_text="Why it ended.")


class InstanceSummarySerializer(serializers.Serializer[Instance]):
    instance_id = serializers.UUIDField(source="id")
    node_name = serializers.CharField()
    hostname = optional_text()
    pid = serializers.IntegerField(allow_null=True)
    deployment_version = serializers.CharField()
    onestep_version = optional_text(source="agent_version")
    python_version = optional_text()
    started_at = optional_time()
    last_sync_at = optional_time()
    last_topology_hash = optional_text()
    last_heartbeat_sent_at = optional_time()
    last_heartbeat_sequence = serializers.IntegerField(allow_null=True)
    last_seen_at = optional_time()
    status = serializers.ChoiceField(choices=Health.choices, source="health")
    connectivity = serializers.ChoiceField(choices=Connectivity.choices)
    active_session = serializers.SerializerMethodField()
    view_status = serializers.SerializerMethodField()
    created_at = TimestampField()
    updated_at = TimestampField()

    @extend_schema_field(SessionSummarySerializer(allow_null=True))
    def get_active_session(self, instance: Instance) -> Any:
        return active_session_of(instance)

    @extend_schema_field({"type": "string", "enum": list(INSTANCE_VIEW_STATUSES)})
    def get_view_status(self, instance: Instance) -> str:
        return view_status_of(instance)


def active_session_of(instance: Instance) -> Any:
    """The summary of the active session of an instance from `with_active_session`, or None."""
    sessions: list[Session] = getattr(instance, "active_sessions", [])
    return SessionSummarySerializer(sessions[0]).data if sessions else None


def view_status_of(instance: Instance) -> str:
    """One word for how the instance fares. Source: contract 4.3."""
    if instance.connectivity != Connectivity.ONLINE:
        return "stopped"
    return VIEW_STATUS_BY_HEALTH[Health(instance.health)]


class InstanceSerializer(SparseSerializer):
    """An instance of any dialect, in the words of the product."""

    id = serializers.UUIDField()
    dialect = serializers.ChoiceField(choices=Dialect.choices)
    external_id = serializers.CharField(help_text="What the agent calls itself in its dialect.")
    service_name = serializers.CharField(source="service.name")
    environment = serializers.CharField(source="service.environment")
    node_name = serializers.CharField(allow_blank=True)
    hostname = optional_text()
    pid = serializers.IntegerField(allow_null=True)
    deployment_version = optional_text()
    agent_version = optional_text()
    python_version = optional_text()
    started_at = optional_time()
    connectivity = serializers.ChoiceField(choices=Connectivity.choices)
    connectivity_changed_at = optional_time()
    last_seen_at = optional_time()
    health = serializers.ChoiceField(choices=Health.choices)
    health_changed_at = optional_time()
    uptime_s = serializers.IntegerField(allow_null=True)
    inflight_tasks = serializers.IntegerField(allow_null=True)
    conflict_seen_at = optional_time(help_text="When two live processes last claimed this identity at once.")
    last_sync_at = optional_time()
    last_topology_hash = optional_text()
    archived_at = optional_time(help_text="Since when it is left out of lists and figures.")
    created_at = TimestampField()
    updated_at = TimestampField()


def label_map(help_text: str) -> serializers.DictField:
    return serializers.DictField(child=serializers.CharField(allow_blank=True), help_text=help_text)


class LabelsSerializer(serializers.Serializer[Labels]):
    """Labels in their layers, and what wins."""

    agent = label_map("What the agent said.")
    tags = label_map("The registry labels of its node; win over the agent.")
    operator = label_map("What operators gave it; wins over both.")
    derived = label_map("What the portal says of it, below `portal/`.")
    effective = label_map("All layers in one: what selectors ask.")
    left_out = label_map("Labels of the agent, and registry labels, that cannot be labels; each with why.")
    warnings = serializers.SerializerMethodField(help_text="What is taken all the same, and is no good idea.")

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_warnings(self, labels: Labels) -> list[str]:
        return warnings_of_count(len(labels.operator))


def labels_shown(instance: Instance) -> Any:
    """The labels of an instance as the API shows them. Two queries; its service must be loaded."""
    return LabelsSerializer(labels_of([instance])[instance.pk]).data


class InstanceDetailSerializer(InstanceSerializer):
    active_session = serializers.SerializerMethodField()
    labels = serializers.SerializerMethodField()

    @extend_schema_field(SessionSummarySerializer(allow_null=True))
    def get_active_session(self, instance: Instance) -> Any:
        return active_session_of(instance)

    @extend_schema_field(LabelsSerializer())
    def get_labels(self, instance: Instance) -> Any:
        return labels_shown(instance)


class CommandSummarySerializer(serializers.Serializer[Command]):
    command_id = serializers.CharField(source="public_id", help_text="`cmd_` and 32 hex digits.")
    instance_id = serializers.UUIDField()
    node_name = optional_text(source="instance.node_name")
    session_id = PublicIdField("sess_", allow_null=True, help_text="The session that it was last sent on.")
    created_by = optional_text(source="created_by_name")
    reason = optional_text()
    source_surface = serializers.ChoiceField(choices=Command.Surface.choices)
    kind = serializers.ChoiceField(choices=CommandKind.choices)
    args = ObjectField()
    timeout_s = serializers.IntegerField()
    status = serializers.ChoiceField(choices=Command.Status.choices)
    ack_status = serializers.SerializerMethodField()
    result = ObjectField(allow_null=True)
    duration_ms = serializers.IntegerField(allow_null=True)
    error_code = optional_text()
    error_message = optional_text()
    created_at = TimestampField()
    dispatched_at = optional_time()
    acked_at = optional_time()
    finished_at = optional_time()
    updated_at = TimestampField()

    @extend_schema_field({"type": "string", "enum": Command.AckStatus.values, "nullable": True})
    def get_ack_status(self, command: Command) -> str | None:
        return command.ack_status or None


class CommandSerializer(SparseSerializer, CommandSummarySerializer):
    """A command as the collection of all commands shows it."""

    service_name = serializers.CharField(source="instance.service.name")
    environment = serializers.CharField(source="instance.service.environment")
    task_name = optional_text()
    delivery_mode = serializers.ChoiceField(choices=Command.DeliveryMode.choices)
    deadline_at = TimestampField()


class EventSummarySerializer(serializers.Serializer[Event]):
    """A task event. The context's `source_labels` maps (service id, task name) to the label of the task's source."""

    event_id = serializers.CharField()
    instance_id = serializers.UUIDField()
    task_name = serializers.CharField()
    kind = serializers.SerializerMethodField()
    occurred_at = TimestampField()
    attempts = serializers.IntegerField(allow_null=True)
    duration_ms = serializers.IntegerField(allow_null=True)
    failure_kind = optional_text()
    exception_type = optional_text()
    message = optional_text()
    traceback = optional_text()
    meta = ObjectField()
    source_label = serializers.SerializerMethodField()
    received_at = TimestampField()
    created_at = TimestampField(source="received_at")
    level = serializers.ChoiceField(choices=Event.Level.choices)

    @extend_schema_field({"type": "string", "enum": list(WIRE_EVENT_KINDS)})
    def get_kind(self, event: Event) -> str:
        return event.kind.removeprefix(TASK_EVENT_PREFIX)

    def get_source_label(self, event: Event) -> str | None:
        return event_source_label(event, self.context)


def event_source_label(event: Event, context: Mapping[str, Any]) -> str | None:
    """The label of the task's source from the context's `source_labels`, else what the event itself says."""
    label: str | None = context.get("source_labels", {}).get((event.service_id, event.task_name))
    source = event.meta.get("source") if isinstance(event.meta, dict) else None
    return label or (source if isinstance(source, str) else None)


class FleetEventSerializer(EventSummarySerializer):
    service_name = serializers.CharField(source="service.name")
    environment = serializers.CharField(source="service.environment")


class HistorySerializer(SparseSerializer):
    """An event of any kind, in the words of the product."""

    id = serializers.IntegerField(help_text="The portal's own number of it.")
    event_id = serializers.CharField(help_text="Given by whom it happened to; the same event comes under the same id.")
    kind = serializers.ChoiceField(choices=EventKind.choices)
    level = serializers.ChoiceField(choices=Event.Level.choices)
    occurred_at = TimestampField()
    received_at = TimestampField()
    service_name = serializers.CharField(source="service.name", allow_null=True)
    environment = serializers.CharField(source="service.environment", allow_null=True)
    instance_id = serializers.UUIDField(allow_null=True)
    command_id = PublicIdField("cmd_", allow_null=True)
    subject = optional_text(help_text="What a person or a program changed, as in `auth.user:3`.")
    task_name = optional_text()
    actor = optional_text(help_text="The user or token that did it, where a person did.")
    message = optional_text()
    attempts = serializers.IntegerField(allow_null=True)
    duration_ms = serializers.IntegerField(allow_null=True)
    failure_kind = optional_text()
    exception_type = optional_text()
    traceback = optional_text()
    meta = ObjectField()
