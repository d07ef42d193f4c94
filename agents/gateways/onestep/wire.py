"""The frames of `onestep-agent.v1` as they are on the wire; limits as in contract 1 and 2. Unknown keys are ignored.

Bodies that hold many records are generic in how far those are read: `Events[TaskEvent]` at once with the body, which
takes one bad record to fail, and `Events[Raw]` one by one.
"""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from controlplane.common.clean import BIGINT_MAX

PROTOCOL_VERSION = "1"
SUBPROTOCOL = "onestep-agent.v1"

Str16 = Annotated[str, Meta(min_length=1, max_length=16)]
Str64 = Annotated[str, Meta(min_length=1, max_length=64)]
Str128 = Annotated[str, Meta(min_length=1, max_length=128)]
Str255 = Annotated[str, Meta(min_length=1, max_length=255)]
Count = Annotated[int, Meta(ge=0, le=BIGINT_MAX)]
Amount = Annotated[float, Meta(ge=0)]
# Sums over many windows must stay within what databases can add up, and counters exact in a double: 1e12 ms are 31
# years.
Counter = Annotated[int, Meta(ge=0, le=2**53)]
WholeMilliseconds = Annotated[int, Meta(ge=0, le=10**12)]
Milliseconds = Annotated[float, Meta(ge=0, le=1e12)]
Environment = Literal["dev", "staging", "prod"]

# A record, or the text of one.
R = TypeVar("R")


class Envelope(Struct):
    type: str
    message_id: Str255
    sent_at: datetime
    payload: Raw


class ServiceDescriptor(Struct, gc=False):
    name: Str255
    environment: Environment
    node_name: Str255
    instance_id: UUID
    deployment_version: Str128
    description: str | None | UnsetType = UNSET


class RuntimeDescriptor(Struct, gc=False):
    onestep_version: Str64
    python_version: Str64
    hostname: Str255
    pid: Annotated[int, Meta(gt=0, le=BIGINT_MAX)]
    started_at: datetime


class ProtocolVersion(Struct):
    protocol_version: Str16


class Hello(Struct):
    protocol_version: Str16
    service: ServiceDescriptor
    runtime: RuntimeDescriptor
    capabilities: Annotated[list[Str255], Meta(max_length=512)] = []


class Telemetry(Struct):
    channel: Literal["sync", "heartbeat", "metrics", "events"]
    body: Raw


class Connector(Struct):
    kind: Str128
    name: Str255
    config: dict[str, Any] = {}


class RetryPolicy(Struct):
    kind: Str128
    config: dict[str, Any] = {}


class TaskDefinition(Struct):
    name: Str255
    description: str | None = None
    source: Connector | None = None
    emit: list[Connector] | Connector | None = None
    concurrency: Annotated[int, Meta(ge=1, le=BIGINT_MAX)] | None = None
    timeout_s: Amount | None = None
    retry: RetryPolicy | None = None


class App(Struct):
    name: Str255
    topology_hash: Str255
    tasks: list[Raw]
    shutdown_timeout_s: Amount | None = None


class Sync(Struct):
    service: ServiceDescriptor
    sent_at: datetime
    sequence: Count
    runtime: RuntimeDescriptor
    app: Raw


class TaskControl(Struct):
    task_name: Str255
    supported_commands: list[str] = []
    pause_requested: bool = False
    paused: bool = False
    accepting_new_work: bool = True
    runner_count: Count = 0
    parked_runner_count: Count = 0
    fetching_runner_count: Count = 0
    inflight_task_count: Count = 0


class HealthReport(Struct, Generic[R]):
    status: Literal["ok", "degraded", "error", "starting", "unknown"]
    uptime_s: Count
    inflight_tasks: Count
    task_controls: list[R] = []


class Heartbeat(Struct, Generic[R]):
    service: ServiceDescriptor
    sent_at: datetime
    sequence: Count
    runtime: RuntimeDescriptor
    health: HealthReport[R]


class WindowBounds(Struct):
    started_at: datetime
    ended_at: datetime


class CustomMetric(Struct, gc=False):
    name: Annotated[str, Meta(max_length=255, pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
    kind: Literal["counter", "gauge"]
    value: float
    labels: dict[str, str] = {}


class TaskMetrics(Struct, Generic[R], gc=False):
    task_name: Str255
    window_id: Str255
    fetched: Counter = 0
    started: Counter = 0
    succeeded: Counter = 0
    retried: Counter = 0
    failed: Counter = 0
    dead_lettered: Counter = 0
    cancelled: Counter = 0
    timeouts: Counter = 0
    inflight: Counter = 0
    avg_duration_ms: Milliseconds | None = None
    p95_duration_ms: Milliseconds | None = None
    custom_metrics: list[R] | None = None


class Metrics(Struct, Generic[R]):
    service: ServiceDescriptor
    sent_at: datetime
    sequence: Count
    window: WindowBounds
    tasks: list[R]


class Failure(Struct, gc=False):
    kind: str
    exception_type: str | None = None
    message: str | None = None
    traceback: str | None = None


class TaskEvent(Struct, gc=False):
    event_id: Str255
    kind: Literal["started", "failed", "retried", "dead_lettered", "cancelled", "succeeded"]
    task_name: Str255
    occurred_at: datetime
    attempts: Count | None = None
    duration_ms: WholeMilliseconds | None = None
    failure: Failure | None = None
    meta: Raw = Raw(b"{}")


class Events(Struct, Generic[R]):
    service: ServiceDescriptor
    sent_at: datetime
    sequence: Count
    events: list[R]


class WholeHeartbeat(Struct, tag_field="channel", tag="heartbeat"):
    body: Heartbeat[TaskControl]


class WholeMetrics(Struct, tag_field="channel", tag="metrics"):
    body: Metrics[TaskMetrics[CustomMetric]]


class WholeEvents(Struct, tag_field="channel", tag="events"):
    body: Events[TaskEvent]


# Telemetry whose every record is as it should be.
Whole = WholeHeartbeat | WholeMetrics | WholeEvents


class CommandAck(Struct):
    command_id: Str255
    status: Literal["accepted", "rejected"]
    received_at: datetime
    error_code: str | None = None
    error_message: str | None = None


class CommandResult(Struct):
    command_id: Str255
    status: Literal["succeeded", "failed", "timeout", "cancelled"]
    finished_at: datetime
    result: Any = None
    duration_ms: Count | None = None
    error_code: str | None = None
    error_message: str | None = None


class PresenceBeacon(Struct):
    service: ServiceDescriptor
    sent_at: datetime
