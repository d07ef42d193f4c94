"""Replica: one process of the portal that holds sessions or runs background jobs."""

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _


class Replica(models.Model):
    """One process of the portal, from its start to its end.

    Sessions carry the replica that holds them, so that those of a dead process are found without touching the
    sessions of living ones.
    """

    class Kind(models.TextChoices):
        WEB = "web", _("Web")
        WORKER = "worker", _("Worker")
        BEAT = "beat", _("Beat")
        GRPC = "grpc", _("gRPC")

    id = models.UUIDField(_("id"), primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    host_id = models.CharField(
        _("host"),
        max_length=128,
        help_text=_("Host name, boot and process namespace: process ids mean something only within one."),
    )
    pid = models.BigIntegerField(_("process id"))
    process_started_at = models.DateTimeField(_("process started"))
    start_ticks = models.BigIntegerField(
        _("start ticks"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("When the process started, in clock ticks since the boot: no change of the clock moves it."),
    )
    started_at = models.DateTimeField(_("started"), auto_now_add=True)
    last_seen_at = models.DateTimeField(_("last seen"))
    sight_since = models.DateTimeField(
        _("sees since"),
        help_text=_("Since when it has reported without a gap: before that, silence of an instance proves nothing."),
    )
    stopped_at = models.DateTimeField(_("stopped"), null=True, blank=True)
    ingest = models.JSONField(
        _("ingest"),
        default=dict,
        blank=True,
        editable=False,
        help_text=_("How the writing of what the agents report fared at the last pulse, by queue."),
    )

    class Meta:
        verbose_name = _("portal process")
        verbose_name_plural = _("portal processes")
        ordering = ("-started_at",)
        indexes = [
            # Read by the reconciler and the readiness page: the few that have not ended.
            models.Index(fields=("last_seen_at",), name="replica_running", condition=models.Q(stopped_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.host_id.partition('/')[0]}:{self.pid}"
