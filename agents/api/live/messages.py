"""What goes over the wire: server-sent events, unnamed, each one JSON object with `channel` and `published_at`.

Source: contract 6, whose two channels and two keys are kept. Everything else is beside them.
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from agents.models.event import ROUTINE_KINDS, EventKind
from agents.selectors.stream import Cursor, Position, StreamedEvent
from controlplane.common.rest.fields import iso


class Channel(enum.StrEnum):
    """What an event is about. As a filter, EVENTS takes all of them."""

    SERVICES = "services"
    INSTANCES = "instances"
    SESSIONS = "sessions"
    COMMANDS = "commands"
    TASKS = "tasks"
    JOBS = "jobs"
    EVENTS = "events"


class Control(enum.StrEnum):
    """Channels of what the stream says of itself; they pass every filter."""

    STATUS = "status"
    RESET = "reset"
    CLOSED = "closed"


# The families of event kinds, by what stands before the dot. One event is one message: a client that takes each message
# for a reason to fetch again would otherwise fetch twice, and two messages could not share the id to go on from.
CHANNEL_OF_FAMILY: Final[Mapping[str, Channel]] = {
    "service": Channel.SERVICES,
    "instance": Channel.INSTANCES,
    "session": Channel.SESSIONS,
    "command": Channel.COMMANDS,
    "task": Channel.TASKS,
    "job": Channel.JOBS,
}
STREAMED_KINDS: Final = tuple(kind for kind in EventKind.values if kind not in ROUTINE_KINDS)


def channel_of(kind: str) -> Channel:
    """The most specific channel of an event; EVENTS where no other is about it."""
    return CHANNEL_OF_FAMILY.get(kind.partition(".")[0], Channel.EVENTS)


@dataclass(frozen=True, slots=True)
class Filter:
    """What a client asked for; None asks for everything."""

    channels: frozenset[Channel] | None = None
    environment: str | None = None
    service: str | None = None
    instance_id: UUID | None = None
    kind: str | None = None
    level: str | None = None

    def takes(self, event: StreamedEvent) -> bool:
        return (
            (self.channels is None or Channel.EVENTS in self.channels or channel_of(event.kind) in self.channels)
            and (self.environment is None or self.environment == event.environment)
            and (self.service is None or self.service == event.service_name)
            and (self.instance_id is None or self.instance_id == event.instance_id)
            and (self.kind is None or self.kind == event.kind)
            and (self.level is None or self.level == event.level)
        )


@dataclass(frozen=True, slots=True)
class Message:
    """An event as every client of a process gets it: the bytes are made once."""

    event: StreamedEvent
    frame: bytes

    @property
    def position(self) -> Position:
        return self.event.position


def event_message(event: StreamedEvent, *, life: str, now: datetime) -> Message:
    in_service = event.service_name is not None
    body = {
        "channel": channel_of(event.kind),
        "published_at": iso(now),
        "event_id": event.event_id,
        "kind": event.kind,
        "level": event.level,
        "occurred_at": iso(event.occurred_at),
        "service": {"name": event.service_name, "environment": event.environment} if in_service else None,
        "instance_id": event.instance_id and str(event.instance_id),
        "command_id": event.command_id and f"cmd_{event.command_id.hex}",
        "task_name": event.task_name or None,
        "message": event.message or None,
    }
    return Message(event, _frame(body, Cursor(life, event.position, int(now.timestamp()))))


def control_frame(
    control: Control, *, now: datetime, cursor: Cursor | None = None, retry_ms: int | None = None, **facts: object
) -> bytes:
    """A message of the stream about itself: go on from `cursor`, and wait `retry_ms` before coming again."""
    body = {"channel": control, "published_at": iso(now), **facts}
    hint = b"" if retry_ms is None else b"retry: %d\n" % retry_ms
    return hint + _frame(body, cursor)


def keepalive_frame(cursor: Cursor | None) -> bytes:
    """A comment. The id beside it moves what a browser goes on from, and is no message without data."""
    return b": keepalive\n" + (f"id: {cursor}\n" if cursor else "").encode() + b"\n"


def _frame(body: Mapping[str, Any], cursor: Cursor | None) -> bytes:
    place = f"id: {cursor}\n" if cursor else ""
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    # What is not valid Unicode is escaped as JSON would have it.
    return f"{place}data: {data}\n\n".encode("utf-8", "backslashreplace")
