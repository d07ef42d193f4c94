"""The exact fields of every answer. Source: contract 3.3, 3.4, 4.1, 4.2."""

COUNTERS = {"fetched", "started", "succeeded", "retried", "failed", "dead_lettered", "cancelled", "timeouts"}
EVENT_KINDS = {"started", "failed", "retried", "dead_lettered", "cancelled", "succeeded"}
PAGE = {"total", "limit", "offset", "items"}
LOOKBACK = {"lookback_minutes", "lookback_started_at"}
COMMAND_STATUSES = {
    "pending", "dispatched", "accepted", "expired", "rejected", "succeeded", "failed", "timeout", "cancelled",
}  # fmt: skip

SERVICE = {
    "name", "environment", "description", "latest_deployment_version", "service_status", "latest_topology_hash",
    "latest_sync_at", "instance_count", "online_instance_count", "last_seen_at", "source_kinds", "task_count",
    "failing_task_count", "view_status", "success_rate", "throughput_per_min", "error_count", "uptime_reference_at",
    "online_task_count", "standby_instance_count", "created_at", "updated_at",
}  # fmt: skip
FLEET = {
    "total_services", "online_services", "attention_services", "offline_services", "ready_services", "total_instances",
    "online_instances", "total_tasks", "failing_tasks",
}  # fmt: skip
SERVICE_PAGE = PAGE | {"source_kind_counts", "summary"}
DASHBOARD = LOOKBACK | {
    "service", "instance_connectivity", "instance_statuses", "task_count", "failing_task_count", "command_overview",
    "topology_hashes", "topology_consistent", "recent_events",
}  # fmt: skip
COMMAND_OVERVIEW = {"statuses", "active_session_count", "last_command_at", "last_completed_at"}
TASK = COUNTERS | {
    "task_name", "description", "source_name", "source_kind", "source_config", "emit", "concurrency", "timeout_s",
    "retry_policy", "topology_hash", "metric_window_count", "latest_window_started_at", "latest_window_ended_at",
    "weighted_avg_duration_ms", "max_p95_duration_ms", "last_event_at", "event_counts", "pause_requested",
    "supported_commands", "view_status", "success_rate", "throughput_per_min", "error_count", "retry_attempts",
    "source_label", "sink_label", "config_yaml", "uptime_reference_at",
}  # fmt: skip
TASK_DETAIL = LOOKBACK | {
    "service", "task_name", "summary", "task_control", "recent_metric_points", "recent_metric_windows", "recent_events",
}  # fmt: skip
TASK_CONTROL = {
    "instance_id", "node_name", "connectivity", "status", "last_seen_at", "supported_commands", "state_known",
    "pause_requested", "paused", "accepting_new_work", "runner_count", "parked_runner_count", "fetching_runner_count",
    "inflight_task_count",
}  # fmt: skip
METRIC_POINT = COUNTERS | {
    "bucket_started_at", "bucket_ended_at", "reported_window_count", "inflight", "avg_duration_ms", "p95_duration_ms",
}  # fmt: skip
METRIC_WINDOW = COUNTERS | {
    "instance_id", "task_name", "window_id", "window_started_at", "window_ended_at", "inflight", "avg_duration_ms",
    "p95_duration_ms", "received_at", "created_at",
}  # fmt: skip
EVENT = {
    "event_id", "instance_id", "task_name", "kind", "occurred_at", "attempts", "duration_ms", "failure_kind",
    "exception_type", "message", "traceback", "meta", "source_label", "received_at", "created_at", "level",
}  # fmt: skip
FLEET_EVENT = EVENT | {"service_name", "environment"}
HISTORY_ITEM = {
    "id", "source_type", "instance_id", "task_name", "kind", "occurred_at", "level", "message", "meta", "attempts",
    "duration_ms", "failure_kind", "exception_type", "traceback", "source_label", "command_id", "command_status",
    "ack_status", "created_at", "updated_at",
}  # fmt: skip
INSTANCE = {
    "instance_id", "node_name", "hostname", "pid", "deployment_version", "onestep_version", "python_version",
    "started_at", "last_sync_at", "last_topology_hash", "last_heartbeat_sent_at", "last_heartbeat_sequence",
    "last_seen_at", "status", "connectivity", "active_session", "view_status", "created_at", "updated_at",
}  # fmt: skip
INSTANCE_DETAIL = LOOKBACK | {
    "service", "instance", "latest_session", "app_snapshot", "recent_metric_windows", "recent_events",
}  # fmt: skip
SESSION = {
    "session_id", "instance_id", "node_name", "hostname", "status", "protocol_version", "capabilities",
    "accepted_capabilities", "connected_at", "last_hello_at", "last_message_at", "superseded_at", "disconnected_at",
    "created_at", "updated_at",
}  # fmt: skip
COMMAND = {
    "command_id", "instance_id", "node_name", "session_id", "created_by", "reason", "source_surface", "kind", "args",
    "timeout_s", "status", "ack_status", "result", "duration_ms", "error_code", "error_message", "created_at",
    "dispatched_at", "acked_at", "finished_at", "updated_at",
}  # fmt: skip
FAN_OUT = {
    "kind", "target_mode", "offline_behavior", "noop_reason_code", "noop_reason_message", "counts", "dispatched",
    "queued", "skipped", "rejected",
}  # fmt: skip
TARGET = {
    "instance_id", "node_name", "connectivity", "session_id", "command_id", "outcome", "reason_code", "reason_message",
}  # fmt: skip
