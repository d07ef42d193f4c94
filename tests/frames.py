"""Frames as a OneStep agent sends them, with just what a test wants to be different."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

STARTED_AT = "2026-01-02T03:04:00Z"
SENT_AT = "2026-01-02T03:04:05Z"
CAPABILITIES = [
    "telemetry.sync",
    "telemetry.heartbeat",
    "telemetry.metrics",
    "telemetry.events",
    "command.ping",
    "command.sync_now",
    "command.pause_task",
    "command.drain",
]


class Agent:
    """One fake agent: an identity, a process, and numbers that grow."""

    def __init__(self, *, instance_id: str | None = None, name: str = "demo", environment: str = "dev", pid: int = 42):
        self.instance_id = instance_id or str(uuid.uuid4())
        self.name = name
        self.environment = environment
        self.pid = pid
        self.started_at = STARTED_AT
        self.sequence = 0

    def service(self, **changes: Any) -> dict[str, Any]:
        return {
            "name": self.name,
            "environment": self.environment,
            "node_name": "n1",
            "instance_id": self.instance_id,
            "deployment_version": "1.15.0",
        } | changes

    def runtime(self, **changes: Any) -> dict[str, Any]:
        return {
            "onestep_version": "1.15.0",
            "python_version": "3.11.7",
            "hostname": "host-1",
            "pid": self.pid,
            "started_at": self.started_at,
        } | changes

    def hello(self, **changes: Any) -> dict[str, Any]:
        payload = {
            "protocol_version": "1",
            "capabilities": CAPABILITIES,
            "service": self.service(),
            "runtime": self.runtime(),
        }
        return envelope("hello", payload | changes)

    def _body(self, changes: dict[str, Any], **fields: Any) -> dict[str, Any]:
        self.sequence += 1
        return {"service": self.service(), "sent_at": SENT_AT, "sequence": self.sequence} | fields | changes

    def heartbeat(self, *, controls: list[Any] | None = None, status: str = "ok", **changes: Any) -> dict[str, Any]:
        health = {"status": status, "uptime_s": 5, "inflight_tasks": 1, "task_controls": controls or []}
        return telemetry("heartbeat", self._body(changes, runtime=self.runtime(), health=health))

    def sync(self, *tasks: dict[str, Any], topology_hash: str = "sha256:1", **changes: Any) -> dict[str, Any]:
        app = {"name": self.name, "shutdown_timeout_s": 30, "topology_hash": topology_hash, "tasks": list(tasks)}
        return telemetry("sync", self._body(changes, runtime=self.runtime(), app=app))

    def metrics(self, *tasks: dict[str, Any], **changes: Any) -> dict[str, Any]:
        window = {"started_at": SENT_AT, "ended_at": "2026-01-02T03:04:35Z"}
        return telemetry("metrics", self._body(changes, window=window, tasks=list(tasks)))

    def events(self, *events: dict[str, Any], **changes: Any) -> dict[str, Any]:
        return telemetry("events", self._body(changes, events=list(events)))


def envelope(kind: str, payload: Any) -> dict[str, Any]:
    return {"type": kind, "message_id": "msg_1", "sent_at": SENT_AT, "payload": payload}


def telemetry(channel: str, body: Any) -> dict[str, Any]:
    return envelope("telemetry", {"channel": channel, "body": body})


def task(name: str = "tick", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "description": None,
        "source": {"kind": "interval", "name": f"{name}-source", "config": {"seconds": 2}},
        "emit": [{"kind": "memory_queue", "name": "work", "config": {}}],
        "concurrency": 1,
        "timeout_s": None,
        "retry": {"kind": "max_attempts", "config": {"max_attempts": 2, "delay_s": 0.2}},
    } | changes


def control(name: str = "tick", *commands: str, **changes: Any) -> dict[str, Any]:
    return {"task_name": name, "supported_commands": list(commands)} | changes


def window(name: str = "tick", window_id: str = "w1", **changes: Any) -> dict[str, Any]:
    return {"task_name": name, "window_id": window_id, "fetched": 2, "started": 2, "succeeded": 2} | changes


def event(kind: str = "started", event_id: str | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": event_id or uuid.uuid4().hex,
        "kind": kind,
        "task_name": "tick",
        "occurred_at": SENT_AT,
        "attempts": 0,
        "meta": {"source": "tick-source"},
    } | changes


def ack(command_id: str, status: str = "accepted", **changes: Any) -> dict[str, Any]:
    return envelope("command_ack", {"command_id": command_id, "status": status, "received_at": now()} | changes)


def result(command_id: str, status: str = "succeeded", **changes: Any) -> dict[str, Any]:
    payload = {
        "command_id": command_id,
        "status": status,
        "finished_at": now(),
        "result": {"ok": True},
        "duration_ms": 3,
    }
    return envelope("command_result", payload | changes)


def now() -> str:
    return datetime.now(tz=UTC).isoformat()


def text(frame: dict[str, Any]) -> str:
    return json.dumps(frame)
