"""Measuring the tables of the portal, and counting what retention removed."""

import logging
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from agents.models import RetentionResult, TableSize
from agents.selectors.sizes import newest_measurement, sizes_now
from controlplane.common.database import TookTooLong, statements_within

logger = logging.getLogger(__name__)

SIZES_JOB: Final = "measure-tables"
MEASURE_EVERY: Final = timedelta(hours=1)
# Some forty tables: about 13,000 narrow rows.
SIZES_KEPT: Final = timedelta(days=14)
# The size of a table that somebody locks is waited for; a sample is not worth more.
_MEASURE_WITHIN_MS: Final = 5000


def measure_sizes(now: datetime | None = None) -> bool:
    """Store what each table takes and forget samples that are too old; False where the last sample is young enough.

    Cost of a run that rests: one read of an index.
    """
    now = now or timezone.now()
    newest = newest_measurement()
    # A sample of the future was taken by a wrong clock and holds nothing up.
    if newest is not None and now - MEASURE_EVERY < newest <= now:
        return False
    try:
        with statements_within(_MEASURE_WITHIN_MS):
            sizes = sizes_now()
    except TookTooLong:
        logger.warning("sizes.took_too_long limit_ms=%d", _MEASURE_WITHIN_MS)
        return False
    with transaction.atomic():
        TableSize.objects.bulk_create(
            [
                TableSize(taken_at=now, table=size.table[:128], size_bytes=size.size_bytes, row_estimate=size.rows)
                for size in sizes
            ],
            ignore_conflicts=True,
        )
        TableSize.objects.filter(taken_at__lt=now - SIZES_KEPT).delete()
    return True


def note_removed(setting: str, rows: int, *, now: datetime | None = None) -> None:
    """Count what one run removed for a retention setting; one that removed nothing is not noted."""
    if rows <= 0:
        return
    now = now or timezone.now()
    known = RetentionResult.objects.filter(setting=setting)
    figures = {"last_removed_at": now, "last_removed_rows": rows}
    if not known.update(removed_rows=F("removed_rows") + rows, **figures):
        RetentionResult.objects.get_or_create(
            setting=setting, defaults={"counted_since": now, "removed_rows": rows, **figures}
        )
