"""Parsing the frames of `onestep-agent.v1`; pure, no I/O. Source: contract 1 and 2.

Parsing is strict where the contract is and forgiving where a rival would drop the connection: what JSON forbids but
agents send (NaN, lone surrogates) is cleaned, and a bad record is left out of its frame with a reason, not the frame.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from django.utils import timezone

from agents.gateways.onestep import wire
from agents.gateways.onestep.reading import ProtocolError, UncleanJSON, cleanly, decode, decode_whole, repair
from agents.models.command import CommandKind
from agents.models.event import TASK_EVENT_PREFIX
from agents.models.instance import Dialect
from agents.services import reports
from agents.services.clocks import AHEAD_MAX
from agents.services.reports import Report
from controlplane.common.clean import clean_json, clean_text

CUSTOM_METRICS_CAPABILITY = "telemetry.custom_metrics"
KNOWN_CAPABILITIES = frozenset(
    {
        "telemetry.sync",
        "telemetry.heartbeat",
        "telemetry.metrics",
        "telemetry.events",
        CUSTOM_METRICS_CAPABILITY,
        *(f"command.{kind}" for kind in CommandKind.values),
    }
)
RESERVED_LABELS = frozenset({"service", "environment", "task", "instance_id", "metric"})
_LABEL_KEY = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
# How many reasons one error frame and one event repeat.
REASONS_MAX = 5
# Records of one frame: tasks, controls, windows or events. The published clients send 100 at most.
RECORDS_MAX = 5_000
# Samples of custom metrics of one frame, all its windows together.
SAMPLES_MAX = 20_000
# Labels of one sample, and the characters of their names and values: a series keeps them for good.
LABELS_MAX = 32
LABELS_CHARS_MAX = 4_096
DESCRIPTION_MAX = 10_000
MESSAGE_MAX = 10_000
TRACEBACK_MAX = 100_000
META_MAX_BYTES = 64 * 1024
META_START_CHARS = 4_000

T = TypeVar("T")
W = TypeVar("W")
F = TypeVar("F", float, float | None)


@dataclass(frozen=True, slots=True)
class SessionContext:
    """Whose frames these are; what a session may speak of."""

    session_id: UUID
    instance_id: UUID
    service_id: int
    service_name: str
    environment: str


@dataclass(slots=True)
class ParsedTelemetry:
    """The records of one frame that can be stored, and why the others cannot."""

    channel: str
    reports: list[Report] = field(default_factory=list)
    rejected_count: int = 0
    reasons: list[str] = field(default_factory=list)

    @property
    def record_count(self) -> int:
        """How many records the frame had, with those left out, the tasks of a topology and the custom metrics."""
        count = len(self.reports) + self.rejected_count
        if self.channel in _NESTED:
            count += sum(len(getattr(report, _NESTED[self.channel])) for report in self.reports)
        return count

    def reject(self, index: int, error: Exception) -> None:
        """Count one record that was left out; the first REASONS_MAX also say why."""
        self.rejected_count += 1
        if len(self.reasons) < REASONS_MAX:
            self.reasons.append(f"{self.channel}[{index}]: {error}"[:300])


_NESTED = {"sync": "tasks", "metrics": "custom_metrics"}


def parse_hello(payload: msgspec.Raw) -> reports.Hello:
    """Raises a closing ProtocolError: `unsupported_protocol_version`, or `invalid_message` with where it is wrong."""
    return cleanly(_hello, payload)


def _hello(payload: msgspec.Raw) -> reports.Hello:
    version = decode(payload, wire.ProtocolVersion, closes=True).protocol_version
    if version != wire.PROTOCOL_VERSION:
        message = f"Protocol version {version} is not supported; this portal speaks {wire.PROTOCOL_VERSION}."
        raise ProtocolError("unsupported_protocol_version", message, closes=True)
    hello = decode(payload, wire.Hello, closes=True)
    capabilities = tuple(hello.capabilities)
    return reports.Hello(
        dialect=Dialect.ONESTEP,
        protocol_version=version,
        capabilities=capabilities,
        accepted_capabilities=accepted_capabilities(capabilities),
        service=_identity(hello.service),
        runtime=_closing(_runtime, hello.runtime),
    )


def accepted_capabilities(requested: Sequence[str]) -> tuple[str, ...]:
    """What this portal accepts of what was requested, in that order, and custom metrics always.

    The client never asks for custom metrics, yet sends them once the answer lists the capability.
    """
    accepted = [capability for capability in requested if capability in KNOWN_CAPABILITIES]
    if CUSTOM_METRICS_CAPABILITY not in accepted:
        accepted.append(CUSTOM_METRICS_CAPABILITY)
    return tuple(accepted)


def parse_telemetry(payload: msgspec.Raw, context: SessionContext, received_at: datetime) -> ParsedTelemetry:
    """The records of one telemetry frame.

    Raises ProtocolError: `invalid_message`, which leaves the session open, where the frame as a whole is wrong;
    `instance_conflict`, which closes it, where it speaks for another instance than the session's.
    """

    def parse(raw: msgspec.Raw) -> ParsedTelemetry:
        whole = decode_whole(raw)
        if whole is not None:
            return _body(whole.body, context, received_at)
        telemetry = decode(raw, wire.Telemetry)
        return _body(decode(telemetry.body, _BODIES[telemetry.channel]), context, received_at)

    return cleanly(parse, payload)


def parse_ack(payload: msgspec.Raw) -> wire.CommandAck:
    ack = cleanly(lambda raw: decode(raw, wire.CommandAck), payload)
    ack.received_at = _time_or_now(ack.received_at)
    return ack


def parse_result(payload: msgspec.Raw) -> wire.CommandResult:
    result = cleanly(lambda raw: decode(raw, wire.CommandResult), payload)
    result.finished_at = _time_or_now(result.finished_at)
    return result


def parse_presence(body: bytes) -> reports.ServiceIdentity:
    """Who the beacon speaks for. Raises ProtocolError. Source: contract 2.5."""
    raw = msgspec.Raw(repair(body.decode("utf-8", "replace")) if b"\\u0000" in body else body)
    return _identity(cleanly(lambda found: decode(found, wire.PresenceBeacon), raw).service)


# --- telemetry bodies


def _body(body: Any, context: SessionContext, received_at: datetime) -> ParsedTelemetry:
    """The records of a body, which are read or still text; see `wire`."""
    _require_own(body.service, context)
    return _PARSERS[type(body)](body, context, received_at)


def _parse_sync(sync: wire.Sync, _context: SessionContext, received_at: datetime) -> ParsedTelemetry:
    parts = decode(sync.app, dict[str, msgspec.Raw])
    app = decode(sync.app, wire.App)
    if app.name != sync.service.name:
        message = f"app.name is {app.name!r}, but the service is {sync.service.name!r}."
        raise ProtocolError("invalid_message", message, closes=False)
    parsed = ParsedTelemetry("sync")
    accepted = {task.name: (task, sent) for task, sent in _records(app.tasks, msgspec.Raw, _task, parsed)}
    snapshot = {name: decode(raw, object) for name, raw in parts.items() if name != "tasks"}
    snapshot["tasks"] = [sent for _task, sent in accepted.values()]
    cleaned = clean_json(snapshot)
    parsed.reports.append(
        reports.Topology(
            service=_identity(sync.service),
            runtime=_whole(_runtime, sync.runtime),
            sequence=sync.sequence,
            sent_at=_whole(_utc, sync.sent_at),
            received_at=received_at,
            topology_hash=app.topology_hash,
            tasks=tuple(task for task, _sent in accepted.values()),
            app=cleaned if isinstance(cleaned, dict) else {},
        )
    )
    return parsed


def _task(raw: msgspec.Raw) -> tuple[reports.TaskDefinition, object]:
    """What the portal reads of a task, and the task as it was sent."""
    return _definition(decode(raw, wire.TaskDefinition)), decode(raw, object)


def _definition(task: wire.TaskDefinition) -> reports.TaskDefinition:
    sinks = task.emit if isinstance(task.emit, list) else [task.emit] if task.emit else []
    return reports.TaskDefinition(
        name=task.name,
        description=clean_text(task.description or "", DESCRIPTION_MAX),
        source=_plain(task.source) if task.source else None,
        emit=tuple(_plain(sink) for sink in sinks),
        concurrency=task.concurrency,
        timeout_s=_finite(task.timeout_s),
        retry_policy=_plain(task.retry) if task.retry else None,
    )


def _plain(part: wire.Connector | wire.RetryPolicy) -> dict[str, object]:
    plain = clean_json(msgspec.to_builtins(part))
    return plain if isinstance(plain, dict) else {}


def _parse_heartbeat(
    beat: wire.Heartbeat[wire.TaskControl] | wire.Heartbeat[msgspec.Raw],
    _context: SessionContext,
    received_at: datetime,
) -> ParsedTelemetry:
    parsed = ParsedTelemetry("heartbeat")
    controls = _records(beat.health.task_controls, wire.TaskControl, msgspec.to_builtins, parsed)
    parsed.reports.append(
        reports.Heartbeat(
            service=_identity(beat.service),
            runtime=_whole(_runtime, beat.runtime),
            sequence=beat.sequence,
            sent_at=_whole(_utc, beat.sent_at),
            received_at=received_at,
            health=beat.health.status,
            uptime_s=beat.health.uptime_s,
            inflight_tasks=beat.health.inflight_tasks,
            controls=tuple(controls),
        )
    )
    return parsed


def _parse_metrics(metrics: wire.Metrics[Any], context: SessionContext, received_at: datetime) -> ParsedTelemetry:
    _require_some(metrics.tasks, "tasks")
    started_at, ended_at = _whole(_utc, metrics.window.started_at), _whole(_utc, metrics.window.ended_at)
    if ended_at < started_at:
        raise ProtocolError("invalid_message", "window.ended_at is before window.started_at.", closes=False)
    latest = received_at + AHEAD_MAX
    reported_at = ended_at if ended_at > latest else None
    started_at, ended_at = min(started_at, latest), min(ended_at, latest)
    parsed = ParsedTelemetry("metrics")
    sample_count = 0

    def window(task: wire.TaskMetrics[Any]) -> reports.Window:
        nonlocal sample_count
        sample_count += len(task.custom_metrics or ())
        if sample_count > SAMPLES_MAX:
            raise ValueError(f"more than {SAMPLES_MAX:,} custom metrics in one frame")
        samples = _records(task.custom_metrics or (), wire.CustomMetric, _sample, parsed, most=SAMPLES_MAX)
        return reports.Window(
            instance_id=context.instance_id,
            service_id=context.service_id,
            task_name=task.task_name,
            window_id=task.window_id,
            started_at=started_at,
            ended_at=ended_at,
            received_at=received_at,
            fetched=task.fetched,
            started=task.started,
            succeeded=task.succeeded,
            retried=task.retried,
            failed=task.failed,
            dead_lettered=task.dead_lettered,
            cancelled=task.cancelled,
            timeouts=task.timeouts,
            inflight=task.inflight,
            avg_duration_ms=_finite(task.avg_duration_ms),
            p95_duration_ms=_finite(task.p95_duration_ms),
            custom_metrics=tuple(samples),
            reported_at=reported_at,
        )

    parsed.reports.extend(_records(metrics.tasks, wire.TaskMetrics[msgspec.Raw], window, parsed))
    return parsed


def _sample(metric: wire.CustomMetric) -> reports.CustomSample:
    if metric.kind == "counter" and metric.value < 0:
        raise ValueError(f"counter {metric.name} is negative")
    for key in metric.labels:
        if key in RESERVED_LABELS or not _LABEL_KEY.fullmatch(key):
            raise ValueError(f"label {key[:64]!r} of {metric.name} is reserved or malformed")
    if len(metric.labels) > LABELS_MAX or sum(map(len, chain(*metric.labels.items()))) > LABELS_CHARS_MAX:
        raise ValueError(
            f"the labels of {metric.name} are more than {LABELS_MAX} or longer than {LABELS_CHARS_MAX:,} characters"
        )
    return reports.CustomSample(name=metric.name, kind=metric.kind, value=_finite(metric.value), labels=metric.labels)


def _parse_events(
    events: wire.Events[wire.TaskEvent] | wire.Events[msgspec.Raw], context: SessionContext, received_at: datetime
) -> ParsedTelemetry:
    _require_some(events.events, "events")
    latest = received_at + AHEAD_MAX
    parsed = ParsedTelemetry("events")

    def task_event(event: wire.TaskEvent) -> reports.TaskEvent:
        failure = event.failure
        meta = _meta(event.meta)
        occurred_at, reported_at = _utc(event.occurred_at), None
        if occurred_at > latest:
            occurred_at, reported_at = latest, occurred_at
            meta["reported_occurred_at"] = reported_at.isoformat()
        return reports.TaskEvent(
            instance_id=context.instance_id,
            service_id=context.service_id,
            event_id=event.event_id,
            kind=TASK_EVENT_PREFIX + event.kind,
            task_name=event.task_name,
            occurred_at=occurred_at,
            received_at=received_at,
            attempts=event.attempts,
            duration_ms=event.duration_ms,
            failure_kind=clean_text(failure.kind, 64) if failure else "",
            exception_type=clean_text(failure.exception_type or "", 255) if failure else "",
            message=clean_text(failure.message or "", MESSAGE_MAX) if failure else "",
            traceback=clean_text(failure.traceback or "", TRACEBACK_MAX) if failure else "",
            meta=meta,
            reported_at=reported_at,
        )

    parsed.reports.extend(_records(events.events, wire.TaskEvent, task_event, parsed))
    return parsed


def _meta(raw: msgspec.Raw) -> dict[str, object]:
    """The object as it was sent, or where it is too large its size and beginning."""
    size_bytes = len(raw)
    if size_bytes <= META_MAX_BYTES:
        return decode(raw, dict[str, object])
    # A character of UTF-8 has four bytes at most.
    start = bytes(memoryview(raw)[: 4 * META_START_CHARS]).decode("utf-8", "replace")[:META_START_CHARS]
    return {"truncated": True, "size_bytes": size_bytes, "start": clean_text(start)}


_BODIES: dict[str, type[Any]] = {
    "sync": wire.Sync,
    "heartbeat": wire.Heartbeat[msgspec.Raw],
    "metrics": wire.Metrics[msgspec.Raw],
    "events": wire.Events[msgspec.Raw],
}
_PARSERS: dict[type[Any], Callable[[Any, SessionContext, datetime], ParsedTelemetry]] = {
    wire.Sync: _parse_sync,
    wire.Heartbeat: _parse_heartbeat,
    wire.Metrics: _parse_metrics,
    wire.Events: _parse_events,
}


def _records(
    records: Sequence[W | msgspec.Raw],
    kind: type[W],
    build: Callable[[W], T],
    parsed: ParsedTelemetry,
    *,
    most: int = RECORDS_MAX,
) -> list[T]:
    """Build each record, read as `kind` where it is still text; one that fails is left out and counted in `parsed`.

    Raises ProtocolError for more than `most` records: nothing of the frame is stored then.
    """
    if len(records) > most:
        message = (
            f"{len(records):,} records in one {parsed.channel} frame, which may hold {most:,}; nothing was stored."
        )
        raise ProtocolError("invalid_message", message, closes=False)
    built: list[T] = []
    for index, record in enumerate(records):
        try:
            built.append(build(decode(record, kind) if isinstance(record, msgspec.Raw) else record))
        except UncleanJSON:
            raise
        except (ProtocolError, ValueError) as error:
            parsed.reject(index, error)
    return built


def _require_own(service: wire.ServiceDescriptor, context: SessionContext) -> None:
    """Nobody acts as another: a session speaks for its own instance only."""
    if (service.instance_id, service.name, service.environment) != (
        context.instance_id,
        context.service_name,
        context.environment,
    ):
        message = f"This session is instance {context.instance_id}; it may not report as {service.instance_id}."
        raise ProtocolError("instance_conflict", message, closes=True)


def _require_some(records: Sequence[object], name: str) -> None:
    if not records:
        raise ProtocolError("invalid_message", f"{name} must hold at least one entry.", closes=False)


# --- parts


def _identity(service: wire.ServiceDescriptor) -> reports.ServiceIdentity:
    description = None
    if service.description is not msgspec.UNSET:
        description = (service.description or "").strip()[:DESCRIPTION_MAX]
    return reports.ServiceIdentity(
        name=service.name,
        environment=service.environment,
        node_name=service.node_name,
        instance_id=service.instance_id,
        deployment_version=service.deployment_version,
        description=description,
    )


def _runtime(runtime: wire.RuntimeDescriptor) -> reports.RuntimeFacts:
    return reports.RuntimeFacts(
        agent_version=runtime.onestep_version,
        python_version=runtime.python_version,
        hostname=runtime.hostname,
        pid=runtime.pid,
        started_at=_utc(runtime.started_at),
    )


def _utc(value: datetime) -> datetime:
    """The moment in UTC; naive times are UTC. Raises ValueError outside what databases and calendars share."""
    try:
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("time out of range") from None
    if not _EARLIEST <= moment <= _LATEST:
        raise ValueError("time out of range")
    return moment


def _finite(value: F) -> F:
    """The number. Raises ValueError for the NaN and infinities that a loose reader makes of text."""
    if value is not None and not math.isfinite(value):
        raise ValueError("number is not finite")
    return value


def _time_or_now(value: datetime) -> datetime:
    try:
        return _utc(value)
    except ValueError:
        return timezone.now()


def _whole(build: Callable[[Any], T], part: Any) -> T:
    """A part that the whole frame needs: a ValueError spoils the frame, the session stays open."""
    try:
        return build(part)
    except ValueError as error:
        raise ProtocolError("invalid_message", str(error), closes=False) from error


def _closing(build: Callable[[Any], T], part: Any) -> T:
    try:
        return build(part)
    except ValueError as error:
        raise ProtocolError("invalid_message", str(error), closes=True) from error
