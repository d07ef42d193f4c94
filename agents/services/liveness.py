"""The liveness engine: silence becomes a verdict, for the whole fleet in one statement per sweep.

Instances come online where their frames are stored; here they go offline, and not while the portal is blind. Each
dialect has thresholds of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Min, Q
from django.utils import timezone

from agents.models import Instance, Replica
from agents.models.event import EventKind
from agents.models.instance import Connectivity, Dialect
from agents.services.events import portal_event, record_events
from agents.services.nodes_file import nodes_file_changed
from controlplane.common.bulk import update_from_values


def sight_since(now: datetime) -> datetime | None:
    """Since when some process that takes frames has reported without a gap; None where none lives."""
    alive = now - timedelta(seconds=settings.REPLICA_DEAD_AFTER_S)
    seeing = Replica.objects.filter(
        kind__in=(Replica.Kind.WEB, Replica.Kind.GRPC), stopped_at=None, last_seen_at__gte=alive
    )
    since: datetime | None = seeing.aggregate(since=Min("sight_since"))["since"]
    return since


@dataclass(frozen=True, slots=True)
class _Thresholds:
    """When silence counts in one dialect, and for how long the portal must have seen before."""

    offline_after: timedelta
    grace: timedelta

    def sees(self, now: datetime) -> bool:
        since = sight_since(now)
        return since is not None and now - since >= self.grace


def sweep_offline(now: datetime | None = None) -> int:
    """Turn online instances that have been silent for INSTANCE_OFFLINE_AFTER_S offline; returns how many.

    Nothing is turned before the portal has seen for LIVENESS_GRACE_S: after its own start, or after its database was
    away, silence proves nothing. Nodes of the registry have thresholds of their own. Cost: one scan of the instance
    table.
    """
    now = now or timezone.now()
    thresholds = _Thresholds(
        timedelta(seconds=settings.INSTANCE_OFFLINE_AFTER_S), timedelta(seconds=settings.LIVENESS_GRACE_S)
    )
    if not thresholds.sees(now):
        return 0
    cutoff = now - thresholds.offline_after
    silent = Q(connectivity=Connectivity.ONLINE, last_seen_at__lt=cutoff) & ~Q(dialect=Dialect.ARGUS)
    return _turn(silent, lambda _row: Connectivity.OFFLINE, _last_seen, now=now)


def judge_nodes(now: datetime | None = None) -> int:
    """Hold every node of the registry against its two thresholds; returns how many turned.

    A last report within ONLINE_THRESHOLD_SECONDS is online, one older than OFFLINE_THRESHOLD_SECONDS offline; between
    the two, a node stays as it is. One that never reported is offline OFFLINE_THRESHOLD_SECONDS after its
    registration. Nobody is called offline before the portal has seen for ONLINE_THRESHOLD_SECONDS, within which every
    node that lives reports. Reports turn nodes online as they come; here that only follows a change of thresholds. A
    report that is being stored is not waited for: its node is passed over, and one that comes while its node is turned
    offline turns it back. Cost: one scan of the instance table.
    """
    now = now or timezone.now()
    online_since = now - timedelta(seconds=settings.ONLINE_THRESHOLD_SECONDS)
    thresholds = _Thresholds(
        timedelta(seconds=settings.OFFLINE_THRESHOLD_SECONDS), timedelta(seconds=settings.ONLINE_THRESHOLD_SECONDS)
    )
    to_turn = Q(last_seen_at__gte=online_since) & ~Q(connectivity=Connectivity.ONLINE)
    if thresholds.sees(now):
        cutoff = now - thresholds.offline_after
        silent = Q(last_seen_at__lt=cutoff) | Q(last_seen_at=None, created_at__lt=cutoff)
        to_turn |= silent & ~Q(connectivity=Connectivity.OFFLINE)

    def verdict(row: Instance) -> Connectivity:
        is_fresh = row.last_seen_at is not None and row.last_seen_at >= online_since
        return Connectivity.ONLINE if is_fresh else Connectivity.OFFLINE

    turned = _turn(Q(to_turn, dialect=Dialect.ARGUS), verdict, _why, now=now)
    if turned:
        nodes_file_changed()
    return turned


@transaction.atomic
def _turn(
    which: Q,
    verdict: Callable[[Instance], Connectivity],
    tell: Callable[[Instance, Connectivity, datetime], dict[str, Any]],
    *,
    now: datetime,
) -> int:
    """Give those that match their verdict, with an event each that `tell` details; returns how many.

    Those that are archived or being forgotten are not judged. Rows that somebody else holds are passed over, and what
    was written to a row since it was read counts: the lock asks again whether it matches.
    """
    turned = list(
        Instance.objects.select_for_update(skip_locked=True, no_key=True)
        .filter(which, archived_at=None, forget_requested_at=None)
        .only("id", "service_id", "connectivity", "last_seen_at", "created_at")
        .order_by("pk")
    )
    if not turned:
        return 0
    verdicts = [(row, verdict(row)) for row in turned]
    update_from_values(
        Instance,
        ("id", "connectivity", "connectivity_changed_at"),
        [(row.pk, found.value, now) for row, found in verdicts],
        assignments="connectivity = v.connectivity, connectivity_changed_at = v.connectivity_changed_at",
    )
    record_events(
        portal_event(
            EventKind.INSTANCE_ONLINE if found == Connectivity.ONLINE else EventKind.INSTANCE_OFFLINE,
            at=now,
            instance=row,
            **tell(row, found, now),
        )
        for row, found in verdicts
    )
    return len(turned)


def _last_seen(row: Instance, _found: Connectivity, _now: datetime) -> dict[str, Any]:
    return {"meta": _seen(row)}


def _why(row: Instance, found: Connectivity, now: datetime) -> dict[str, Any]:
    if row.last_seen_at is None:
        code, silent_s = "node_never_reported", (now - row.created_at).total_seconds()
        reason = f"No status report came within {silent_s:.0f} s of its registration."
    else:
        silent_s = (now - row.last_seen_at).total_seconds()
        code = "node_silent" if found == Connectivity.OFFLINE else "node_reported_lately"
        reason = f"Its last status report is {silent_s:.0f} s old."
    meta = {**_seen(row), "old": row.connectivity, "new": found.value, "reason": reason}
    return {"message": code, "meta": meta}


def _seen(row: Instance) -> dict[str, str | None]:
    return {"last_seen_at": row.last_seen_at.isoformat() if row.last_seen_at else None}
