"""Command: one order to one instance, with a lifecycle."""

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from agents.models.instance import Instance
from agents.models.service import service_again
from agents.models.session import Session


class CommandKind(models.TextChoices):
    """The commands of the onestep dialect."""

    PING = "ping", _("Ping")
    SYNC_NOW = "sync_now", _("Sync now")
    FLUSH_METRICS = "flush_metrics", _("Flush metrics")
    FLUSH_EVENTS = "flush_events", _("Flush events")
    PAUSE_TASK = "pause_task", _("Pause task")
    RESUME_TASK = "resume_task", _("Resume task")
    RESTART_TASK = "restart_task", _("Restart task")
    RUN_TASK_ONCE = "run_task_once", _("Run task once")
    REPLAY_DEAD_LETTERS = "replay_dead_letters", _("Replay dead letters")
    DISCARD_DEAD_LETTERS = "discard_dead_letters", _("Discard dead letters")
    DRAIN = "drain", _("Drain")
    RESTART = "restart", _("Restart")
    SHUTDOWN = "shutdown", _("Shut down")


TASK_KINDS = frozenset(
    {
        CommandKind.PAUSE_TASK,
        CommandKind.RESUME_TASK,
        CommandKind.RESTART_TASK,
        CommandKind.RUN_TASK_ONCE,
        CommandKind.REPLAY_DEAD_LETTERS,
        CommandKind.DISCARD_DEAD_LETTERS,
    }
)
# Stops work of the whole instance: administrators only, after a recent login.
DESTRUCTIVE_KINDS = frozenset({CommandKind.DRAIN, CommandKind.RESTART, CommandKind.SHUTDOWN})
REASON_KINDS = DESTRUCTIVE_KINDS | TASK_KINDS
# Only what is as right in ten minutes as it is now may wait for the instance to come back.
HOLDABLE_KINDS = frozenset(CommandKind) - REASON_KINDS


class Command(models.Model):
    """One order to one instance. Status moves only by conditional update, in agents.services.commands."""

    class Status(models.TextChoices):
        PENDING = "pending", _("Queued")
        DISPATCHED = "dispatched", _("Sent")
        ACCEPTED = "accepted", _("Accepted")
        EXPIRED = "expired", _("Expired")
        REJECTED = "rejected", _("Rejected")
        SUCCEEDED = "succeeded", _("Succeeded")
        FAILED = "failed", _("Failed")
        TIMEOUT = "timeout", _("Timed out")
        CANCELLED = "cancelled", _("Cancelled")

    class AckStatus(models.TextChoices):
        ACCEPTED = "accepted", _("Accepted")
        REJECTED = "rejected", _("Rejected")

    class DeliveryMode(models.TextChoices):
        NOW_ONLY = "dispatch_now_only", _("Only if connected now")
        HOLD = "queue_until_reconnect", _("Hold until it reconnects")

    class Surface(models.TextChoices):
        UNKNOWN = "unknown", _("Unknown")
        INSTANCE = "instance_detail", _("Instance")
        SERVICE = "service_detail_fanout", _("Service")
        TASK = "task_detail", _("Task")

    id = models.UUIDField(_("id"), primary_key=True, default=uuid.uuid4, editable=False)
    instance = models.ForeignKey(
        Instance,
        on_delete=models.CASCADE,
        # command_instance_newest begins with it.
        db_index=False,
        related_name="commands",
        verbose_name=_("instance"),
    )
    service = service_again("commands")
    session = models.ForeignKey(
        Session,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="commands",
        verbose_name=_("session"),
        help_text=_("The session that it was last sent on."),
    )
    kind = models.CharField(_("kind"), max_length=64)
    args = models.JSONField(_("arguments"), default=dict, blank=True)
    task_name = models.CharField(
        _("task"), max_length=255, blank=True, help_text=_("args.task_name of a task command, for finding it again.")
    )
    timeout_s = models.PositiveIntegerField(_("timeout (s)"))
    delivery_mode = models.CharField(
        _("delivery"), max_length=32, choices=DeliveryMode.choices, default=DeliveryMode.NOW_ONLY
    )
    deadline_at = models.DateTimeField(_("deadline"))
    status = models.CharField(_("status"), max_length=16, choices=Status.choices, default=Status.PENDING)
    ack_status = models.CharField(
        _("acknowledgement"), max_length=16, choices=AckStatus.choices, blank=True, default=""
    )
    result = models.JSONField(_("result"), null=True, blank=True)
    duration_ms = models.BigIntegerField(_("duration (ms)"), null=True, blank=True)
    error_code = models.CharField(_("error code"), max_length=128, blank=True)
    error_message = models.TextField(_("error"), blank=True)

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("created by"),
    )
    created_by_name = models.CharField(
        _("created by"), max_length=255, blank=True, help_text=_("Kept when the user is deleted.")
    )
    reason = models.CharField(_("reason"), max_length=2000, blank=True)
    source_surface = models.CharField(
        _("asked for on"), max_length=32, choices=Surface.choices, default=Surface.UNKNOWN
    )
    created_at = models.DateTimeField(_("created"))
    dispatched_at = models.DateTimeField(_("dispatched"), null=True, blank=True)
    acked_at = models.DateTimeField(_("acknowledged"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    # Services write it: `auto_now` would store another moment than the one they answer with.
    updated_at = models.DateTimeField(_("updated"), default=timezone.now)

    OPEN = (Status.PENDING, Status.DISPATCHED, Status.ACCEPTED)

    class Meta:
        verbose_name = _("command")
        verbose_name_plural = _("commands")
        ordering = ("-created_at", "-id")
        permissions = [
            ("send_command", _("Can send commands")),
            ("send_destructive_command", _("Can send commands that stop an instance")),
        ]
        indexes = [
            # Read by lists, newest first, whole or of one instance.
            models.Index(fields=("-created_at", "-id"), name="command_newest"),
            models.Index(fields=("instance", "-created_at"), name="command_instance_newest"),
            models.Index(fields=("service", "-created_at", "-id"), name="command_service_newest"),
            # Read by dashboards: how many of each status, and when the last one ended.
            models.Index(fields=("service", "status", "-finished_at"), name="command_service_status"),
            # Read by the history of one task.
            models.Index(
                fields=("service", "task_name", "-created_at"),
                name="command_task_newest",
                condition=~models.Q(task_name=""),
            ),
            # Read each second by the deadline sweep, and by the holder of a session for what is to be sent.
            models.Index(
                fields=("deadline_at",),
                name="command_open_deadline",
                condition=models.Q(status__in=("pending", "dispatched", "accepted")),
            ),
            models.Index(
                fields=("instance", "created_at"),
                name="command_open_instance",
                condition=models.Q(status__in=("pending", "dispatched", "accepted")),
            ),
            # Read by each list of instances: what stopped them. Few commands do.
            models.Index(
                fields=("instance", "-finished_at"),
                name="command_stops",
                condition=models.Q(status="succeeded", kind__in=("drain", "restart", "shutdown")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.public_id}"

    @property
    def public_id(self) -> str:
        """The id on the wire and in the API."""
        return command_public_id(self.id)

    @property
    def is_open(self) -> bool:
        return self.status in self.OPEN


def command_public_id(command_id: uuid.UUID) -> str:
    """The id of a command on the wire and in the API: `cmd_` and 32 hex digits."""
    return f"cmd_{command_id.hex}"
