"""WorkRollup: what the whole fleet did, minute by minute and hour by hour, so that charts need not read its windows."""

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

MINUTE_S: Final = 60
HOUR_S: Final = 3600
# Connections that store at once write rows of their own, as long as there are not more of them than this.
SHARDS: Final = 8


class WorkRollup(models.Model):
    """Counts of the windows of one environment that ended within one minute or hour: after its beginning, and not after
    its end. `failed` are deliveries that failed for good, the dead-lettered ones among them.

    Written with the windows, in one transaction, each window counted once (docs/adr/0009-rollups-of-the-fleet.md).
    """

    pk = models.CompositePrimaryKey("width_s", "started_at", "environment", "shard")
    width_s = models.PositiveIntegerField(_("seconds"))
    started_at = models.DateTimeField(_("from"))
    environment = models.CharField(_("environment"), max_length=64)
    shard = models.PositiveSmallIntegerField()
    started = models.FloatField(_("started"))
    succeeded = models.FloatField(_("succeeded"))
    retried = models.FloatField(_("retried"))
    failed = models.FloatField(_("failed"))
    dead_lettered = models.FloatField(_("dead-lettered"))
    cancelled = models.FloatField(_("cancelled"))

    class Meta:
        verbose_name = _("work of the fleet")
        verbose_name_plural = _("work of the fleet")

    def __str__(self) -> str:
        return f"{self.environment} {self.started_at:%Y-%m-%d %H:%M}"
