"""Disks and history: whether there is room, and whether what is old goes."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.utils.translation import gettext

from agents.selectors.sizes import Growth
from controlplane.system.disks import Disk
from controlplane.system.findings import Finding, named
from controlplane.system.retention import Kept
from controlplane.system.words import size_words
from tasks_app.services.storage import RETENTION_JOB

DISK_WARN_SHARE = 0.10
DISK_ERROR_SHARE = 0.03
DAYS_LEFT_WARN = 14
# Kept for longer than this is kept for ever.
OFF_DAYS = 3650
# Runs of the retention that may be missed.
RUNS_MISSED = 3
# What grows by less than this a day is not worth a word.
GROWS_BYTES_PER_DAY = 1024**2
NAMED = 3


def check_storage(
    now: datetime, disks: Iterable[Disk], growth: Sequence[Growth], kept: Sequence[Kept]
) -> Iterator[Finding]:
    """By figures that were read already: no query."""
    for disk in disks:
        yield from _disk(disk)
    yield from _retention(now, growth, kept)


def _disk(disk: Disk) -> Iterator[Finding]:
    if disk.free_share < DISK_WARN_SHARE:
        yield Finding(
            "disk_nearly_full",
            "error" if disk.free_share < DISK_ERROR_SHARE else "warning",
            gettext("The disk of %s is nearly full") % disk.path,
            gettext("%(free)s of %(total)s are free.")
            % {"free": size_words(disk.free_bytes), "total": size_words(disk.total_bytes)},
            gettext("Make room or enlarge it; shorter retention frees the database after the next run."),
            "RETENTION_TASK_EVENTS_DAYS",
        )
    elif disk.days_left is not None and disk.days_left < DAYS_LEFT_WARN:
        yield Finding(
            "disk_full_soon",
            "warning",
            gettext("The disk of %s will be full soon") % disk.path,
            gettext("At the pace of the last days in %d days.") % disk.days_left,
            gettext("Enlarge it, or keep history for fewer days."),
            "RETENTION_TASK_EVENTS_DAYS",
        )


def _retention(now: datetime, growth: Sequence[Growth], kept: Sequence[Kept]) -> Iterator[Finding]:
    """Only where a table that retention looks after grows: nothing else tells that nothing is removed."""
    growing = {each.table for each in growth if (each.bytes_per_day or 0) > GROWS_BYTES_PER_DAY}
    for each in kept:
        tables = [table for table in each.tables if table in growing]
        if tables and each.days >= OFF_DAYS:
            yield Finding(
                "retention_off",
                "warning",
                gettext("%s is as good as off, and its tables grow") % each.setting,
                gettext("Kept for %(days)d days: %(tables)s.")
                % {"days": each.days, "tables": named(tables[:NAMED], len(tables))},
                gettext("Keep it for as many days as you look back, then start the portal again."),
                f"{each.setting}=90",
            )
    late = timedelta(seconds=RUNS_MISSED * settings.RETENTION_RUN_INTERVAL_S)
    of_job = [each for each in kept if each.job == RETENTION_JOB]
    tables = [table for each in of_job for table in each.tables if table in growing]
    ran_at = of_job[0].ran_at if of_job else None
    if tables and (ran_at is None or ran_at < now - late):
        yield Finding(
            "retention_behind",
            "error",
            gettext("Old history is not removed, and its tables grow"),
            gettext("The job %(job)s has not finished a round: %(tables)s.")
            % {"job": RETENTION_JOB, "tables": named(tables[:NAMED], len(tables))},
            gettext("Look at the page of the job and the log of the worker; larger batches remove faster."),
            "RETENTION_DELETE_BATCH_SIZE=5000",
            ran_at,
        )
