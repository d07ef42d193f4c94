"""Alert: one trouble as one rule sees it, with everything that it is about."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from agents.models import Instance, Service
from notifications.models.rule import Rule
from notifications.models.scope import EventType
from notifications.models.silence import Silence


class Alert(models.Model):
    """Events of one rule, type and group, from the first until it is over.

    `key` is what `Rule.group_by` makes of its events; one alert of a key is open at a time. `due_at` is when
    something is to be told next, None while nothing is. `silenced` counts events that a silence kept from being told.
    """

    class Status(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        FIRING = "firing", _("Going on")
        RESOLVED = "resolved", _("Over")

    rule = models.ForeignKey(Rule, on_delete=models.CASCADE, related_name="alerts", verbose_name=_("rule"))
    event_type = models.CharField(_("event type"), max_length=32, choices=EventType.choices)
    key = models.CharField(_("group"), max_length=700)
    status = models.CharField(_("status"), max_length=16, choices=Status.choices, default=Status.WAITING)
    opened_at = models.DateTimeField(_("since"))
    last_at = models.DateTimeField(_("last"))
    event_count = models.PositiveIntegerField(_("events"), default=0)
    told_count = models.PositiveIntegerField(_("events told"), default=0)
    silenced_count = models.PositiveIntegerField(_("events silenced"), default=0)
    # Subjects that came to it since it was told last.
    news_count = models.PositiveIntegerField(_("subjects not told yet"), default=0)
    # The times of the newest events, for the threshold: as many as Rule.threshold_count asks for.
    recent = models.JSONField(default=list)
    due_at = models.DateTimeField(_("told next"), null=True, blank=True)
    told_at = models.DateTimeField(_("told last"), null=True, blank=True)
    told_times = models.PositiveIntegerField(_("times told"), default=0)
    resolved_at = models.DateTimeField(_("over since"), null=True, blank=True)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        ordering = ("-opened_at", "-id")
        constraints = [
            models.UniqueConstraint(
                fields=("rule", "key"), name="alert_open_of_rule_and_key", condition=~models.Q(status="resolved")
            ),
        ]
        indexes = [
            models.Index(fields=("-opened_at", "-id"), name="alert_newest"),
            # Read each second by whoever tells: few are due.
            models.Index(fields=("due_at",), name="alert_due", condition=models.Q(due_at__isnull=False)),
            # When the last one of a group was told: the next waits for Rule.update_s.
            models.Index(fields=("rule", "key", "-told_at"), name="alert_of_key"),
        ]

    def __str__(self) -> str:
        return f"{self.rule}: {self.get_event_type_display()}"


class AlertMember(models.Model):
    """One subject of an alert: an instance, a task of a service, a command, a channel or a process of the portal.

    `told` is what messages say of its newest event: names, cause, times; JSON of `notifications.engine.facts.Fact`.
    """

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="members")
    subject = models.CharField(_("subject"), max_length=700)
    service = models.ForeignKey(
        Service, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_constraint=False, db_index=False
    )
    instance = models.ForeignKey(
        Instance,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    task_name = models.CharField(_("task"), max_length=255, blank=True)
    event_count = models.PositiveIntegerField(_("events"), default=1)
    first_at = models.DateTimeField(_("first"))
    last_at = models.DateTimeField(_("last"))
    silence = models.ForeignKey(
        Silence, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("silence")
    )
    ended_at = models.DateTimeField(_("over since"), null=True, blank=True)
    told = models.JSONField(default=dict)

    class Meta:
        verbose_name = _("subject of an alert")
        verbose_name_plural = _("subjects of alerts")
        ordering = ("id",)
        constraints = [models.UniqueConstraint(fields=("alert", "subject"), name="alert_member")]
        # Read by whatever ends the trouble of a subject, and by who asks whether an event was told.
        indexes = [models.Index(fields=("subject", "-last_at"), name="alert_member_subject")]

    def __str__(self) -> str:
        return self.subject
