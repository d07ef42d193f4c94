"""The schedule of the background jobs: the portal's own and those that people made, with how each fares."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from django.utils.translation import gettext
from django_celery_beat.models import PeriodicTask

from agents.models import BackgroundJob
from agents.selectors.jobs import JobState, job_state
from controlplane.celery import app as celery_app

# Schedules of people that are told one by one.
OTHERS_SHOWN: Final = 50
# Beat looks once a second; who waits for longer waits for a beat that does not run.
OVERDUE_AFTER: Final = timedelta(minutes=1)
State: TypeAlias = JobState | Literal["off"]


@dataclass(frozen=True, slots=True)
class Job:
    """One entry of the schedule. `is_own` are the portal's; of others only beat's part is known, not how they end."""

    name: str
    is_own: bool
    schedule: str
    state: State
    last_started_at: datetime | None
    last_succeeded_at: datetime | None
    next_at: datetime | None
    duration_ms: int | None
    last_failed_at: datetime | None
    last_error: str


def own_jobs(now: datetime) -> list[Job]:
    """The portal's own, by name. One query."""
    rows = BackgroundJob.objects.in_bulk(list(celery_app.conf.beat_schedule))
    return [_own_job(name, rows.get(name), now) for name in sorted(celery_app.conf.beat_schedule)]


def jobs(now: datetime) -> list[Job]:
    """The portal's own, and then those of people that are due at times. Two queries."""
    others = (
        PeriodicTask.objects.exclude(name__in=list(celery_app.conf.beat_schedule))
        .select_related("interval", "crontab", "solar", "clocked")
        .order_by("-enabled", "name")[:OTHERS_SHOWN]
    )
    # Celery makes one of its own, for results that the portal does not keep.
    return [*own_jobs(now), *(_other_job(each, now) for each in others if not each.task.startswith("celery."))]


def _own_job(name: str, row: BackgroundJob | None, now: datetime) -> Job:
    every = timedelta(seconds=celery_app.conf.beat_schedule[name]["schedule"])
    if row is None:
        return Job(name, True, _every(every), "never", None, None, None, None, None, "")
    # What it would have started at already, it starts with the next look of beat.
    next_at = max(now, row.last_started_at + every) if row.last_started_at else None
    return Job(
        name=name,
        is_own=True,
        schedule=_every(every),
        state=job_state(row, now=now),
        last_started_at=row.last_started_at,
        last_succeeded_at=row.last_succeeded_at,
        next_at=next_at,
        duration_ms=row.last_duration_ms,
        last_failed_at=row.last_failed_at,
        last_error=row.last_error,
    )


def _other_job(row: PeriodicTask, now: datetime) -> Job:
    """Beat knows when it rang; whoever works on it tells nobody how that ended."""
    state: State = "ok" if row.last_run_at else "never"
    next_at, problem = None, ""
    if row.enabled and row.scheduler is not None:
        try:
            due_in = row.schedule.remaining_estimate(row.last_run_at or row.date_changed or now)
        except (ValueError, ImportError) as error:
            # The form lets a 30 February pass, and a schedule by the sun where nothing reckons it.
            state, problem = "failing", str(error)
        else:
            next_at = max(now, now + due_in)
            state = "overdue" if due_in < -OVERDUE_AFTER else state
    return Job(
        name=row.name,
        is_own=False,
        schedule=str(row.scheduler or ""),
        state=state if row.enabled else "off",
        last_started_at=row.last_run_at,
        last_succeeded_at=None,
        next_at=next_at,
        duration_ms=None,
        last_failed_at=None,
        last_error=problem,
    )


def _every(every: timedelta) -> str:
    return gettext("%s s") % f"{every.total_seconds():g}"
