"""Scope: of whom and of what a rule or a silence speaks."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class EventType(models.TextChoices):
    """What can be told. The first eight are names of the reference contract (7.2)."""

    TASK_STARTED = "task_started", _("Task started")
    TASK_SUCCEEDED = "task_succeeded", _("Task succeeded")
    TASK_FAILED = "task_failed", _("Task failed")
    TASK_RETRIED = "task_retried", _("Task retried")
    TASK_DEAD_LETTERED = "task_dead_lettered", _("Task dead-lettered")
    TASK_MISSED_START = "task_missed_start", _("Start missed")
    INSTANCE_ONLINE = "instance_online", _("Instance online")
    INSTANCE_OFFLINE = "instance_offline", _("Instance offline")
    INSTANCE_HEALTH = "instance_health_changed", _("Health of an instance changed")
    COMMAND_FAILED = "command_failed", _("Command failed")
    COMMAND_TIMEOUT = "command_timeout", _("Command timed out")
    CHANNEL_FAILING = "channel_failing", _("Channel failing")
    PORTAL_LAGGING = "portal_lagging", _("Portal lagging")


class Scope(models.Model):
    """What narrows; every part that is empty narrows nothing, and all parts that are not must hold.

    `service_scopes` is a list of `{"name", "environment"}`, `selector` the compact text of agents.labels in its
    canonical form, `task_pattern` names with `*` and `?`, several by commas. An event that is of no instance fails a
    selector, and one of no task a pattern.
    """

    service_scopes = models.JSONField(_("services"), default=list, blank=True)
    environments = models.JSONField(_("environments"), default=list, blank=True)
    selector = models.TextField(_("selector"), blank=True)
    task_pattern = models.CharField(_("task names"), max_length=500, blank=True)

    class Meta:
        abstract = True
