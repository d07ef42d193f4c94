"""FanOut: one order for many instances, and what became of it at each when it was given."""

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from agents.models.command import Command, CommandKind
from agents.models.instance import Instance
from agents.models.service import Service


class FanOut(models.Model):
    """One order for many instances. Its targets are those that matched when it was given, whatever matches later."""

    class Mode(models.TextChoices):
        ALL_ONLINE = "all_online", _("All online of a service")
        SELECTED = "selected_instances", _("Chosen instances")
        SELECTOR = "selector", _("Selector")
        GROUP = "group", _("Group of instances")

    id = models.UUIDField(_("id"), primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(_("kind"), max_length=64, choices=CommandKind.choices)
    args = models.JSONField(_("arguments"), default=dict, blank=True)
    task_name = models.CharField(_("task"), max_length=255, blank=True)
    target_mode = models.CharField(_("targets"), max_length=32, choices=Mode.choices)
    service = models.ForeignKey(
        Service, on_delete=models.SET_NULL, null=True, blank=True, related_name="fan_outs", verbose_name=_("service")
    )
    # As it read then: a group may be changed or deleted.
    selector = models.TextField(_("selector"), blank=True)
    group_name = models.CharField(_("group of instances"), max_length=100, blank=True)
    # Those of its targets, else of its service, else of whoever asked, as they were then: who may read it is asked of
    # these, since targets and service may be forgotten.
    environments = models.JSONField(_("environments"), default=list, blank=True)
    reason = models.TextField(_("reason"), blank=True)
    holds = models.BooleanField(_("waits for the offline"), default=False)
    timeout_s = models.PositiveIntegerField(_("timeout (s)"))
    retry_of = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="retries",
        verbose_name=_("repeats"),
        help_text=_("The fan-out whose failed targets it was given to again."),
    )
    # How many targets of each outcome there were: counted once, since outcomes never change.
    dispatched = models.PositiveIntegerField(_("dispatched"), default=0)
    queued = models.PositiveIntegerField(_("queued"), default=0)
    skipped = models.PositiveIntegerField(_("skipped"), default=0)
    rejected = models.PositiveIntegerField(_("rejected"), default=0)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_by_name = models.CharField(_("created by"), max_length=255, blank=True)
    created_at = models.DateTimeField(_("created"))

    class Meta:
        verbose_name = _("fan-out")
        verbose_name_plural = _("fan-outs")
        ordering = ("-created_at", "-id")
        indexes = [models.Index(fields=("-created_at", "-id"), name="fan_out_newest")]

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        """The id in the API: `fan_` and 32 hex digits."""
        return f"fan_{self.pk.hex}"

    @property
    def target_count(self) -> int:
        """How many instances it was for when it was given; some may be gone since."""
        return self.dispatched + self.queued + self.skipped + self.rejected


class FanOutTarget(models.Model):
    """What became of the order at one instance at that moment; what came of its command stands in the command."""

    class Outcome(models.TextChoices):
        DISPATCHED = "dispatched", _("Sent")
        QUEUED = "queued", _("Queued")
        SKIPPED = "skipped", _("Skipped")
        REJECTED = "rejected", _("Rejected")

    id = models.BigAutoField(primary_key=True)
    fan_out = models.ForeignKey(FanOut, on_delete=models.CASCADE, related_name="targets", db_index=False)
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="+")
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome.choices)
    reason_code = models.CharField(_("reason"), max_length=64, blank=True)
    # Commands go before their fan-out, and thousands at a time: nothing is to be written here when they do.
    command = models.ForeignKey(
        Command,
        on_delete=models.DO_NOTHING,
        null=True,
        blank=True,
        db_constraint=False,
        related_name="targets",
        verbose_name=_("command"),
    )

    class Meta:
        verbose_name = _("target of a fan-out")
        verbose_name_plural = _("targets of fan-outs")
        constraints = [models.UniqueConstraint(fields=("fan_out", "instance"), name="fan_out_target")]
        # Read by the pages of its targets, in their order: without it a page may walk the targets of all others.
        indexes = [models.Index(fields=("fan_out", "id"), name="fan_out_target_order")]

    def __str__(self) -> str:
        return f"{self.fan_out_id} {self.instance_id}"
