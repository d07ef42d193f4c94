"""ClockCorrection: the time that the portal gave to a record whose own lay too far ahead."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class ClockCorrection(models.Model):
    """When a record happened, as settled when it first came; the same record gets the same time for ever.

    Time is part of what tells records apart where tables are partitioned, and a corrected time depends on when the
    record came: without this, one that comes twice would be stored twice.
    """

    key = models.CharField(_("key"), max_length=64, primary_key=True, help_text=_("SHA-256 of what names the record."))
    moment = models.DateTimeField(_("settled time"))
    reported_at = models.DateTimeField(
        _("reported time"), null=True, help_text=_("By the agent's clock; not known of what was settled long ago.")
    )
    made_at = models.DateTimeField(_("made"))

    class Meta:
        verbose_name = _("clock correction")
        verbose_name_plural = _("clock corrections")
        indexes = [
            # Read by the retention.
            models.Index(fields=("made_at",), name="clockcorrection_made"),
            # Read by each batch of events and of windows: does it hold a record that was settled before?
            models.Index(fields=("reported_at",), name="clockcorrection_reported"),
        ]

    def __str__(self) -> str:
        return self.key
