"""TaskTotals and CustomMetricTotals: what was ever counted, whatever became of the windows that it was counted in."""

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from agents.models import Instance
from tasks_app.models.metric import CustomMetric

# Totals are doubles, as those who read them take them: whole numbers are exact up to 2^53, and no sum of hostile
# counts overflows. Beyond this they stand still: a double that overflows is an error to PostgreSQL.
TOTAL_MAX: Final = 1e308


class TaskTotals(models.Model):
    """One task of one instance: its counters over all windows that ever came, and the latest window.

    Written with the windows, in one transaction, each window counted once; never lowered. The foreign key has no
    database constraint, as that of the windows.
    """

    pk = models.CompositePrimaryKey("instance_id", "task_name")
    instance = models.ForeignKey(
        Instance,
        on_delete=models.CASCADE,
        db_constraint=False,
        # The primary key begins with it.
        db_index=False,
        related_name="task_totals",
        verbose_name=_("instance"),
    )
    task_name = models.CharField(_("task"), max_length=255)
    fetched = models.FloatField(_("fetched"))
    started = models.FloatField(_("started"))
    succeeded = models.FloatField(_("succeeded"))
    retried = models.FloatField(_("retried"))
    failed = models.FloatField(_("failed"))
    dead_lettered = models.FloatField(_("dead-lettered"))
    cancelled = models.FloatField(_("cancelled"))
    timeouts = models.FloatField(_("timeouts"))
    window_started_at = models.DateTimeField(_("from"))
    window_ended_at = models.DateTimeField(_("to"))
    inflight = models.BigIntegerField(_("in flight"))
    avg_duration_ms = models.FloatField(_("average duration (ms)"), null=True)
    p95_duration_ms = models.FloatField(_("p95 duration (ms)"), null=True)

    class Meta:
        verbose_name = _("task totals")
        verbose_name_plural = _("task totals")

    def __str__(self) -> str:
        return self.task_name


class CustomMetricTotals(models.Model):
    """One series of a custom metric: the sum of a counter's deltas, or the latest value of a gauge."""

    pk = models.CompositePrimaryKey("instance_id", "task_name", "name", "kind", "labels_hash")
    instance = models.ForeignKey(
        Instance,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="custom_metric_totals",
        verbose_name=_("instance"),
    )
    task_name = models.CharField(_("task"), max_length=255)
    name = models.CharField(_("name"), max_length=255)
    kind = models.CharField(_("kind"), max_length=8, choices=CustomMetric.Kind.choices)
    labels_hash = models.CharField(max_length=64)
    labels = models.JSONField(_("labels"), default=dict)
    value = models.FloatField(_("value"))
    window_ended_at = models.DateTimeField(_("to"))

    class Meta:
        verbose_name = _("custom metric totals")
        verbose_name_plural = _("custom metric totals")

    def __str__(self) -> str:
        return self.name
