"""Deliveries that ended long ago, and alerts that are long over, are taken away, in small batches with pauses."""

import time
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from agents.models import BackgroundJob
from notifications.models import Alert, AlertMember, Delivery
from tasks_app.services.storage import STEP_MAX_S, Deletion, in_batches, rests

CLEAN_JOB: Final = "clean-deliveries"
# Under which what was removed is counted.
DELIVERIES_SETTING: Final = "RETENTION_DELIVERIES_DAYS"


def clean_deliveries(now: datetime | None = None) -> bool:
    """Take away what is older than RETENTION_DELIVERIES_DAYS, for STEP_MAX_S at the most; True when nothing is left.

    What has not ended stays, however old. When nothing was left, it rests for RETENTION_RUN_INTERVAL_S. Cost of a run
    that rests: one read by primary key.
    """
    now = now or timezone.now()
    if rests(CLEAN_JOB, now):
        return True
    cutoff, until = now - timedelta(days=settings.RETENTION_DELIVERIES_DAYS), time.monotonic() + STEP_MAX_S
    deletions = [
        Deletion(DELIVERIES_SETTING, lambda: _delete_deliveries(cutoff)),
        Deletion(DELIVERIES_SETTING, lambda: _delete_alerts(cutoff)),
    ]
    # Both, whatever one says: none waits for the other's backlog.
    done = [in_batches(deletion, until) for deletion in deletions]
    if not all(done):
        return False
    BackgroundJob.objects.filter(name=CLEAN_JOB).update(completed_at=now)
    return True


def _delete_deliveries(cutoff: datetime) -> int:
    """Delete the oldest deliveries that ended long enough ago, with their attempts; returns how many deliveries."""
    # Made even earlier than it ended: this is what the index of the newest is good for.
    ended = Delivery.objects.filter(created_at__lt=cutoff, finished_at__lt=cutoff).exclude(status__in=Delivery.OPEN)
    oldest = list(ended.order_by("created_at", "id").values_list("pk", flat=True)[: _batch_size()])
    ended.filter(pk__in=oldest).delete()
    return len(oldest)


def _delete_alerts(cutoff: datetime) -> int:
    """Delete subjects of the oldest alerts that are long over, and those alerts that have none left.

    Returns how many rows of the one that went more often: one alert may have more subjects than a batch.
    """
    over = Alert.objects.filter(status=Alert.Status.RESOLVED, opened_at__lt=cutoff, resolved_at__lt=cutoff)
    oldest = list(over.order_by("opened_at", "id").values_list("pk", flat=True)[: _batch_size()])
    subjects = AlertMember.objects.filter(alert__in=oldest).order_by("id").values_list("pk", flat=True)
    emptied, _ = AlertMember.objects.filter(pk__in=list(subjects[: _batch_size()])).delete()
    over.filter(pk__in=oldest, members=None).delete()
    return max(emptied, len(oldest))


def _batch_size() -> int:
    size: int = settings.RETENTION_DELETE_BATCH_SIZE
    return size
