"""Running a background job of the portal: one run at a time and not too often, whoever rings the bell."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from agents.models import BackgroundJob

logger = logging.getLogger(__name__)

# A run holds its job for so long at the most; a worker that is killed in a run silences the job until then.
RUN_LEASE_S = 60
# Clocks of hosts differ by less. What lies further ahead was written by a wrong clock and holds nothing up.
CLOCK_SLACK_S = 5


def run_background_job(name: str, *, every_s: float, work: Callable[[], object]) -> bool:
    """Run `work` unless it runs now or began less than half of `every_s` seconds ago; True if it ran.

    The row is claimed by a conditional update, so that a second scheduler or a doubled message does nothing. The
    claim ends with the run, or after RUN_LEASE_S: only a run that takes longer than that may meet another one. An
    error of `work` is recorded and raised. Cost: two updates by primary key per run.
    """
    now = timezone.now()
    slack = timedelta(seconds=CLOCK_SLACK_S)
    until = now + timedelta(seconds=RUN_LEASE_S)
    free = Q(running_until=None) | Q(running_until__lt=now) | Q(running_until__gt=until + slack)
    due = (
        Q(last_started_at=None)
        | Q(last_started_at__lt=now - timedelta(seconds=every_s / 2))
        | Q(last_started_at__gt=now + slack)
    )
    BackgroundJob.objects.get_or_create(name=name)
    row = BackgroundJob.objects.filter(name=name)
    if not row.filter(free, due).update(last_started_at=now, running_until=until):
        return False
    # A run that took too long does not end the claim of the one that came after it.
    released = Case(When(running_until=until, then=Value(None)), default=F("running_until"))
    started = time.monotonic()
    try:
        work()
    except Exception as error:
        row.update(
            last_failed_at=timezone.now(), last_error=f"{type(error).__name__}: {error}"[:2000], running_until=released
        )
        raise
    row.update(
        running_until=released,
        last_succeeded_at=timezone.now(),
        last_error="",
        last_duration_ms=round((time.monotonic() - started) * 1000),
    )
    return True
