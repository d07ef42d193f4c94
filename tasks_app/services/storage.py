"""Storage over time: weekly partitions made ahead, and history that is too old taken away.

Events and metrics are kept for so many days by their own time and by when they came, whichever is later, because the
clock of an agent may be months behind; commands by when they ended, and a fan-out as long as any of its commands. On
PostgreSQL a week goes when all of it is past and nothing came for it within those days; everything else goes in small
batches, each a transaction of its own, with pauses in which others write.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import connection
from django.db.models import Exists, OuterRef
from django.utils import timezone

from agents.models import BackgroundJob, ClockCorrection, Command, Event, FanOut, FanOutTarget
from agents.services.sizes import note_removed
from controlplane.common import partitions
from controlplane.common.partitions import WEEK, PartitionBusy
from tasks_app.models import CustomMetric, MetricWindow, WorkRollup
from tasks_app.models.rollup import HOUR_S, MINUTE_S

logger = logging.getLogger(__name__)

RETENTION_JOB = "apply-retention"
# Under which what was removed is counted.
EVENTS_SETTING = "RETENTION_TASK_EVENTS_DAYS"
WINDOWS_SETTING = "RETENTION_TASK_METRIC_WINDOWS_DAYS"
COMMANDS_SETTING = "RETENTION_AGENT_COMMANDS_DAYS"
# How long one run of the retention deletes at most; the next one goes on. Well within the lease of a background job.
STEP_MAX_S = 20.0
# The longest window that is charted by the minute is a day.
MINUTES_KEPT_FOR = timedelta(days=2)
# When the portal had a row, by its own clock; the same column in all histories.
_CAME = "received_at"


@dataclass(frozen=True, slots=True)
class History:
    """One table that only grows, the column that says how old a row is, and for how many days rows are kept."""

    table: str
    column: str
    days: int
    # The environment variable that says so.
    setting: str

    def cutoff(self, now: datetime) -> datetime:
        """What is older has had its time."""
        return now - timedelta(days=self.days)


def histories() -> list[History]:
    """The tables that are partitioned on PostgreSQL."""
    windows_days = settings.RETENTION_TASK_METRIC_WINDOWS_DAYS
    return [
        History(Event._meta.db_table, "occurred_at", settings.RETENTION_TASK_EVENTS_DAYS, EVENTS_SETTING),
        History(MetricWindow._meta.db_table, "window_ended_at", windows_days, WINDOWS_SETTING),
        History(CustomMetric._meta.db_table, "window_ended_at", windows_days, WINDOWS_SETTING),
    ]


def make_partitions(now: datetime | None = None) -> int:
    """Make what is missing for this week, PARTITIONS_AHEAD_WEEKS more, and past weeks with rows in the DEFAULT
    partition; returns how many were made. On databases without partitions nothing.

    Each is a transaction of its own. A table that is busy is left to the next run. Cost when nothing is missing: two
    reads per table.
    """
    if not partitions.are_supported():
        return 0
    now = now or timezone.now()
    made = 0
    for history in histories():
        try:
            for week in _missing_weeks(history, now):
                made += partitions.make_partition(history.table, history.column, week)
        except PartitionBusy as busy:
            logger.info("partition.put_off table=%s reason=%s", history.table, busy)
    return made


def _missing_weeks(history: History, now: datetime) -> Iterator[datetime]:
    """Each week without a partition that should have one; look on only when it was made."""
    this_week = partitions.week_of(now)
    wanted = {this_week + number * WEEK for number in range(settings.PARTITIONS_AHEAD_WEEKS + 1)}
    yield from sorted(wanted - partitions.weeks_made(history.table))
    # Rows may be older than the first partition: agents report late, and their clocks lie.
    since = history.cutoff(now)
    while oldest := partitions.oldest_in_default(history.table, history.column, since=since, before=now):
        yield (week := partitions.week_of(oldest))
        since = week + WEEK


def apply_retention(now: datetime | None = None) -> bool:
    """Take away what is too old, for STEP_MAX_S at the most; True when nothing is left.

    When nothing was left, it rests for RETENTION_RUN_INTERVAL_S. Cost of a run that rests: one read by primary key.
    """
    now = now or timezone.now()
    if rests(RETENTION_JOB, now):
        return True
    until = time.monotonic() + STEP_MAX_S
    # All of them, whatever one says: none waits for another's backlog.
    if not all([_drop_weeks(now), *(in_batches(delete, until) for delete in _deletions(now))]):
        return False
    BackgroundJob.objects.filter(name=RETENTION_JOB).update(completed_at=now)
    return True


def rests(job: str, now: datetime) -> bool:
    """Whether nothing was left less than RETENTION_RUN_INTERVAL_S ago. One read by primary key."""
    completed_at = BackgroundJob.objects.filter(name=job).values_list("completed_at", flat=True).first()
    if completed_at is None:
        return False
    # A completion in the future was written by a wrong clock and holds nothing up.
    return now - timedelta(seconds=settings.RETENTION_RUN_INTERVAL_S) < completed_at <= now


def _drop_weeks(now: datetime) -> bool:
    """Drop each partition whose whole week is past, with all that came for it; False where a table was busy."""
    if not partitions.are_supported():
        return True
    done = True
    for history in histories():
        cutoff = history.cutoff(now)
        try:
            for partition in partitions.partitions(history.table):
                if (
                    partition.ends_at
                    and partition.ends_at <= cutoff
                    and partitions.drop_partition(history.table, partition, unless=(_CAME, cutoff))
                ):
                    note_removed(history.setting, partition.row_estimate, now=now)
        except PartitionBusy as busy:
            logger.info("partition.put_off table=%s reason=%s", history.table, busy)
            done = False
    return done


@dataclass(frozen=True, slots=True)
class Deletion:
    """What deletes up to a batch of old rows and says how many, and the setting for which it does."""

    setting: str
    delete: Callable[[], int]


def _deletions(now: datetime) -> list[Deletion]:
    """One for each table that has old rows."""
    deletions = [
        Deletion(COMMANDS_SETTING, lambda: _delete_commands(now)),
        Deletion(COMMANDS_SETTING, lambda: _delete_fan_outs(now)),
        Deletion(EVENTS_SETTING, lambda: _delete_corrections(now)),
        Deletion(WINDOWS_SETTING, lambda: _delete_rollups(MINUTE_S, now - MINUTES_KEPT_FOR)),
        Deletion(
            WINDOWS_SETTING,
            lambda: _delete_rollups(HOUR_S, now - timedelta(days=settings.RETENTION_TASK_METRIC_WINDOWS_DAYS)),
        ),
    ]
    for history in histories():
        # Past rows of a partition wait for their whole week.
        table = partitions.default_name(history.table) if partitions.are_supported() else history.table
        deletions.append(Deletion(history.setting, partial(_delete_rows, table, history, now)))
    return deletions


def in_batches(deletion: Deletion, until: float) -> bool:
    """Delete until nothing is left or the time is up; True when nothing is left. What went is counted."""
    removed = 0
    try:
        while time.monotonic() < until:
            started = time.monotonic()
            batch = deletion.delete()
            removed += batch
            if batch < settings.RETENTION_DELETE_BATCH_SIZE:
                return True
            # SQLite lets one write at a time: others get as much of it as this does.
            time.sleep(time.monotonic() - started)
        return False
    finally:
        note_removed(deletion.setting, removed)


def _delete_rows(table: str, history: History, now: datetime) -> int:
    """Delete the oldest rows of one table; its statement names no row twice and locks no other."""
    cutoff = connection.ops.adapt_datetimefield_value(history.cutoff(now))
    quote, place = connection.ops.quote_name, "ctid" if connection.vendor == "postgresql" else "rowid"
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {quote(table)} WHERE {place} IN (SELECT {place} FROM {quote(table)} "  # noqa: S608
            f"WHERE {quote(history.column)} < %s AND {_CAME} < %s ORDER BY {quote(history.column)} LIMIT %s)",
            [cutoff, cutoff, settings.RETENTION_DELETE_BATCH_SIZE],
        )
        deleted: int = cursor.rowcount
    return deleted


def _delete_commands(now: datetime) -> int:
    """Delete the oldest commands that ended long enough ago; an open one stays, however old."""
    cutoff = now - timedelta(days=settings.RETENTION_AGENT_COMMANDS_DAYS)
    # Made even earlier than it ended: this is what the index of the newest is good for.
    ended = Command.objects.filter(created_at__lt=cutoff, updated_at__lt=cutoff).exclude(status__in=Command.OPEN)
    oldest = ended.order_by("created_at", "id").values_list("pk", flat=True)[: settings.RETENTION_DELETE_BATCH_SIZE]
    deleted, _ = ended.filter(pk__in=list(oldest)).delete()
    return deleted


def _delete_fan_outs(now: datetime) -> int:
    """Delete targets of the oldest fan-outs that are past and have no command left, and those without any target.

    Returns how many rows of the one that went more often: one fan-out may have more targets than a batch.
    """
    cutoff = now - timedelta(days=settings.RETENTION_AGENT_COMMANDS_DAYS)
    size = settings.RETENTION_DELETE_BATCH_SIZE
    kept = Command.objects.filter(targets__fan_out=OuterRef("pk"))
    past = FanOut.objects.filter(~Exists(kept), created_at__lt=cutoff)
    oldest = list(past.order_by("created_at", "id").values_list("pk", flat=True)[:size])
    targets = FanOutTarget.objects.filter(fan_out__in=oldest).order_by("id").values_list("pk", flat=True)[:size]
    emptied, _ = FanOutTarget.objects.filter(pk__in=list(targets)).delete()
    without = FanOut.objects.filter(pk__in=oldest).exclude(Exists(FanOutTarget.objects.filter(fan_out=OuterRef("pk"))))
    deleted, _ = without.delete()
    return max(emptied, deleted)


def _delete_corrections(now: datetime) -> int:
    """A record that comes after this is older than anything that is kept."""
    days = max(settings.RETENTION_TASK_EVENTS_DAYS, settings.RETENTION_TASK_METRIC_WINDOWS_DAYS)
    past = ClockCorrection.objects.filter(made_at__lt=now - timedelta(days=days) - WEEK)
    oldest = past.order_by("made_at").values_list("pk", flat=True)[: settings.RETENTION_DELETE_BATCH_SIZE]
    deleted, _ = past.filter(pk__in=list(oldest)).delete()
    return deleted


def _delete_rollups(width_s: int, cutoff: datetime) -> int:
    """Whole minutes or hours, of all environments; a range of the primary key."""
    past = WorkRollup.objects.filter(width_s=width_s, started_at__lt=cutoff)
    oldest = past.order_by("started_at").values_list("started_at", flat=True)[: settings.RETENTION_DELETE_BATCH_SIZE]
    if not (begins := list(oldest)):
        return 0
    deleted, _ = past.filter(started_at__lte=begins[-1]).delete()
    return deleted
