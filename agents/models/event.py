"""Event: something that happened, once, with an id; the only history."""

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from agents.models.instance import Instance
from agents.models.service import Service


class EventKind(models.TextChoices):
    TASK_STARTED = "task.started", _("Task started")
    TASK_SUCCEEDED = "task.succeeded", _("Task succeeded")
    TASK_RETRIED = "task.retried", _("Task retried")
    TASK_FAILED = "task.failed", _("Task failed")
    TASK_DEAD_LETTERED = "task.dead_lettered", _("Task dead-lettered")
    TASK_CANCELLED = "task.cancelled", _("Task cancelled")
    TASK_MISSED_START = "task.missed_start", _("Start missed")
    INSTANCE_REGISTERED = "instance.registered", _("Node registered")
    INSTANCE_ONLINE = "instance.online", _("Instance online")
    INSTANCE_OFFLINE = "instance.offline", _("Instance offline")
    INSTANCE_HEALTH = "instance.health_changed", _("Health changed")
    INSTANCE_CONFLICT = "instance.conflict", _("Identity conflict")
    INSTANCE_ARCHIVED = "instance.archived", _("Instance archived")
    INSTANCE_RESTORED = "instance.restored", _("Instance restored")
    SESSION_OPENED = "session.opened", _("Session opened")
    SESSION_SUPERSEDED = "session.superseded", _("Session superseded")
    SESSION_CLOSED = "session.closed", _("Session closed")
    AGENT_REFUSED = "agent.refused", _("Agent refused")
    TOPOLOGY_CHANGED = "service.topology_changed", _("Topology changed")
    SERVICE_ARCHIVED = "service.archived", _("Service archived")
    SERVICE_RESTORED = "service.restored", _("Service restored")
    CHANNEL_FAILING = "channel.failing", _("Channel failing")
    CHANNEL_RECOVERED = "channel.recovered", _("Channel delivers again")
    PORTAL_LAGGING = "portal.lagging", _("Portal lagging")
    PORTAL_RECOVERED = "portal.recovered", _("Portal caught up")
    NODES_FILE_FAILED = "nodes_file.failed", _("nodes.json not written")
    NODES_FILE_RECOVERED = "nodes_file.recovered", _("nodes.json written again")
    INGEST_REJECTED = "ingest.rejected", _("Records rejected")
    COMMAND_QUEUED = "command.queued", _("Command queued")
    COMMAND_DISPATCHED = "command.dispatched", _("Command sent")
    COMMAND_ACCEPTED = "command.accepted", _("Command accepted")
    COMMAND_REJECTED = "command.rejected", _("Command rejected")
    COMMAND_SUCCEEDED = "command.succeeded", _("Command succeeded")
    COMMAND_FAILED = "command.failed", _("Command failed")
    COMMAND_TIMEOUT = "command.timeout", _("Command timed out")
    COMMAND_EXPIRED = "command.expired", _("Command expired")
    COMMAND_CANCELLED = "command.cancelled", _("Command cancelled")
    TOKEN_CREATED = "token.created", _("Token created")
    TOKEN_REVOKED = "token.revoked", _("Token revoked")
    OBJECT_CREATED = "object.created", _("Object created")
    OBJECT_CHANGED = "object.changed", _("Object changed")
    OBJECT_DELETED = "object.deleted", _("Object deleted")
    SCHEDULE_RUN = "schedule.run", _("Schedule run by hand")
    LOGIN_SUCCEEDED = "login.succeeded", _("Logged in")
    LOGIN_FAILED = "login.failed", _("Login refused")
    LOGIN_LOCKED = "login.locked", _("Login locked")
    LOGIN_ENDED = "login.ended", _("Logged out")


# The event kinds of the onestep dialect are those of the task.* family without the prefix.
TASK_EVENT_PREFIX = "task."
# What healthy work writes, thousands a minute: left out wherever people look for what happened.
ROUTINE_KINDS = (EventKind.TASK_STARTED.value, EventKind.TASK_SUCCEEDED.value)
# Logins have their user for a subject, but change nothing of it.
LOGIN_KINDS = tuple(kind for kind in EventKind.values if kind.startswith("login."))
NOTABLE = ~models.Q(kind__in=ROUTINE_KINDS)


