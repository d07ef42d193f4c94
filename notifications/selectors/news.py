"""News: stored events as facts, in a constant number of queries."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from agents.models import Command, Event, Instance
from agents.models.event import EventKind
from agents.selectors.labels import labels_of
from agents.selectors.named_events import Named, Probe, ToldEvent, events_named, first_after
from notifications.engine.facts import Fact
from notifications.engine.kinds import (
    ENDED_BY,
    ENDING_ROUTINE,
    INSTANCE_HEALTH,
    TASK_FAILED,
    TYPE_OF,
    UNWELL,
    WELL,
)

logger = logging.getLogger(__name__)

# The failure that a dead letter is followed by comes at once; so long it is waited for.
ECHO_WITHIN: Final = timedelta(seconds=60)
# So many events of failing tasks are read to find echoes.
_ECHOES_MAX: Final = 20_000
_SUMMARY_MAX_CHARACTERS: Final = 2000
_METRICS_MAX: Final = 20
_METRIC_MAX_CHARACTERS: Final = 200

_COMMAND_KINDS: Final = frozenset(kind for kind in TYPE_OF if kind.startswith("command."))


@dataclass(frozen=True, slots=True)
class _Known:
    """What facts say of more than their events do."""

    node_names: Mapping[UUID, str] = field(default_factory=dict)
    labels: Mapping[UUID, Mapping[str, str]] = field(default_factory=dict)
    # By the command: its kind, and why it ended.
    commands: Mapping[UUID, tuple[str, str]] = field(default_factory=dict)


def kinds_asked(event_types: Collection[str]) -> frozenset[str]:
    """The kinds of events that tell of these types, or end them."""
    told = {kind for kind, event_type in TYPE_OF.items() if event_type in event_types}
    ending = {kind for kind, ended in ENDED_BY.items() if any(each in event_types for each in ended)}
    return frozenset(told | ending)


def facts_named(wanted: Sequence[Named]) -> list[Fact]:
    """The facts of events that are there, in the given order. Six queries at most."""
    by_id = {event.event_id: event for event in events_named(wanted)}
    return facts_of([by_id[each.event_id] for each in wanted if each.event_id in by_id])


def facts_of(events: Sequence[ToldEvent]) -> list[Fact]:
    """What rules see of events, in their order: none of some, two of one that ends something. Five queries at most.

    An event that cannot be understood is left out; it is not worth all others.
    """
    known = _known(events)
    found: list[Fact] = []
    for event in events:
        try:
            found += _facts(event, known)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            logger.warning("news.unreadable event=%s error=%s", event.event_id, type(error).__name__)
    return with_echoes(found)


def _known(events: Iterable[ToldEvent]) -> _Known:
    instances, commands = set(), set()
    for event in events:
        if event.instance_id is not None:
            instances.add(event.instance_id)
        if event.command_id is not None:
            commands.add(event.command_id)
    rows = list(
        Instance.objects.filter(pk__in=instances)
        .select_related("service")
        .only(
            "id",
            "node_name",
            "external_id",
            "dialect",
            "deployment_version",
            "agent_version",
            "hostname",
            "service__name",
            "service__environment",
        )
        .order_by()
        if instances
        else ()
    )
    ordered = Command.objects.filter(pk__in=commands).order_by() if commands else Command.objects.none()
    return _Known(
        node_names={row.pk: row.node_name or row.external_id for row in rows},
        labels={key: labels.effective for key, labels in labels_of(rows).items()} if rows else {},
        commands={
            key: (kind, message or code)
            for key, kind, message, code in ordered.values_list("pk", "kind", "error_message", "error_code")
        },
    )


def _facts(event: ToldEvent, known: _Known) -> list[Fact]:
    if event.kind == EventKind.INSTANCE_HEALTH:
        return _health(event, known)
    found = []
    if (event_type := TYPE_OF.get(event.kind)) is not None:
        found.append(_fact(event, event_type, known))
    found += [_fact(event, ended, known, ends=True) for ended in ENDED_BY.get(event.kind, ())]
    return found


def _health(event: ToldEvent, known: _Known) -> list[Fact]:
    """One that comes to be unwell is told, one that is well again ends that; what lies between does neither."""
    new = str(event.meta.get("new", ""))
    if new in UNWELL:
        return [_fact(event, INSTANCE_HEALTH, known)]
    return [_fact(event, INSTANCE_HEALTH, known, ends=True)] if new == WELL else []


def _fact(event: ToldEvent, event_type: str, known: _Known, *, ends: bool = False) -> Fact:
    meta = event.meta
    command_id = event.command_id if event.kind in _COMMAND_KINDS else None
    command_kind, why = known.commands.get(command_id, (event.message, "")) if command_id is not None else ("", "")
    of_portal = event.instance_id is None and event.command_id is None and not event.task_name
    instance = event.instance_id
    told = meta.get("notification")
    notification: Mapping[str, Any] = told if isinstance(told, dict) else {}
    message, failure_kind = (why if command_id is not None else event.message), event.failure_kind
    if event_type == INSTANCE_HEALTH:
        message, failure_kind = f"{meta.get('old', '')} → {meta.get('new', '')}", str(meta.get("new", ""))
    return Fact(
        event_id=event.event_id,
        event_type=event_type,
        occurred_at=event.occurred_at,
        received_at=event.received_at,
        ends=ends,
        service_id=event.service_id,
        service_name=event.service_name or "",
        environment=event.environment or "",
        instance_id=instance,
        node_name=known.node_names.get(instance, "") if instance is not None else "",
        labels=known.labels.get(instance, {}) if instance is not None else {},
        task_name=event.task_name,
        command_id=command_id,
        command_kind=command_kind,
        portal_subject=(event.subject or event.message or event.kind) if of_portal else "",
        message=message,
        failure_kind=failure_kind,
        exception_type=event.exception_type,
        attempts=event.attempts,
        duration_ms=event.duration_ms,
        scheduled_at=_time(meta.get("scheduled_at")),
        grace_s=_whole(meta.get("grace_s")),
        last_seen_at=_time(meta.get("last_seen_at")),
        summary=_text(notification.get("summary"), _SUMMARY_MAX_CHARACTERS),
        metrics=_metrics(notification.get("metrics")),
    )


# --- echoes


def with_echoes(facts: Sequence[Fact]) -> list[Fact]:
    """The same, with the failures marked that a dead letter of the same message told of already. One query at most.

    Each dead letter is followed by one failure of the same instance, task and number of attempts. A failure that finds
    no dead letter left is none's echo: there the message was lost.
    """
    failed = [fact for fact in facts if fact.event_type == TASK_FAILED and not fact.ends]
    if not failed:
        return list(facts)
    echoes = _echoes(failed)
    return [
        replace(fact, is_echo=True) if fact.event_type == TASK_FAILED and fact.event_id in echoes else fact
        for fact in facts
    ]


def _echoes(failed: Sequence[Fact]) -> set[str]:
    """The ids of those that are echoes."""
    times = [fact.occurred_at for fact in failed]
    rows = (
        Event.objects.filter(
            kind__in=(EventKind.TASK_DEAD_LETTERED, EventKind.TASK_FAILED),
            instance__in={fact.instance_id for fact in failed},
            task_name__in={fact.task_name for fact in failed},
            occurred_at__gte=min(times) - ECHO_WITHIN,
            occurred_at__lte=max(times),
        )
        # Of the same moment the letter comes first, whichever was stored first.
        .order_by("occurred_at", "kind", "id")
        .values_list("event_id", "kind", "instance_id", "task_name", "attempts", "occurred_at")
    )
    letters: defaultdict[tuple[object, ...], list[datetime]] = defaultdict(list)
    found: set[str] = set()
    for event_id, kind, instance_id, task_name, attempts, at in rows[:_ECHOES_MAX]:
        waiting = letters[instance_id, task_name, attempts]
        while waiting and waiting[0] < at - ECHO_WITHIN:
            waiting.pop(0)
        if kind == EventKind.TASK_DEAD_LETTERED:
            waiting.append(at)
        elif waiting:
            waiting.pop(0)
            found.add(event_id)
    return found


# --- ends that nobody streams


@dataclass(frozen=True, slots=True)
class TaskTrouble:
    """That a task was last in trouble of this type at this time."""

    event_type: str
    service_id: int
    task_name: str
    last_at: datetime


def trouble_of(facts: Iterable[Fact]) -> set[TaskTrouble]:
    """What of the facts is trouble of tasks, which routine ends."""
    return {
        TaskTrouble(fact.event_type, fact.service_id, fact.task_name, fact.occurred_at)
        for fact in facts
        if fact.event_type in ENDING_ROUTINE and not fact.ends and fact.service_id is not None and fact.task_name
    }


def ends_of(troubles: Collection[TaskTrouble]) -> list[Fact]:
    """The first success, or start, of each task after its trouble, where there was one yet. One query."""
    asked = sorted(troubles, key=lambda each: (each.service_id, each.task_name, each.event_type, each.last_at))
    probes = [Probe(each.service_id, each.task_name, ENDING_ROUTINE[each.event_type], each.last_at) for each in asked]
    found: dict[tuple[str, str], Fact] = {}
    for answer in first_after(probes):
        trouble = asked[answer.number]
        found[trouble.event_type, answer.event_id] = Fact(
            event_id=answer.event_id,
            event_type=trouble.event_type,
            occurred_at=answer.occurred_at,
            received_at=answer.received_at,
            ends=True,
            service_id=trouble.service_id,
            task_name=trouble.task_name,
        )
    return list(found.values())


# --- values of agents


def _time(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object, max_characters: int) -> str:
    return str(value)[:max_characters] if isinstance(value, str | int | float) else ""


def _metrics(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        (_text(each.get("label"), _METRIC_MAX_CHARACTERS), _text(each.get("value"), _METRIC_MAX_CHARACTERS))
        for each in value[:_METRICS_MAX]
        if isinstance(each, dict)
    )
