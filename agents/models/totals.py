"""CommandTotals: how many commands ever came to each status, whatever became of their rows."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class CommandTotals(models.Model):
    """One status of commands. Processes add what they counted with each pulse; never lowered."""

    status = models.CharField(_("status"), max_length=16, primary_key=True)
    count = models.BigIntegerField(_("commands"))

    class Meta:
        verbose_name = _("command totals")
        verbose_name_plural = _("command totals")

    def __str__(self) -> str:
        return self.status