_KINDS: Final = dict(EventKind.choices)


class Event(models.Model):
    """Something that happened, once. Written with what it tells of, in one transaction; never changed.

    Rows outlive what they tell of, so the foreign keys carry no database constraint; that also spares one look-up
    per row and key on the busiest table.
    """

    class Level(models.TextChoices):
        INFO = "info", _("Info")
        WARN = "warn", _("Warning")
        ERROR = "error", _("Error")

    id = models.BigAutoField(primary_key=True)
    event_id = models.CharField(_("event id"), max_length=255, unique=True)
    kind = models.CharField(_("kind"), max_length=64, choices=EventKind.choices)
    level = models.CharField(_("level"), max_length=8, choices=Level.choices, default=Level.INFO)
    occurred_at = models.DateTimeField(_("occurred"), help_text=_("By the clock of whom it happened to."))
    received_at = models.DateTimeField(_("received"))
    service = models.ForeignKey(
        Service,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="events",
        verbose_name=_("service"),
    )
    instance = models.ForeignKey(
        Instance,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="events",
        verbose_name=_("instance"),
    )
    command_id = models.UUIDField(_("command"), null=True, blank=True)
    # The default stays in the database: statements that tell of nothing changed need not name the column.
    subject = models.CharField(
        _("subject"),
        max_length=128,
        blank=True,
        default="",
        db_default="",
        help_text=_("What a person or a program changed, as in auth.user:3."),
    )
    task_name = models.CharField(_("task"), max_length=255, blank=True)
    actor = models.CharField(
        _("by"), max_length=255, blank=True, help_text=_("The user or token that did it, where a person did.")
    )
    message = models.TextField(_("message"), blank=True)
    attempts = models.BigIntegerField(_("attempts"), null=True, blank=True)
    duration_ms = models.BigIntegerField(_("duration (ms)"), null=True, blank=True)
    failure_kind = models.CharField(_("failure"), max_length=64, blank=True)
    exception_type = models.CharField(_("exception"), max_length=255, blank=True)
    traceback = models.TextField(_("traceback"), blank=True)
    meta = models.JSONField(_("details"), default=dict, blank=True)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ("-occurred_at", "-id")
        indexes = [
            # Each is read newest first by the list that filters so: all, one service, one instance, one task.
            models.Index(fields=("-occurred_at", "-id"), name="event_newest"),
            models.Index(fields=("service", "-occurred_at", "-id"), name="event_service_newest"),
            models.Index(fields=("instance", "-occurred_at", "-id"), name="event_instance_newest"),
            # The same without routine, read by the cards of pages: of healthy work the newest others may lie far back.
            models.Index(fields=("-occurred_at", "-id"), name="event_notable", condition=NOTABLE),
            models.Index(fields=("service", "-occurred_at", "-id"), name="event_service_notable", condition=NOTABLE),
            models.Index(fields=("instance", "-occurred_at", "-id"), name="event_instance_notable", condition=NOTABLE),
            # Read by the pages and percentiles of one task, often without a look at the rows.
            models.Index(
                fields=("service", "task_name", "-occurred_at", "-id"),
                name="event_task_newest",
                condition=~models.Q(task_name=""),
                include=("kind", "duration_ms"),
            ),
            # Read by lists of one kind; of those that healthy work writes all the time, the newest are near anyway.
            models.Index(fields=("kind", "-occurred_at", "-id"), name="event_kind_newest", condition=NOTABLE),
            # What was changed by people and programs, and by whom: few among all.
            models.Index(
                fields=("subject", "-occurred_at", "-id"), name="event_subject", condition=~models.Q(subject="")
            ),
            models.Index(
                fields=("actor", "-occurred_at", "-id"), name="event_actor_newest", condition=~models.Q(actor="")
            ),
            # PostgreSQL has one more, of the words of notable events: see agents.selectors.history.
            models.Index(fields=("command_id",), name="event_command", condition=models.Q(command_id__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.event_id}"

    def get_kind_display(self) -> str:
        """As Django's, which makes a dictionary of all kinds anew for each row of a page."""
        return str(_KINDS.get(self.kind, self.kind))
