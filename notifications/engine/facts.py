"""Fact: one event as rules, silences and cards see it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One event. `event_type` is one of EventType; where `ends` is set, the event ends trouble of that type instead.

    `labels` are the effective labels of its instance, empty where it is of none. `is_echo` marks the `task.failed` that
    follows the `task.dead_lettered` of the same message: who asked for both is told of the first alone.
    """

    event_id: str
    event_type: str
    occurred_at: datetime
    received_at: datetime
    ends: bool = False
    is_echo: bool = False
    service_id: int | None = None
    service_name: str = ""
    environment: str = ""
    instance_id: UUID | None = None
    node_name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    task_name: str = ""
    command_id: UUID | None = None
    command_kind: str = ""
    # Which channel or process of the portal, for events that are of these.
    portal_subject: str = ""
    message: str = ""
    failure_kind: str = ""
    exception_type: str = ""
    attempts: int | None = None
    duration_ms: int | None = None
    scheduled_at: datetime | None = None
    grace_s: int | None = None
    last_seen_at: datetime | None = None
    summary: str = ""
    # As (label, value), what a success says of itself.
    metrics: tuple[tuple[str, str], ...] = ()

    @property
    def subject(self) -> str:
        """What it is about: an alert holds each once."""
        if self.command_id is not None:
            return f"command:{self.command_id}"
        if self.task_name:
            return f"task:{self.service_id}:{self.task_name}"
        if self.instance_id is not None:
            return f"instance:{self.instance_id}"
        return f"portal:{self.portal_subject}"
