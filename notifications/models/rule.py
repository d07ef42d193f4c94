"""Rule: when somebody is told, of what, and how often."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from notifications.models.channel import Channel
from notifications.models.scope import Scope


class Rule(Scope):
    """Events of `event_types` in its scope become alerts, which its channels are told of.

    `own_of` is set for the one that the settings API makes with a channel (contract 7.1: event types and scopes of the
    channel itself): it tells each event alone and at once.
    """

    class GroupBy(models.TextChoices):
        EVENT = "event", _("Each event alone")
        TYPE = "type", _("All of one type")
        SERVICE = "service", _("By service")
        TASK = "task", _("By task")

    name = models.CharField(_("name"), max_length=255, unique=True)
    enabled = models.BooleanField(_("enabled"), default=True)
    channels = models.ManyToManyField(Channel, related_name="rules", blank=True, verbose_name=_("channels"))
    own_of = models.OneToOneField(
        Channel, on_delete=models.CASCADE, null=True, blank=True, editable=False, related_name="own_rule"
    )
    # Empty tells nothing.
    event_types = models.JSONField(_("event types"), default=list, blank=True)

    group_by = models.CharField(_("one message for"), max_length=16, choices=GroupBy.choices, default=GroupBy.TYPE)
    wait_s = models.PositiveIntegerField(
        _("wait (s)"), default=10, help_text=_("So long further events of the same group are waited for.")
    )
    update_s = models.PositiveIntegerField(
        _("tell what is new every (s)"), default=300, help_text=_("While it goes on and more comes to it.")
    )
    repeat_s = models.PositiveIntegerField(
        _("repeat every (s)"), null=True, blank=True, help_text=_("While it goes on; empty tells it once.")
    )
    tells_resolved = models.BooleanField(_("tell when it is over"), default=True)
    threshold_count = models.PositiveIntegerField(_("from so many events on"), default=1)
    threshold_window_s = models.PositiveIntegerField(_("within (s)"), default=300)
    missed_start_grace_s = models.PositiveIntegerField(_("a start is missed after (s)"), default=300)

    # Wall times in `quiet_time_zone`, over midnight where the end is not after the start. What happens meanwhile is
    # told at their end. `quiet_weekdays` are 0 (Monday) to 6, of the day on which they begin; empty is every day.
    quiet_from = models.TimeField(_("quiet from"), null=True, blank=True)
    quiet_until = models.TimeField(_("quiet until"), null=True, blank=True)
    quiet_weekdays = models.JSONField(_("quiet on"), default=list, blank=True)
    quiet_time_zone = models.CharField(_("time zone"), max_length=64, blank=True)

    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("rule")
        verbose_name_plural = _("rules")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
