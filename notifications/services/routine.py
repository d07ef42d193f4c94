"""Routine that some rule asks for: noted where it is stored, since the stream of events has none of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from agents.models import Service
from agents.services.watching import NOTHING, Asked, Services
from controlplane.common.bulk import insert_all
from notifications.models import EventType, RoutineNews, Rule

# What the stream leaves out, by the type that a rule asks for it by.
_KINDS: Final[Mapping[str, str]] = {
    EventType.TASK_STARTED: "task.started",
    EventType.TASK_SUCCEEDED: "task.succeeded",
}


def asked_routine() -> Asked:
    """Of which services the rules that are enabled ask for starts or successes. One query, two where some do.

    Selectors and names of tasks do not narrow it: what is noted in vain is looked at once and dropped.
    """
    rows = Rule.objects.filter(enabled=True).order_by().values_list("event_types", "service_scopes", "environments")
    asking: dict[str, list[tuple[Any, Any]]] = {}
    for event_types, scopes, environments in rows:
        for event_type, kind in _KINDS.items():
            if event_type in event_types:
                asking.setdefault(kind, []).append((scopes, environments))
    if not asking:
        return NOTHING
    services = list(Service.objects.order_by().values_list("pk", "name", "environment"))
    newest = max((pk for pk, _name, _environment in services), default=0)
    return {kind: _services(scopes, services, newest) for kind, scopes in asking.items()}


def _services(scopes: Sequence[tuple[Any, Any]], services: Sequence[tuple[int, str, str]], newest: int) -> Services:
    if any(not named and not environments for named, environments in scopes):
        return Services()
    wanted = {
        pk
        for named, environments in scopes
        for pk, name, environment in services
        if (not named or {"name": name, "environment": environment} in named)
        and (not environments or environment in environments)
    }
    return Services(frozenset(wanted), newest)


def note_routine(events: Sequence[tuple[str, datetime]]) -> None:
    """One statement, in the transaction that stored the events."""
    insert_all(RoutineNews, ("event_id", "occurred_at"), events)
