"""Heartbeats of many instances, stored together: one statement for all, ordered per instance by a guard in SQL."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from agents.models import Event, Instance
from agents.models.event import EventKind
from agents.models.instance import Connectivity
from agents.selectors.census import UNWELL
from agents.services.events import NewEvent, record_events
from agents.services.health import health_event
from agents.services.instances import FACT_COLUMNS, facts_of, mark_online
from agents.services.reports import Heartbeat, Rejection
from controlplane.common.bulk import rows_where, update_from_values

_HEARTBEAT_COLUMNS = (
    "id",
    "last_seen_at",
    "last_heartbeat_started_at",
    "last_heartbeat_sequence",
    "last_heartbeat_sent_at",
    "health",
    "uptime_s",
    "inflight_tasks",
    *FACT_COLUMNS,
    "updated_at",
)
# Newer by process start, then number, then time of sending: an agent with a fixed id and a fresh disk starts again at
# number 1, and its heartbeats count at once.
HEARTBEAT_IS_NEWER = """(
    t.last_heartbeat_started_at IS NULL
    OR (v.last_heartbeat_started_at, v.last_heartbeat_sequence, v.last_heartbeat_sent_at)
     > (t.last_heartbeat_started_at, t.last_heartbeat_sequence, t.last_heartbeat_sent_at)
)"""
_GUARDED = tuple(name for name in _HEARTBEAT_COLUMNS if name not in {"id", "last_seen_at", "updated_at"})
_SEEN = (
    "CASE WHEN t.last_seen_at IS NULL OR t.last_seen_at < v.last_seen_at THEN v.last_seen_at ELSE t.last_seen_at END"
)
_HEALTH_SINCE: Final = (
    f"CASE WHEN t.health <> v.health AND {HEARTBEAT_IS_NEWER} THEN v.last_seen_at ELSE t.health_changed_at END"
)
_GUARDS: Final = ("last_heartbeat_started_at", "last_heartbeat_sequence", "last_heartbeat_sent_at")
_UNWELL: Final = ", ".join(f"'{health}'" for health in sorted(UNWELL))
# Of agents that start and are well nobody needs to be told; of those that become unwell, and of their recovery.
_TURNS: Final = (
    f"t.health <> v.health AND (t.health IN ({_UNWELL}) OR v.health IN ({_UNWELL})) AND {HEARTBEAT_IS_NEWER}"
)


def _newer(one: Heartbeat, other: Heartbeat) -> bool:
    return (one.epoch_at, one.sequence, one.sent_at) > (other.epoch_at, other.sequence, other.sent_at)


def newest_heartbeats(heartbeats: Sequence[Heartbeat]) -> list[Heartbeat]:
    """The newest of each instance, by the same order as the guard in SQL."""
    newest: dict[object, Heartbeat] = {}
    for heartbeat in heartbeats:
        known = newest.get(heartbeat.service.instance_id)
        if known is None or _newer(heartbeat, known):
            newest[heartbeat.service.instance_id] = heartbeat
    return list(newest.values())


def apply_heartbeats(heartbeats: Sequence[Heartbeat]) -> None:
    """Move `last_seen_at` of all, and what they claim of health and process where they are the newest.

    `heartbeats` is the outcome of `newest_heartbeats`. Call it inside a transaction.
    """
    if not heartbeats:
        return
    rows = [
        (
            beat.service.instance_id,
            beat.received_at,
            beat.epoch_at,
            beat.sequence,
            beat.sent_at,
            beat.health,
            beat.uptime_s,
            beat.inflight_tasks,
            *facts_of(beat.service, beat.runtime),
            beat.received_at,
        )
        for beat in heartbeats
    ]
    _record_turns(heartbeats)
    guarded = ", ".join(f"{name} = CASE WHEN {HEARTBEAT_IS_NEWER} THEN v.{name} ELSE t.{name} END" for name in _GUARDED)
    update_from_values(
        Instance,
        _HEARTBEAT_COLUMNS,
        rows,
        assignments=(
            f"last_seen_at = {_SEEN}, updated_at = v.updated_at, health_changed_at = {_HEALTH_SINCE}, {guarded}"
        ),
    )
    ids = [beat.service.instance_id for beat in heartbeats]
    silent = rows_where(
        [(Instance, "id")],
        [(pk,) for pk in ids],
        joins=f"JOIN {Instance._meta.db_table} t ON t.id = v.id",
        condition=f"t.connectivity <> '{Connectivity.ONLINE}'",
    )
    if silent:
        mark_online([ids[number] for number in silent], at=max(beat.received_at for beat in heartbeats))


def _record_turns(heartbeats: Sequence[Heartbeat]) -> None:
    """An event of each instance that these make unwell, or well again; call it before they are stored."""
    turning = rows_where(
        [(Instance, name) for name in ("id", "health", *_GUARDS)],
        [(beat.service.instance_id, beat.health, beat.epoch_at, beat.sequence, beat.sent_at) for beat in heartbeats],
        joins=f"JOIN {Instance._meta.db_table} t ON t.id = v.id",
        condition=_TURNS,
    )
    if not turning:
        return
    beats = {heartbeats[number].service.instance_id: heartbeats[number] for number in turning}
    before = Instance.objects.only("id", "health", "service").in_bulk(beats)
    record_events(
        # Whoever stores the same heartbeat again tells nothing anew.
        replace(
            health_event(before[pk], old=before[pk].health, new=beat.health, at=beat.received_at),
            event_id=f"health-{pk.hex}-{beat.epoch_at.timestamp():.6f}-{beat.sequence}",
        )
        for pk, beat in beats.items()
        if pk in before
    )


def record_rejections(rejections: Sequence[Rejection]) -> None:
    """One event per frame of which records were left out, with the reasons."""
    record_events(
        NewEvent(
            event_id=f"rejected-{rejection.session_id.hex}-{rejection.received_at.timestamp():.6f}-{rejection.channel}",
            kind=EventKind.INGEST_REJECTED,
            level=Event.Level.WARN,
            occurred_at=rejection.received_at,
            received_at=rejection.received_at,
            instance_id=rejection.instance_id,
            service_id=rejection.service_id,
            message="; ".join(rejection.reasons),
            meta={"channel": rejection.channel, "count": rejection.count},
        )
        for rejection in rejections
    )
