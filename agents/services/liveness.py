"""The liveness engine: silence becomes a verdict, for the whole fleet in one statement per sweep.

Instances come online where their frames are stored; here they only go offline, and not while the portal is blind.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Min
from django.utils import timezone

from agents.models import Instance, Replica
from agents.models.event import EventKind
from agents.models.instance import Connectivity
from agents.services.events import portal_event, record_events


def sight_since(now: datetime) -> datetime | None:
    """Since when some process that takes frames has reported without a gap; None where none lives."""
    alive = now - timedelta(seconds=settings.REPLICA_DEAD_AFTER_S)
    seeing = Replica.objects.filter(
        kind__in=(Replica.Kind.WEB, Replica.Kind.GRPC), stopped_at=None, last_seen_at__gte=alive
    )
    since: datetime | None = seeing.aggregate(since=Min("sight_since"))["since"]
    return since


@transaction.atomic
def sweep_offline(now: datetime | None = None) -> int:
    """Turn online instances that have been silent for INSTANCE_OFFLINE_AFTER_S offline; returns how many.

    Nothing is turned before the portal has seen for LIVENESS_GRACE_S: after its own start, or after its database was
    away, silence proves nothing. Cost: one scan of the instance table.
    """
    now = now or timezone.now()
    since = sight_since(now)
    if since is None or now - since < timedelta(seconds=settings.LIVENESS_GRACE_S):
        return 0
    cutoff = now - timedelta(seconds=settings.INSTANCE_OFFLINE_AFTER_S)
    silent = list(
        Instance.objects.select_for_update(skip_locked=True, no_key=True)
        .filter(connectivity=Connectivity.ONLINE, last_seen_at__lt=cutoff)
        .only("id", "service_id", "last_seen_at")
    )
    if not silent:
        return 0
    Instance.objects.filter(pk__in=[instance.pk for instance in silent], last_seen_at__lt=cutoff).update(
        connectivity=Connectivity.OFFLINE, connectivity_changed_at=now
    )
    record_events(
        portal_event(
            EventKind.INSTANCE_OFFLINE,
            at=now,
            instance=instance,
            meta={"last_seen_at": instance.last_seen_at.isoformat() if instance.last_seen_at else None},
        )
        for instance in silent
    )
    return len(silent)
