"""Instance: one running agent of any dialect."""

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _

from agents.models.service import Service


class Dialect(models.TextChoices):
    ONESTEP = "onestep", "OneStep"
    ARGUS = "argus", "Argus"
    JKSTACK = "jkstack", "jkstack"
    ARCADE = "arcade", "Arcade"


class Health(models.TextChoices):
    """What the instance says of itself."""

    OK = "ok", _("OK")
    DEGRADED = "degraded", _("Degraded")
    ERROR = "error", _("Error")
    STARTING = "starting", _("Starting")
    UNKNOWN = "unknown", _("Unknown")


class Connectivity(models.TextChoices):
    """What the portal says of the instance."""

    ONLINE = "online", _("Online")
    OFFLINE = "offline", _("Offline")
    NEVER_REPORTED = "never_reported", _("Never reported")


class Instance(models.Model):
    """One running agent, known to its dialect by `external_id`.

    An onestep agent names itself by a UUID, and that UUID is its `id` here too, so that a frame finds its row without
    a look-up and the API speaks of one id. Other dialects get a random `id`.
    """

    id = models.UUIDField(_("id"), primary_key=True, default=uuid.uuid4, editable=False)
    dialect = models.CharField(_("dialect"), max_length=16, choices=Dialect.choices)
    external_id = models.CharField(_("id of the agent"), max_length=255)
    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="instances", verbose_name=_("service"))

    # Facts that the agent reports of itself.
    node_name = models.CharField(_("node name"), max_length=255, blank=True)
    hostname = models.CharField(_("host name"), max_length=255, blank=True)
    pid = models.BigIntegerField(_("process id"), null=True, blank=True)
    deployment_version = models.CharField(_("version"), max_length=128, blank=True)
    agent_version = models.CharField(_("agent version"), max_length=64, blank=True)
    python_version = models.CharField(_("Python version"), max_length=64, blank=True)
    started_at = models.DateTimeField(_("process started"), null=True, blank=True)

    # State. `connectivity` is a stored verdict: it changes together with its event, and only in agents.services.
    connectivity = models.CharField(
        _("connectivity"), max_length=16, choices=Connectivity.choices, default=Connectivity.NEVER_REPORTED
    )
    connectivity_changed_at = models.DateTimeField(_("connectivity since"), null=True, blank=True)
    last_seen_at = models.DateTimeField(_("last seen"), null=True, blank=True)
    health = models.CharField(_("health"), max_length=16, choices=Health.choices, default=Health.UNKNOWN)
    health_changed_at = models.DateTimeField(_("health since"), null=True, blank=True)
    uptime_s = models.BigIntegerField(_("uptime (s)"), null=True, blank=True)
    inflight_tasks = models.BigIntegerField(_("tasks in flight"), null=True, blank=True)
    conflict_seen_at = models.DateTimeField(
        _("identity conflict seen"),
        null=True,
        blank=True,
        help_text=_("When two live processes last claimed this identity at once."),
    )

    # Ordering guards: a frame counts only if (process start, sequence, sent) is newer than the last that counted.
    last_sync_at = models.DateTimeField(_("last sync"), null=True, blank=True)
    last_sync_started_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_sync_sequence = models.BigIntegerField(null=True, blank=True, editable=False)
    last_topology_hash = models.CharField(_("topology"), max_length=255, blank=True)
    last_heartbeat_sent_at = models.DateTimeField(_("last heartbeat sent"), null=True, blank=True)
    last_heartbeat_started_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_heartbeat_sequence = models.BigIntegerField(_("last heartbeat number"), null=True, blank=True)

    archived_at = models.DateTimeField(
        _("archived"), null=True, blank=True, help_text=_("Left out of lists and figures until it reports again.")
    )
    forget_requested_at = models.DateTimeField(
        _("being forgotten since"), null=True, blank=True, help_text=_("Nobody is let in under its name meanwhile.")
    )

    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("instance")
        verbose_name_plural = _("instances")
        ordering = ("service__environment", "service__name", "node_name", "id")
        constraints = [
            models.UniqueConstraint(fields=("dialect", "external_id"), name="instance_dialect_external_id"),
        ]
        indexes = [
            # Read by the collection of the API, in either direction. Neither changes with a heartbeat.
            models.Index(fields=("-created_at", "-id"), name="instance_newest"),
            models.Index(fields=("node_name", "id"), name="instance_node_name"),
        ]
        # No index on last_seen_at or connectivity: each heartbeat would have to move it, and PostgreSQL could no
        # longer update the row in place. The sweep reads the narrow table instead.

    def __str__(self) -> str:
        return f"{self.node_name or self.external_id} ({self.external_id[:8]})"
