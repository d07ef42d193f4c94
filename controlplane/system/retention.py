"""What is kept for how long: each setting with its variable, what it removes, and what it removed."""

from dataclasses import dataclass, replace
from datetime import datetime

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from agents.models import BackgroundJob, RetentionResult
from agents.services.sizes import SIZES_JOB, SIZES_KEPT
from controlplane.access.cleaning import LOGINS_SETTING
from notifications.services.retention import CLEAN_JOB, DELIVERIES_SETTING
from tasks_app.services.storage import COMMANDS_SETTING, EVENTS_SETTING, RETENTION_JOB, WINDOWS_SETTING

CLEAN_LOGINS_JOB = "clean-logins"
# They say by themselves when nothing was left.
_RESTING = frozenset({RETENTION_JOB, CLEAN_JOB})


@dataclass(frozen=True, slots=True)
class Kept:
    """One setting. `ran_at` is when its job last had nothing left to remove; `setting` is "" where it cannot be set.

    Rows are counted since `counted_since`; those of partitions that were dropped are estimates.
    """

    setting: str
    days: int
    removes: str | Promise
    job: str
    tables: tuple[str, ...]
    ran_at: datetime | None = None
    last_removed_at: datetime | None = None
    last_removed_rows: int | None = None
    removed_rows: int = 0
    counted_since: datetime | None = None


_SETTINGS: tuple[tuple[str, str | Promise, str, tuple[str, ...]], ...] = (
    (
        EVENTS_SETTING,
        _("Events, by when they happened and when they came"),
        RETENTION_JOB,
        ("agents_event", "agents_clockcorrection"),
    ),
    (
        WINDOWS_SETTING,
        _("Metric windows and custom metrics of tasks"),
        RETENTION_JOB,
        ("tasks_app_metricwindow", "tasks_app_custommetric"),
    ),
    (
        COMMANDS_SETTING,
        _("Commands that have ended, and fan-outs without any left"),
        RETENTION_JOB,
        ("agents_command", "agents_fanout", "agents_fanouttarget"),
    ),
    (
        DELIVERIES_SETTING,
        _("Deliveries that have ended, with their attempts, and alerts that are over"),
        CLEAN_JOB,
        (
            "notifications_delivery",
            "notifications_attempt",
            "notifications_alert",
            "notifications_alertmember",
        ),
    ),
    (
        LOGINS_SETTING,
        _("Logins and failed logins; sessions of the console as they expire"),
        CLEAN_LOGINS_JOB,
        ("axes_accesslog", "axes_accessfailurelog", "access_consolesession"),
    ),
)


def retention() -> list[Kept]:
    """Each setting. Two queries."""
    results = RetentionResult.objects.in_bulk([setting for setting, *_rest in _SETTINGS])
    rows = BackgroundJob.objects.in_bulk([RETENTION_JOB, CLEAN_JOB, CLEAN_LOGINS_JOB, SIZES_JOB])
    ran = {name: row.completed_at if name in _RESTING else row.last_succeeded_at for name, row in rows.items()}
    found = [
        _kept(Kept(setting, getattr(settings, setting), removes, job, tables, ran.get(job)), results.get(setting))
        for setting, removes, job, tables in _SETTINGS
    ]
    samples = _("Samples of the sizes of tables")
    return [*found, Kept("", SIZES_KEPT.days, samples, SIZES_JOB, ("agents_tablesize",), ran.get(SIZES_JOB))]


def _kept(kept: Kept, result: RetentionResult | None) -> Kept:
    if result is None:
        return kept
    return replace(
        kept,
        last_removed_at=result.last_removed_at,
        last_removed_rows=result.last_removed_rows,
        removed_rows=result.removed_rows,
        counted_since=result.counted_since,
    )
