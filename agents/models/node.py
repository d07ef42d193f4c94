"""Node: what the registry knows of an instance of the argus dialect. Source: argus contract."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from agents.models.instance import Instance


class Node(models.Model):
    """A member of the registry, beside its instance.

    Its id is `external_id` of the instance, its status the connectivity, its last report `last_seen_at` and, by its
    own clock, `last_heartbeat_sent_at`; `meta_data` are the facts of the instance. So a report that tells nothing new
    writes one row of one table. `health` is an object of components, each an object with at least `status`; `label` is
    a list of strings.
    """

    instance = models.OneToOneField(
        Instance, on_delete=models.CASCADE, primary_key=True, related_name="node", verbose_name=_("instance")
    )
    number = models.BigIntegerField(_("number"), unique=True, help_text=_("What the id counts; never given twice."))
    name = models.CharField(_("name"), max_length=255, unique=True)
    type = models.CharField(_("type"), max_length=255)
    version = models.CharField(_("version"), max_length=255)
    config = models.JSONField(_("config"), default=dict, blank=True)
    label = models.JSONField(_("registry labels"), default=list, blank=True)
    health = models.JSONField(_("health"), default=dict, blank=True)
    registered_at = models.DateTimeField(_("registered"))
    updated_at = models.DateTimeField(_("updated"))

    class Meta:
        verbose_name = _("node")
        verbose_name_plural = _("nodes")
        ordering = ("number",)

    def __str__(self) -> str:
        return self.name


class NodeCounter(models.Model):
    """The one row that counts nodes. It outlives them: an id is never given twice."""

    last = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = _("node counter")
        verbose_name_plural = _("node counters")

    def __str__(self) -> str:
        return str(self.last)


class NodesFile(models.Model):
    """How the writing of nodes.json fares. Its one row is the lock of whoever writes."""

    path = models.TextField(_("path"), blank=True)
    written_at = models.DateTimeField(_("written"), null=True, blank=True)
    checked_at = models.DateTimeField(_("checked"), default=timezone.now)
    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True)
    failed_at = models.DateTimeField(_("failed last"), null=True, blank=True)
    failed_by = models.TextField(_("failed by"), blank=True, help_text=_("The host and the user that could not write."))
    error = models.TextField(_("error"), blank=True)
    node_count = models.PositiveIntegerField(_("nodes"), default=0)

    class Meta:
        verbose_name = _("nodes file")
        verbose_name_plural = _("nodes files")

    def __str__(self) -> str:
        return self.path
