"""What is told of an instance that calls itself unwell, or well again."""

from datetime import datetime
from typing import Any, Final

from agents.models import Event, Instance
from agents.models.event import EventKind
from agents.models.instance import Health
from agents.services.events import NewEvent, portal_event

_LEVELS: Final = {Health.DEGRADED: Event.Level.WARN, Health.ERROR: Event.Level.ERROR}


def health_event(instance: Instance, *, old: str, new: str, at: datetime, **meta: Any) -> NewEvent:
    """The event of a change of health; of the instance, the key and the service are read."""
    event = portal_event(
        EventKind.INSTANCE_HEALTH, at=at, instance=instance, meta={"old": old, "new": Health(new).value, **meta}
    )
    event.level = _LEVELS.get(Health(new), Event.Level.INFO)
    return event
