"""Storing what the engine made of alerts: a constant number of statements, however many alerts and members."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from controlplane.common.bulk import update_from_values, upsert
from notifications.engine.alerts import AlertState, Member
from notifications.models import Alert, AlertMember, Silence

_CHANGING: Final = (
    "status",
    "opened_at",
    "last_at",
    "event_count",
    "told_count",
    "silenced_count",
    "news_count",
    "recent",
    "due_at",
    "told_at",
    "told_times",
    "resolved_at",
)
_MEMBER: Final = (
    "alert_id",
    "subject",
    "service_id",
    "instance_id",
    "task_name",
    "event_count",
    "first_at",
    "last_at",
    "silence_id",
    "ended_at",
    "told",
)


def store_alerts(alerts: Iterable[AlertState]) -> None:
    """Store what changed; alerts that are new get their `id`. Three statements at most. Call it in a transaction."""
    changed = [alert for alert in alerts if alert.is_changed]
    made = [alert for alert in changed if alert.id is None]
    rows = [
        Alert(rule_id=alert.rule_id, event_type=alert.event_type, key=alert.key, **_values(alert)) for alert in made
    ]
    for alert, row in zip(made, Alert.objects.bulk_create(rows), strict=True):
        alert.id = row.pk
    new = set(map(id, made))
    update_from_values(
        Alert,
        ("id", *_CHANGING),
        [(alert.id, *_values(alert).values()) for alert in changed if id(alert) not in new],
        assignments=", ".join(f"{name} = v.{name}" for name in _CHANGING),
    )
    upsert(
        AlertMember,
        _MEMBER,
        [_member(alert, member) for alert in changed for member in alert.members.values() if member.is_changed],
        key=("alert_id", "subject"),
    )


def store_rounds(applied: Mapping[int, datetime], ended: Mapping[int, datetime]) -> None:
    """Note which rounds of silences began and ended. A statement for each, which are few."""
    for silence in {**applied, **ended}:
        values = {"applied_at": applied.get(silence), "told_until": ended.get(silence)}
        # Not by saving the row: its time of change is that of people.
        Silence.objects.filter(pk=silence).update(**{name: at for name, at in values.items() if at is not None})


def _values(alert: AlertState) -> dict[str, Any]:
    values = {name: getattr(alert, name) for name in _CHANGING}
    return values | {"status": alert.status.value, "recent": [each.isoformat() for each in alert.recent]}


def _member(alert: AlertState, member: Member) -> tuple[Any, ...]:
    fact = member.fact
    return (
        alert.id,
        fact.subject,
        fact.service_id,
        fact.instance_id,
        fact.task_name,
        member.event_count,
        member.first_at,
        member.last_at,
        member.silence_id,
        member.ended_at,
        msgspec.to_builtins(fact),
    )
