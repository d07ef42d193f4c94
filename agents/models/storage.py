"""TableSize and RetentionResult: what the portal's own tables take, and what retention took away from them."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class TableSize(models.Model):
    """How large one table was at one moment, its indexes and partitions with it.

    The row whose `table` is empty is the whole database. Where the database does not tell tables apart, it is the only
    one.
    """

    taken_at = models.DateTimeField(_("taken"))
    table = models.CharField(_("table"), max_length=128, blank=True)
    size_bytes = models.BigIntegerField(_("bytes"))
    row_estimate = models.BigIntegerField(_("rows, about"), null=True, blank=True)

    class Meta:
        verbose_name = _("size of a table")
        verbose_name_plural = _("sizes of tables")
        default_permissions = ()
        constraints = [
            # Its index finds the newest and the oldest sample, and all tables of one.
            models.UniqueConstraint(fields=("taken_at", "table"), name="tablesize_once"),
        ]

    def __str__(self) -> str:
        return f"{self.table or '*'} {self.taken_at:%Y-%m-%d %H:%M}"


class RetentionResult(models.Model):
    """What one retention setting removed: in all since `counted_since`, and in the last run that found something."""

    setting = models.CharField(_("setting"), max_length=64, primary_key=True)
    counted_since = models.DateTimeField(_("counted since"))
    removed_rows = models.BigIntegerField(_("rows removed"), default=0)
    last_removed_at = models.DateTimeField(_("last removed"))
    last_removed_rows = models.BigIntegerField(_("rows removed by the last run"), default=0)

    class Meta:
        verbose_name = _("result of retention")
        verbose_name_plural = _("results of retention")
        default_permissions = ()

    def __str__(self) -> str:
        return self.setting
