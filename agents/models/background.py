"""BackgroundJob: when each background job of the portal last ran, and whether it may run now."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class BackgroundJob(models.Model):
    """One named background job. Its row is the lock that keeps a second scheduler harmless, and its health.

    `running_until` is set while it runs and ends by itself, so that a killed worker does not silence the job.
    """

    name = models.CharField(_("name"), max_length=64, primary_key=True)
    last_started_at = models.DateTimeField(_("last started"), null=True, blank=True)
    running_until = models.DateTimeField(_("running until"), null=True, blank=True)
    last_succeeded_at = models.DateTimeField(_("last succeeded"), null=True, blank=True)
    last_failed_at = models.DateTimeField(_("last failed"), null=True, blank=True)
    last_error = models.TextField(_("last error"), blank=True)
    completed_at = models.DateTimeField(
        _("completed"),
        null=True,
        blank=True,
        help_text=_("When a job that works in steps last had nothing left to do."),
    )
    last_duration_ms = models.PositiveIntegerField(_("last duration (ms)"), null=True, blank=True)

    class Meta:
        verbose_name = _("background job")
        verbose_name_plural = _("background jobs")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
