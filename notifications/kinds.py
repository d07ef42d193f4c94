"""Which kinds of events can be told, and as what."""

from collections.abc import Mapping
from typing import Final

from agents.models.event import EventKind
from notifications.models import EventType

KIND_OF_TYPE: Final[Mapping[EventType, EventKind]] = {
    EventType.TASK_STARTED: EventKind.TASK_STARTED,
    EventType.TASK_SUCCEEDED: EventKind.TASK_SUCCEEDED,
    EventType.TASK_FAILED: EventKind.TASK_FAILED,
    EventType.TASK_RETRIED: EventKind.TASK_RETRIED,
    EventType.TASK_DEAD_LETTERED: EventKind.TASK_DEAD_LETTERED,
    EventType.TASK_MISSED_START: EventKind.TASK_MISSED_START,
    EventType.INSTANCE_ONLINE: EventKind.INSTANCE_ONLINE,
    EventType.INSTANCE_OFFLINE: EventKind.INSTANCE_OFFLINE,
    EventType.INSTANCE_HEALTH: EventKind.INSTANCE_HEALTH,
    EventType.COMMAND_FAILED: EventKind.COMMAND_FAILED,
    EventType.COMMAND_TIMEOUT: EventKind.COMMAND_TIMEOUT,
    EventType.CHANNEL_FAILING: EventKind.CHANNEL_FAILING,
    EventType.PORTAL_LAGGING: EventKind.PORTAL_LAGGING,
}
TYPE_OF_KIND: Final[Mapping[str, EventType]] = {kind.value: each for each, kind in KIND_OF_TYPE.items()}
