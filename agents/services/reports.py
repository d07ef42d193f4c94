"""What agents report, typed and checked, whatever the dialect said it in. Gateways build these; services store them.

Text is free of NUL and lone surrogates, identifiers keep their limits, integers fit a bigint, times are aware.
"""

from datetime import datetime
from uuid import UUID

import msgspec


class ServiceIdentity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who reports. `description` is None where the agent did not mention it and "" where it cleared it."""

    name: str
    environment: str
    node_name: str
    instance_id: UUID
    deployment_version: str
    description: str | None = None


class RuntimeFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The process at the other end."""

    agent_version: str
    python_version: str
    hostname: str
    pid: int
    started_at: datetime

    @property
    def process(self) -> tuple[str, int, datetime]:
        """What tells one process of an agent from another; compare with Session.process."""
        return (self.hostname, self.pid, self.started_at)


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """How a session begins."""

    dialect: str
    protocol_version: str
    capabilities: tuple[str, ...]
    accepted_capabilities: tuple[str, ...]
    service: ServiceIdentity
    runtime: RuntimeFacts


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A sign of life with the health the instance claims. `controls` is None where the dialect has none."""

    service: ServiceIdentity
    runtime: RuntimeFacts
    sequence: int
    sent_at: datetime
    received_at: datetime
    health: str
    uptime_s: int
    inflight_tasks: int
    controls: tuple[dict[str, object], ...] | None = None

    @property
    def epoch_at(self) -> datetime:
        """When the process started, for ordering frames of several processes of one instance.

        Never after the frame was received: a clock that once ran ahead would outrank every later process.
        """
        return min(self.runtime.started_at, self.received_at)


class TaskDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """One task of a topology; connectors are objects of kind, name and config."""

    name: str
    description: str
    source: dict[str, object] | None
    emit: tuple[dict[str, object], ...]
    concurrency: int | None
    timeout_s: float | None
    retry_policy: dict[str, object] | None


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance runs. `app` is the object as the agent sent it, cleaned, with the accepted tasks only."""

    service: ServiceIdentity
    runtime: RuntimeFacts
    sequence: int
    sent_at: datetime
    received_at: datetime
    topology_hash: str
    tasks: tuple[TaskDefinition, ...]
    app: dict[str, object]

    @property
    def epoch_at(self) -> datetime:
        """When the process started, for ordering frames of several processes of one instance.

        Never after the frame was received: a clock that once ran ahead would outrank every later process.
        """
        return min(self.runtime.started_at, self.received_at)


class CustomSample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One sample of a metric that the task's own code counts."""

    name: str
    kind: str
    value: float
    labels: dict[str, str]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What one task did in one reporting window. `reported_at` is its end by the agent's clock, where too far ahead."""

    instance_id: UUID
    service_id: int
    task_name: str
    window_id: str
    started_at: datetime
    ended_at: datetime
    received_at: datetime
    fetched: int
    started: int
    succeeded: int
    retried: int
    failed: int
    dead_lettered: int
    cancelled: int
    timeouts: int
    inflight: int
    avg_duration_ms: float | None
    p95_duration_ms: float | None
    custom_metrics: tuple[CustomSample, ...] = ()
    reported_at: datetime | None = None


class TaskEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a task. `kind` is an EventKind of the task family.

    `reported_at` is when it happened by the agent's clock, where that lies too far ahead for `occurred_at`.
    """

    instance_id: UUID
    service_id: int
    event_id: str
    kind: str
    task_name: str
    occurred_at: datetime
    received_at: datetime
    attempts: int | None
    duration_ms: int | None
    failure_kind: str
    exception_type: str
    message: str
    traceback: str
    meta: dict[str, object]
    reported_at: datetime | None = None


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """Records of a frame that were left out, and why; the frame's good records were kept."""

    session_id: UUID
    instance_id: UUID
    service_id: int
    received_at: datetime
    channel: str
    count: int
    reasons: tuple[str, ...]


Report = Heartbeat | Topology | Window | TaskEvent | Rejection
