"""Shapes of services, tasks and metric windows, as the API shows them. Source: contract 4.2."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents.api.serializers import (
    EventSummarySerializer,
    InstanceSummarySerializer,
    SessionSummarySerializer,
    event_source_label,
    optional_text,
    optional_time,
)
from agents.models import Command, Event
from agents.models.instance import Connectivity, Health
from agents.selectors.events import WIRE_EVENT_KINDS
from agents.selectors.services import SERVICE_STATUSES
from controlplane.common.rest.fields import ObjectField, TimestampField, iso
from tasks_app.models import MetricWindow
from tasks_app.selectors.controls import TASK_KINDS_IN_ORDER, Controls, ControlState
from tasks_app.selectors.dashboard import CommandOverview, Dashboard
from tasks_app.selectors.figures import COUNTERS, MetricPoint
from tasks_app.selectors.history import HISTORY_KINDS, HistoryItem
from tasks_app.selectors.services import VIEW_STATUSES, FleetSummary, ServicePage, ServiceSummary
from tasks_app.selectors.tasks import TaskSummary

SERVICE_VIEW_STATUSES = tuple(VIEW_STATUSES.values())
TASK_VIEW_STATUSES = ("running", "idle", "failed", "paused", "offline")
CONTROL_FLAGS = ("pause_requested", "paused", "accepting_new_work")
CONTROL_COUNTS = ("runner_count", "parked_runner_count", "fetching_runner_count", "inflight_task_count")


def counts(names: tuple[str, ...], source: str) -> dict[str, serializers.IntegerField]:
    """Integer fields read from keys of a mapping."""
    return {name: serializers.IntegerField(source=f"{source}.{name}") for name in names}


class ServiceSummarySerializer(serializers.Serializer[ServiceSummary]):
    name = serializers.CharField(source="service.name")
    environment = serializers.CharField(source="service.environment")
    description = optional_text(source="service.description")
    latest_deployment_version = serializers.CharField(source="service.latest_deployment_version")
    service_status = serializers.ChoiceField(choices=SERVICE_STATUSES)
    latest_topology_hash = optional_text(source="service.latest_topology_hash")
    latest_sync_at = optional_time(source="service.latest_sync_at")
    instance_count = serializers.IntegerField()
    online_instance_count = serializers.IntegerField()
    last_seen_at = optional_time()
    source_kinds = serializers.ListField(child=serializers.CharField())
    task_count = serializers.IntegerField()
    failing_task_count = serializers.IntegerField()
    view_status = serializers.ChoiceField(choices=SERVICE_VIEW_STATUSES)
    success_rate = serializers.FloatField()
    throughput_per_min = serializers.FloatField()
    error_count = serializers.IntegerField()
    uptime_reference_at = optional_time(source="last_seen_at")
    online_task_count = serializers.IntegerField()
    standby_instance_count = serializers.IntegerField()
    created_at = TimestampField(source="service.created_at")
    updated_at = TimestampField(source="service.updated_at")


class FleetSummarySerializer(serializers.Serializer[FleetSummary]):
    total_services = serializers.IntegerField()
    online_services = serializers.IntegerField()
    attention_services = serializers.IntegerField()
    offline_services = serializers.IntegerField()
    ready_services = serializers.IntegerField()
    total_instances = serializers.IntegerField()
    online_instances = serializers.IntegerField()
    total_tasks = serializers.IntegerField()
    failing_tasks = serializers.IntegerField()


class ServicePageSerializer(serializers.Serializer[ServicePage]):
    total = serializers.IntegerField()
    limit = serializers.IntegerField()
    offset = serializers.IntegerField()
    items = ServiceSummarySerializer(many=True)
    source_kind_counts = serializers.DictField(
        child=serializers.IntegerField(), help_text="Services per kind of source, before `source_kind` narrows."
    )
    summary = FleetSummarySerializer(help_text="Totals over all pages.")


@extend_schema_field({"type": "array", "items": {"type": "object", "additionalProperties": {}}})
class ConnectorsField(serializers.Field[Any, Any, Any, Any]):
    """Sinks: a list of `{kind, name, config}`."""

    def to_representation(self, value: Any) -> Any:
        return value if isinstance(value, list) else [value] if value else []


class LookbackSerializer(serializers.Serializer[Any]):
    """What the figures beside it are made over."""

    lookback_minutes = serializers.IntegerField(source="lookback.minutes")
    lookback_started_at = TimestampField(source="lookback.started_at")


class EventCountsSerializer(serializers.Serializer[Any]):
    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {kind: serializers.IntegerField() for kind in WIRE_EVENT_KINDS}


class ConnectivityCountsSerializer(serializers.Serializer[Dashboard]):
    total = serializers.IntegerField(source="instance_count")
    online = serializers.IntegerField(source="connectivity.online")
    offline = serializers.IntegerField(source="connectivity.offline")
    never_reported = serializers.IntegerField(source="connectivity.never_reported")


class HealthCountsSerializer(serializers.Serializer[Any]):
    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {health: serializers.IntegerField() for health in Health.values}


class CommandStatusCountsSerializer(serializers.Serializer[CommandOverview]):
    in_flight = serializers.IntegerField()
    total = serializers.IntegerField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {**counts(tuple(Command.Status.values), "statuses"), **super().get_fields()}


class CommandOverviewSerializer(serializers.Serializer[CommandOverview]):
    statuses = CommandStatusCountsSerializer(source="*")
    active_session_count = serializers.IntegerField()
    last_command_at = optional_time()
    last_completed_at = optional_time()


class DashboardSerializer(LookbackSerializer):
    service = ServiceSummarySerializer(source="summary")
    instance_connectivity = ConnectivityCountsSerializer(source="*")
    instance_statuses = HealthCountsSerializer(source="health")
    task_count = serializers.IntegerField(source="summary.task_count")
    failing_task_count = serializers.IntegerField(source="summary.failing_task_count")
    command_overview = CommandOverviewSerializer(source="commands")
    topology_hashes = serializers.ListField(child=serializers.CharField())
    topology_consistent = serializers.BooleanField()
    recent_events = EventSummarySerializer(many=True)


class HistoryItemSerializer(serializers.Serializer[HistoryItem]):
    """An event of the runtime or a command about the task; fields of the other one are null."""

    id = serializers.CharField(help_text="`runtime:<event id>` or `command:<command id>`.")
    source_type = serializers.ChoiceField(choices=("runtime", "command"))
    instance_id = serializers.UUIDField()
    task_name = serializers.CharField()
    kind = serializers.ChoiceField(choices=HISTORY_KINDS)
    occurred_at = TimestampField()
    level = serializers.ChoiceField(choices=Event.Level.choices)
    message = optional_text()
    meta = ObjectField()
    attempts = serializers.IntegerField(source="event.attempts", allow_null=True, default=None)
    duration_ms = serializers.IntegerField(source="event.duration_ms", allow_null=True, default=None)
    failure_kind = optional_text(source="event.failure_kind", default=None)
    exception_type = optional_text(source="event.exception_type", default=None)
    traceback = optional_text(source="event.traceback", default=None)
    source_label = serializers.SerializerMethodField()
    command_id = serializers.CharField(source="command.public_id", allow_null=True, default=None)
    command_status = serializers.ChoiceField(
        choices=Command.Status.choices, source="command.status", allow_null=True, default=None
    )
    ack_status = serializers.SerializerMethodField()
    created_at = TimestampField()
    updated_at = optional_time(source="command.updated_at", default=None)

    @extend_schema_field({"type": "string", "nullable": True})
    def get_source_label(self, item: HistoryItem) -> str | None:
        return event_source_label(item.event, self.context) if item.event else None

    @extend_schema_field({"type": "string", "enum": Command.AckStatus.values, "nullable": True})
    def get_ack_status(self, item: HistoryItem) -> str | None:
        return (item.command.ack_status or None) if item.command else None


class HistoryPageSerializer(LookbackSerializer):
    total = serializers.IntegerField()
    limit = serializers.IntegerField()
    offset = serializers.IntegerField()
    items = HistoryItemSerializer(many=True)


class TaskSummarySerializer(serializers.Serializer[TaskSummary]):
    task_name = serializers.CharField(source="task.name")
    description = optional_text(source="task.description")
    source_name = optional_text(source="task.source_name")
    source_kind = optional_text(source="task.source_kind")
    source_config = ObjectField(source="task.source_config", allow_null=True)
    emit = ConnectorsField(source="task.emit")
    concurrency = serializers.IntegerField(source="task.concurrency", allow_null=True)
    timeout_s = serializers.FloatField(source="task.timeout_s", allow_null=True)
    retry_policy = ObjectField(source="task.retry_policy", allow_null=True)
    topology_hash = optional_text(source="task.topology_hash")
    metric_window_count = serializers.IntegerField(source="windows.windows")
    latest_window_started_at = optional_time()
    latest_window_ended_at = optional_time()
    fetched = serializers.IntegerField(source="windows.counters.fetched")
    started = serializers.IntegerField(source="windows.counters.started")
    succeeded = serializers.IntegerField(source="windows.counters.succeeded")
    retried = serializers.IntegerField(source="windows.counters.retried")
    failed = serializers.IntegerField(source="windows.counters.failed")
    dead_lettered = serializers.IntegerField(source="windows.counters.dead_lettered")
    cancelled = serializers.IntegerField(source="windows.counters.cancelled")
    timeouts = serializers.IntegerField(source="windows.counters.timeouts")
    weighted_avg_duration_ms = serializers.FloatField(source="windows.avg_duration_ms", allow_null=True)
    max_p95_duration_ms = serializers.FloatField(source="windows.p95_duration_ms", allow_null=True)
    last_event_at = optional_time()
    event_counts = EventCountsSerializer(source="events.counts")
    pause_requested = serializers.BooleanField(allow_null=True, help_text="Null where no online instance told.")
    supported_commands = serializers.ListField(child=serializers.ChoiceField(choices=TASK_KINDS_IN_ORDER))
    view_status = serializers.ChoiceField(choices=TASK_VIEW_STATUSES)
    success_rate = serializers.FloatField()
    throughput_per_min = serializers.FloatField()
    error_count = serializers.IntegerField()
    retry_attempts = serializers.IntegerField()
    source_label = optional_text()
    sink_label = optional_text()
    config_yaml = optional_text(help_text="The definition as text to look at.")
    uptime_reference_at = optional_time()


class TaskPageSerializer(LookbackSerializer):
    total = serializers.IntegerField()
    limit = serializers.IntegerField()
    offset = serializers.IntegerField()
    items = TaskSummarySerializer(many=True)


@dataclass(frozen=True, slots=True)
class TaskControl:
    """One task, and every instance that may run it."""

    task_name: str
    instances: Sequence[Controls]


class InstanceTaskControlSerializer(serializers.Serializer[Any]):
    """What one instance says of one task."""

    instance_id = serializers.UUIDField()
    node_name = serializers.CharField()
    connectivity = serializers.ChoiceField(choices=Connectivity.choices)
    status = serializers.ChoiceField(choices=Health.choices)
    last_seen_at = optional_time()
    supported_commands = serializers.ListField(child=serializers.ChoiceField(choices=TASK_KINDS_IN_ORDER))
    state_known = serializers.BooleanField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        fields: dict[str, serializers.Field[Any, Any, Any, Any]] = super().get_fields()
        for flag in CONTROL_FLAGS:
            fields[flag] = serializers.BooleanField(allow_null=True)
        for count in CONTROL_COUNTS:
            fields[count] = serializers.IntegerField(allow_null=True)
        return fields


class TaskControlSerializer(serializers.Serializer[TaskControl]):
    task_name = serializers.CharField()
    instances = InstanceTaskControlSerializer(many=True)

    def to_representation(self, instance: TaskControl) -> dict[str, Any]:
        """By hand: there may be thousands, for each of which the fields would take twenty times as long."""
        return {
            "task_name": instance.task_name,
            "instances": list(_control_answers(instance.instances, instance.task_name)),
        }


_STATE_FIELDS = (*CONTROL_FLAGS, *CONTROL_COUNTS)
_UNKNOWN_STATE: dict[str, Any] = dict.fromkeys(_STATE_FIELDS)


def _control_answers(instances: Sequence[Controls], task_name: str) -> Iterator[dict[str, Any]]:
    """One answer per instance. Those that say the same, which most do, share what is said."""
    said: dict[ControlState | None, dict[str, Any]] = {}
    for each in instances:
        state = each.states.get(task_name)
        answer = said.get(state)
        if answer is None:
            answer = said[state] = {"state_known": state is not None} | (
                {name: getattr(state, name) for name in _STATE_FIELDS} if state else _UNKNOWN_STATE
            )
        yield {
            "instance_id": str(each.instance_id),
            "node_name": each.node_name,
            "connectivity": each.connectivity,
            "status": each.health,
            "last_seen_at": iso(each.last_seen_at) if each.last_seen_at else None,
            "supported_commands": each.supported(task_name),
            **answer,
        }


class MetricPointSerializer(serializers.Serializer[MetricPoint]):
    bucket_started_at = TimestampField()
    bucket_ended_at = TimestampField()
    reported_window_count = serializers.IntegerField(source="figures.windows")
    inflight = serializers.IntegerField()
    avg_duration_ms = serializers.FloatField(source="figures.avg_duration_ms", allow_null=True)
    p95_duration_ms = serializers.FloatField(source="figures.p95_duration_ms", allow_null=True)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {**super().get_fields(), **counts(COUNTERS, "figures.counters")}


class MetricWindowSerializer(serializers.Serializer[MetricWindow]):
    instance_id = serializers.UUIDField()
    task_name = serializers.CharField()
    window_id = serializers.CharField()
    window_started_at = TimestampField()
    window_ended_at = TimestampField()
    fetched = serializers.IntegerField()
    started = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    retried = serializers.IntegerField()
    failed = serializers.IntegerField()
    dead_lettered = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    timeouts = serializers.IntegerField()
    inflight = serializers.IntegerField()
    avg_duration_ms = serializers.FloatField(allow_null=True)
    p95_duration_ms = serializers.FloatField(allow_null=True)
    received_at = TimestampField()
    created_at = TimestampField(source="received_at")


class TaskDetailSerializer(LookbackSerializer):
    service = ServiceSummarySerializer()
    task_name = serializers.CharField(source="summary.task.name")
    summary = TaskSummarySerializer()
    task_control = TaskControlSerializer()
    recent_metric_points = MetricPointSerializer(many=True)
    recent_metric_windows = MetricWindowSerializer(many=True)
    recent_events = EventSummarySerializer(many=True)


class ServiceInstanceDetailSerializer(LookbackSerializer):
    service = ServiceSummarySerializer()
    # The base class keeps what it serializes under this name; a declared field does not touch that.
    instance = InstanceSummarySerializer()
    latest_session = SessionSummarySerializer(allow_null=True)
    app_snapshot = ObjectField(
        allow_null=True, help_text="The app object of the last sync, with `task_control_states` of the last heartbeat."
    )
    recent_metric_windows = MetricWindowSerializer(many=True)
    recent_events = EventSummarySerializer(many=True)
