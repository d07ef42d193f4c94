"""How a background job of the portal fares, by one rule for every page, the health checks and the self-check."""

from datetime import datetime, timedelta
from typing import Final, Literal

from celery import current_app
from django.conf import settings

from agents.models import BackgroundJob

# A job that is scheduled more seldom than READINESS_TASK_STALE_AFTER_S allows may be silent for so many rounds.
ROUNDS_MISSED: Final = 3
JobState = Literal["ok", "failing", "overdue", "never"]


def stale_after(name: str) -> timedelta:
    """For how long the job of this name may be silent; one that is in no schedule, for the setting."""
    entry = current_app.conf.beat_schedule.get(name)
    every_s: float = entry["schedule"] if entry else 0.0
    return timedelta(seconds=max(settings.READINESS_TASK_STALE_AFTER_S, ROUNDS_MISSED * every_s))


def job_state(job: BackgroundJob, *, now: datetime) -> JobState:
    """`failing` by its last run, `overdue` where it did not succeed for `stale_after`, `never` where it never began."""
    if job.last_started_at is None:
        return "never"
    if job.last_error:
        return "failing"
    return "overdue" if (job.last_succeeded_at or job.last_started_at) < now - stale_after(job.name) else "ok"


def unwell_jobs(*, now: datetime) -> list[tuple[BackgroundJob, JobState]]:
    """The jobs that fail or are silent, by name. One query."""
    states = [(job, job_state(job, now=now)) for job in BackgroundJob.objects.all()]
    return [(job, state) for job, state in states if state in {"failing", "overdue"}]
