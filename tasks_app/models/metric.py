"""MetricWindow and CustomMetric: what a task did in one reporting window of one instance."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from agents.models import Instance
from agents.models.service import service_again


class MetricWindow(models.Model):
    """Counters of one task of one instance over one window; a window that comes again is the same row.

    The foreign keys have no database constraint: rows are written in bulk for instances that a session just proved. The
    service is that of the instance, which never changes it; said here again, it lets an index serve what is asked of a
    service.
    """

    id = models.BigAutoField(primary_key=True)
    instance = models.ForeignKey(
        Instance,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="metric_windows",
        verbose_name=_("instance"),
    )
    service = service_again("metric_windows")
    task_name = models.CharField(_("task"), max_length=255)
    window_id = models.CharField(_("window id"), max_length=255)
    window_started_at = models.DateTimeField(_("from"))
    window_ended_at = models.DateTimeField(_("to"))
    fetched = models.BigIntegerField(_("fetched"), default=0)
    started = models.BigIntegerField(_("started"), default=0)
    succeeded = models.BigIntegerField(_("succeeded"), default=0)
    retried = models.BigIntegerField(_("retried"), default=0)
    failed = models.BigIntegerField(_("failed"), default=0)
    dead_lettered = models.BigIntegerField(_("dead-lettered"), default=0)
    cancelled = models.BigIntegerField(_("cancelled"), default=0)
    timeouts = models.BigIntegerField(_("timeouts"), default=0)
    inflight = models.BigIntegerField(_("in flight"), default=0)
    avg_duration_ms = models.FloatField(_("average duration (ms)"), null=True, blank=True)
    p95_duration_ms = models.FloatField(_("p95 duration (ms)"), null=True, blank=True)
    received_at = models.DateTimeField(_("received"))

    class Meta:
        verbose_name = _("metric window")
        verbose_name_plural = _("metric windows")
        ordering = ("-window_ended_at", "task_name", "window_id")
        constraints = [
            models.UniqueConstraint(
                fields=("instance", "task_name", "window_id"), name="metricwindow_instance_task_window"
            )
        ]
        indexes = [
            # Read by charts and by the retention: a time range of one instance, or of all.
            models.Index(fields=("instance", "-window_ended_at"), name="metricwindow_instance_newest"),
            models.Index(fields=("-window_ended_at",), name="metricwindow_newest"),
            # Read by lists and sums over a service, and over one of its tasks.
            models.Index(
                fields=("service", "-window_ended_at", "task_name", "window_id"), name="metricwindow_service_newest"
            ),
            models.Index(
                fields=("service", "task_name", "-window_ended_at", "window_id"), name="metricwindow_task_newest"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_name} {self.window_id}"


class CustomMetric(models.Model):
    """One sample of a metric that the task's own code counts; counters are deltas of their window."""

    class Kind(models.TextChoices):
        COUNTER = "counter", _("Counter")
        GAUGE = "gauge", _("Gauge")

    id = models.BigAutoField(primary_key=True)
    instance = models.ForeignKey(
        Instance,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="custom_metrics",
        verbose_name=_("instance"),
    )
    task_name = models.CharField(_("task"), max_length=255)
    window_id = models.CharField(_("window id"), max_length=255)
    window_ended_at = models.DateTimeField(_("to"))
    name = models.CharField(_("name"), max_length=255)
    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    labels = models.JSONField(_("labels"), default=dict)
    labels_hash = models.CharField(max_length=64)
    value = models.FloatField(_("value"))
    received_at = models.DateTimeField(_("received"))

    class Meta:
        verbose_name = _("custom metric")
        verbose_name_plural = _("custom metrics")
        ordering = ("-window_ended_at", "name")
        constraints = [
            models.UniqueConstraint(
                fields=("instance", "task_name", "window_id", "name", "kind", "labels_hash"),
                name="custommetric_sample",
            )
        ]
        indexes = [models.Index(fields=("-window_ended_at",), name="custommetric_newest")]

    def __str__(self) -> str:
        return self.name
