"""Session: one connection of an instance, from hello to disconnect."""

import uuid
from datetime import datetime

from django.db import models
from django.utils.translation import gettext_lazy as _

from agents.models.instance import Instance
from agents.models.replica import Replica
from agents.models.service import service_again
from agents.models.token import AgentToken


class Session(models.Model):
    """One connection of an instance. At most one per instance is active, held by a constraint."""

    class Status(models.TextChoices):
        ACTIVE = "active", _("Active")
        DISCONNECTED = "disconnected", _("Disconnected")
        SUPERSEDED = "superseded", _("Superseded")

    id = models.UUIDField(_("id"), primary_key=True, default=uuid.uuid4, editable=False)
    instance = models.ForeignKey(
        Instance, on_delete=models.CASCADE, related_name="sessions", verbose_name=_("instance")
    )
    service = service_again("sessions")
    replica = models.ForeignKey(
        Replica, on_delete=models.SET_NULL, null=True, related_name="sessions", verbose_name=_("held by")
    )
    token = models.ForeignKey(
        AgentToken,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        # The one of `session_token_newest` begins with it.
        db_index=False,
        related_name="sessions",
        verbose_name=_("token"),
        help_text=_("Empty where the token came from the environment."),
    )
    status = models.CharField(_("status"), max_length=16, choices=Status.choices, default=Status.ACTIVE)
    protocol_version = models.CharField(_("protocol version"), max_length=16)
    capabilities = models.JSONField(_("requested capabilities"), default=list)
    accepted_capabilities = models.JSONField(_("accepted capabilities"), default=list)
    peer_address = models.CharField(_("peer address"), max_length=64, blank=True)

    # Which process of the agent is at the other end: only that process can still answer an accepted command.
    runtime_hostname = models.CharField(_("host name"), max_length=255, blank=True)
    runtime_pid = models.BigIntegerField(_("process id"), null=True, blank=True)
    runtime_started_at = models.DateTimeField(_("process started"), null=True, blank=True)
    took_over_at = models.DateTimeField(
        _("took over"),
        null=True,
        blank=True,
        help_text=_("Set where this session took the identity from another live process."),
    )

    connected_at = models.DateTimeField(_("connected"))
    last_hello_at = models.DateTimeField(_("last hello"))
    last_message_at = models.DateTimeField(_("last message"))
    superseded_at = models.DateTimeField(_("superseded"), null=True, blank=True)
    disconnected_at = models.DateTimeField(_("disconnected"), null=True, blank=True)
    end_reason = models.CharField(_("why it ended"), max_length=64, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        ordering = ("-connected_at", "-id")
        constraints = [
            models.UniqueConstraint(
                fields=("instance",), name="session_one_active", condition=models.Q(status="active")
            ),
        ]
        indexes = [
            # Read by lists of sessions, newest first, whole or of one instance.
            models.Index(fields=("-connected_at", "-id"), name="session_newest"),
            models.Index(fields=("instance", "-connected_at"), name="session_instance_newest"),
            models.Index(fields=("service", "-connected_at", "-id"), name="session_service_newest"),
            # Read by the pages of tokens: who used one last.
            models.Index(fields=("token", "-connected_at", "-id"), name="session_token_newest"),
            # Both are read by every process each few seconds: which of my sessions are to be closed.
            models.Index(fields=("replica",), name="session_replica_active", condition=models.Q(status="active")),
            models.Index(fields=("replica", "disconnected_at"), name="session_replica_ended"),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def process(self) -> tuple[str, int | None, datetime | None]:
        """What tells one process of an agent from another."""
        return (self.runtime_hostname, self.runtime_pid, self.runtime_started_at)

    @property
    def public_id(self) -> str:
        """The id on the wire and in the API."""
        return session_public_id(self.id)


def session_public_id(session_id: uuid.UUID) -> str:
    """The id of a session on the wire and in the API: `sess_` and 32 hex digits."""
    return f"sess_{session_id.hex}"
