"""Silence: when nobody is told, once or again and again."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from notifications.models.scope import Scope


class Silence(Scope):
    """What is in its scope is counted and not told from `starts_at` to `ends_at`.

    One that recurs (`weekdays` 0 = Monday to 6, `start_time`, `duration_min`, in `time_zone`) is a maintenance window:
    it is in force in each of its rounds that begins between `starts_at` and `ends_at`, for ever where that is None.
    At the end of each round one summary of what is still broken is told; `told_until` is the end of the last one told.
    What went on before a round is quiet in it, too; `applied_at` is the beginning of the last one that saw to that.
    """

    reason = models.TextField(_("reason"))
    event_types = models.JSONField(_("event types"), default=list, blank=True, help_text=_("Empty silences all."))
    starts_at = models.DateTimeField(_("starts"))
    ends_at = models.DateTimeField(_("ends"), null=True, blank=True)
    weekdays = models.JSONField(_("weekdays"), default=list, blank=True)
    start_time = models.TimeField(_("begins at"), null=True, blank=True)
    duration_min = models.PositiveIntegerField(_("duration (min)"), null=True, blank=True)
    time_zone = models.CharField(_("time zone"), max_length=64, blank=True)
    cancelled_at = models.DateTimeField(_("cancelled"), null=True, blank=True, editable=False)
    told_until = models.DateTimeField(null=True, blank=True, editable=False)
    applied_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    created_by_name = models.CharField(_("created by"), max_length=255, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("silence")
        verbose_name_plural = _("silences")
        ordering = ("-starts_at", "-id")

    def __str__(self) -> str:
        return self.reason[:80]

    @property
    def recurs(self) -> bool:
        return self.start_time is not None
