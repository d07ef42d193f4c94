"""The frames of one OneStep agent as byte templates, of which only numbers, ids and times change.

Every changing field has a fixed width, so that a frame is one `%` on bytes and its header never changes.
"""

import json
import re
import time
import uuid
from dataclasses import dataclass
from typing import Any

from bench import wire

# Numbers start here, so that all of them have the same width.
FIRST_NUMBER = 1_000_000_000
TASK_COUNT = 5
CAPABILITIES = (
    "telemetry.sync",
    "telemetry.heartbeat",
    "telemetry.metrics",
    "telemetry.events",
    "command.ping",
    "command.pause_task",
    "command.resume_task",
    "command.flush_events",
)
STARTED_AT = "2026-01-02T03:04:00.000000Z"
# Places in the JSON of a template and how wide each is; a number that stands alone loses its quotes.
_NUMBER, _TIME, _COMMAND_ID = "@number@", "@time@", "@command@"
_WIDTHS = {f'"{_NUMBER}"': 10, _NUMBER: 10, _TIME: len(STARTED_AT), _COMMAND_ID: len("cmd_") + 32}
_PLACE = re.compile("|".join(_WIDTHS))


class Clock:
    """Wall-clock times as the bytes of ISO 8601 with microseconds, in UTC."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def stamp(self) -> bytes:
        second, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)).encode()
        return b"%b%06dZ" % (self._text, microseconds)


stamp = Clock().stamp


def template(frame: dict[str, Any]) -> bytes:
    """The whole frame with `%b` where its places are, in the order in which they stand in the JSON."""
    text = json.dumps(frame, separators=(",", ":")).replace("%", "%%")
    filled = _PLACE.sub(lambda place: "x" * _WIDTHS[place[0]], text)
    head = wire.header(len(filled.replace("%%", "%").encode()))
    return head.replace(b"%", b"%%") + _PLACE.sub("%b", text).encode()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an agent is. The same (run, index) is the same instance again, as after a restart of the portal."""

    run: str
    index: int
    service: str

    @property
    def instance_id(self) -> uuid.UUID:
        return uuid.uuid5(uuid.NAMESPACE_URL, f"bench/{self.run}/{self.index}")

    @property
    def descriptor(self) -> dict[str, Any]:
        return {
            "name": self.service,
            "environment": "dev",
            "node_name": f"node-{self.index}",
            "instance_id": str(self.instance_id),
            "deployment_version": "1.15.0",
        }

    @property
    def runtime(self) -> dict[str, Any]:
        return {
            "onestep_version": "1.15.0",
            "python_version": "3.11.7",
            "hostname": f"host-{self.index}",
            "pid": 1000 + self.index,
            "started_at": STARTED_AT,
        }


