"""Which events can be told, and which of them tell of something that lasts.

Kinds are those of agents.models.event.EventKind, types those of notifications.models.scope.EventType.
"""

from collections.abc import Mapping
from typing import Final

TASK_FAILED: Final = "task_failed"
TASK_DEAD_LETTERED: Final = "task_dead_lettered"
TASK_MISSED_START: Final = "task_missed_start"
INSTANCE_HEALTH: Final = "instance_health_changed"
CHANNEL_FAILING: Final = "channel_failing"

# Trouble that goes on until a later event ends it. Everything else is over as it happens.
LASTING: Final = frozenset(
    {
        TASK_FAILED,
        TASK_DEAD_LETTERED,
        TASK_MISSED_START,
        "instance_offline",
        INSTANCE_HEALTH,
        CHANNEL_FAILING,
        "portal_lagging",
    }
)
# A command that was refused has failed, and one that nobody fetched in time has timed out.
TYPE_OF: Final[Mapping[str, str]] = {
    "task.started": "task_started",
    "task.succeeded": "task_succeeded",
    "task.failed": TASK_FAILED,
    "task.retried": "task_retried",
    "task.dead_lettered": TASK_DEAD_LETTERED,
    "task.missed_start": TASK_MISSED_START,
    "instance.online": "instance_online",
    "instance.offline": "instance_offline",
    "instance.health_changed": INSTANCE_HEALTH,
    "command.failed": "command_failed",
    "command.rejected": "command_failed",
    "command.timeout": "command_timeout",
    "command.expired": "command_timeout",
    "channel.failing": CHANNEL_FAILING,
    "portal.lagging": "portal_lagging",
}
# Which trouble of its subject an event ends. Whoever archives an instance does not wait for it any more.
ENDED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "instance.online": ("instance_offline",),
    "instance.archived": ("instance_offline", INSTANCE_HEALTH),
    "channel.recovered": (CHANNEL_FAILING,),
    "portal.recovered": ("portal_lagging",),
}
# What ends trouble of a task is routine, which the stream does not have: it is looked for where a task is in trouble.
ENDING_ROUTINE: Final[Mapping[str, str]] = {
    TASK_FAILED: "task.succeeded",
    TASK_DEAD_LETTERED: "task.succeeded",
    TASK_MISSED_START: "task.started",
}
UNWELL: Final = frozenset({"degraded", "error"})
WELL: Final = "ok"
