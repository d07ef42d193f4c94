"""What is left of logins, taken away: sessions that have expired, and histories that are too old."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Model, QuerySet
from django.utils import timezone

from controlplane.access.models import ConsoleSession, FailedLogin, SuccessfulLogin

# Of each table in one run, in one statement; the next run goes on.
BATCH_SIZE = 1000
LOGINS_SETTING = "RETENTION_LOGINS_DAYS"


def clean_logins(now: datetime | None = None) -> int:
    """Delete up to BATCH_SIZE sessions that have expired, and as many logins and failed logins that are older than
    RETENTION_LOGINS_DAYS, the oldest first; returns how many rows went."""
    now = now or timezone.now()
    before = now - timedelta(days=settings.RETENTION_LOGINS_DAYS)
    return (
        _delete_oldest(ConsoleSession.objects.filter(expire_date__lt=now), "expire_date")
        + _delete_oldest(FailedLogin.objects.filter(attempt_time__lt=before), "attempt_time")
        + _delete_oldest(SuccessfulLogin.objects.filter(attempt_time__lt=before), "attempt_time")
    )


def _delete_oldest(rows: QuerySet[Any], column: str) -> int:
    oldest = list(rows.order_by(column).values_list("pk", flat=True)[:BATCH_SIZE])
    if not oldest:
        return 0
    model: type[Model] = rows.model
    deleted, _ = model._default_manager.filter(pk__in=oldest).delete()  # noqa: SLF001 -- public in all but name
    return deleted