class AgentFrames:
    """Builds the frames of one agent, ready to be written; every call makes a new frame."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.instance_id = identity.instance_id
        self.task_count = TASK_COUNT
        self.number = FIRST_NUMBER
        self.event_number = FIRST_NUMBER
        self._event_prefix = f"{self.instance_id.hex}-{uuid.uuid5(self.instance_id, 'stream').hex}-"
        self._built: dict[tuple[str, int], bytes] = {}

    def hello(self) -> bytes:
        payload = {
            "protocol_version": "1",
            "capabilities": CAPABILITIES,
            "service": self.identity.descriptor,
            "runtime": self.identity.runtime,
        }
        now = stamp()
        return template(_envelope("hello", payload)) % (b"%d" % FIRST_NUMBER, now)

    def sync(self) -> bytes:
        """The topology, the same each time; numbers go up with each frame."""
        app = {
            "name": self.identity.service,
            "shutdown_timeout_s": 30,
            "topology_hash": f"sha256:{uuid.uuid5(uuid.NAMESPACE_URL, self.identity.service).hex * 2}",
            "tasks": [_task(number) for number in range(TASK_COUNT)],
        }
        fields = {"runtime": self.identity.runtime, "app": app}
        return self._telemetry("sync", fields) % self._next()

    def heartbeat(self) -> bytes:
        found = self._built.get(("heartbeat", 0))
        if found is None:
            health = {"status": "ok", "uptime_s": 5, "inflight_tasks": 1, "task_controls": _controls()}
            fields = {"runtime": self.identity.runtime, "health": health}
            found = self._built["heartbeat", 0] = self._telemetry("heartbeat", fields)
        return found % self._next()

    def events(self, count: int) -> bytes:
        """A frame of `count` events: task runs that start and succeed in turn."""
        found = self._built.get(("events", count))
        if found is None:
            fields = {"events": [_event(self._event_prefix, place) for place in range(count)]}
            found = self._built["events", count] = self._telemetry("events", fields)
        message, now, sent, sequence = self._next()
        first = self.event_number + 1
        self.event_number += count
        places = [message, now, sent, sequence]
        for number in range(first, first + count):
            places += (b"%d" % number, now)
        return found % tuple(places)

    def metrics(self, count: int) -> bytes:
        """A frame of one window of each of `count` tasks."""
        found = self._built.get(("metrics", count))
        if found is None:
            window = {"started_at": STARTED_AT, "ended_at": _TIME}
            fields = {"window": window, "tasks": [_window(number) for number in range(count)]}
            found = self._built["metrics", count] = self._telemetry("metrics", fields)
        message, now, sent, sequence = self._next()
        return found % (message, now, sent, sequence, now, *(sequence,) * count)

    def answers(self, command_id: str) -> bytes:
        """The acknowledgement of a command and its result, two frames."""
        found = self._built.get(("answers", 0))
        if found is None:
            ack = {"command_id": _COMMAND_ID, "status": "accepted", "received_at": _TIME}
            result = {
                "command_id": _COMMAND_ID,
                "status": "succeeded",
                "finished_at": _TIME,
                "result": {"ok": True},
                "duration_ms": 1,
            }
            found = self._built["answers", 0] = template(_envelope("command_ack", ack)) + template(
                _envelope("command_result", result)
            )
        message, now, _sent, _sequence = self._next()
        command = command_id.encode()
        return found % (message, now, command, now, message, now, command, now)

    @property
    def last_event_id(self) -> str:
        """The id of the newest event that was built."""
        return f"{self._event_prefix}{self.event_number}"

    def _next(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The places that every telemetry frame has: message id, sent, sent, sequence."""
        self.number += 1
        number, now = b"%d" % self.number, stamp()
        return number, now, now, number

    def _telemetry(self, channel: str, fields: dict[str, Any]) -> bytes:
        body = {"service": self.identity.descriptor, "sent_at": _TIME, "sequence": _NUMBER} | fields
        return template(_envelope("telemetry", {"channel": channel, "body": body}))


def _envelope(kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "message_id": f"msg_0123456789abcdef012345{_NUMBER}", "sent_at": _TIME, "payload": payload}


def _task(number: int) -> dict[str, Any]:
    return {
        "name": f"task-{number}",
        "description": "What a task of this fleet does.",
        "source": {"kind": "interval", "name": f"every-{number}", "config": {"seconds": 30, "immediate": True}},
        "emit": [{"kind": "memory_queue", "name": "work", "config": {"maxsize": 100}}],
        "concurrency": 1,
        "timeout_s": 30,
        "retry": {"kind": "max_attempts", "config": {"max_attempts": 3, "delay_s": 1}},
    }


def _controls() -> list[dict[str, Any]]:
    return [
        {
            "task_name": f"task-{number}",
            "supported_commands": ["pause_task", "resume_task"],
            "pause_requested": False,
            "paused": False,
            "accepting_new_work": True,
            "runner_count": 1,
            "parked_runner_count": 0,
            "fetching_runner_count": 1,
            "inflight_task_count": 0,
        }
        for number in range(TASK_COUNT)
    ]


def _event(prefix: str, place: int) -> dict[str, Any]:
    done = place % 2 == 1
    return {
        "event_id": f"{prefix}{_NUMBER}",
        "kind": "succeeded" if done else "started",
        "task_name": f"task-{place // 2 % TASK_COUNT}",
        "occurred_at": _TIME,
        "attempts": 0,
        "duration_ms": 12 if done else None,
        "failure": None,
        "meta": {"source": f"every-{place // 2 % TASK_COUNT}"},
    }


def _window(number: int) -> dict[str, Any]:
    return {
        "task_name": f"task-{number}",
        "window_id": f"task-{number}:{STARTED_AT}:{_NUMBER}",
        "fetched": 2,
        "started": 2,
        "succeeded": 2,
        "retried": 0,
        "failed": 0,
        "dead_lettered": 0,
        "cancelled": 0,
        "timeouts": 0,
        "inflight": 0,
        "avg_duration_ms": 11.5,
        "p95_duration_ms": 17.25,
    }
