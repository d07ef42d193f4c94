"""Totals of deliveries, for whoever counts over all time; the retention of the ledger does not lower them."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class DeliveryTotals(models.Model):
    """How many deliveries by one provider ever came to one end; added to in the transaction of the end."""

    provider = models.CharField(_("provider"), max_length=16)
    status = models.CharField(_("status"), max_length=16)
    count = models.BigIntegerField(_("deliveries"))

    class Meta:
        verbose_name = _("delivery totals")
        verbose_name_plural = _("delivery totals")
        constraints = [models.UniqueConstraint(fields=("provider", "status"), name="delivery_totals")]

    def __str__(self) -> str:
        return f"{self.provider} {self.status}"
