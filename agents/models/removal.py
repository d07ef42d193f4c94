"""Removal: the forgetting of an instance or a service, with everything of theirs."""

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _


class Removal(models.Model):
    """A request to forget. A background job carries it out in steps and may stop and go on at any of them."""

    class Kind(models.TextChoices):
        INSTANCE = "instance", _("Instance")
        SERVICE = "service", _("Service")

    id = models.UUIDField(_("id"), primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    # Without a foreign key: the row outlives what it removes.
    target_id = models.CharField(_("id of what is removed"), max_length=64)
    name = models.CharField(_("name"), max_length=512)
    environment = models.CharField(_("environment"), max_length=64)
    requested_by_name = models.CharField(_("requested by"), max_length=255, blank=True)
    # From where, as `Actor.origin` tells it.
    origin = models.JSONField(default=dict, blank=True, editable=False)
    requested_at = models.DateTimeField(_("requested"))
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    # By the kind that an export gives such a row.
    removed = models.JSONField(_("removed rows"), default=dict, blank=True)
    kept_reason = models.CharField(
        _("why something is left"), max_length=255, blank=True, help_text=_("Empty where all of it is gone.")
    )

    class Meta:
        verbose_name = _("removal")
        verbose_name_plural = _("removals")
        ordering = ("-requested_at", "-id")
        constraints = [
            models.UniqueConstraint(
                fields=("kind", "target_id"), condition=models.Q(finished_at=None), name="removal_open"
            )
        ]
        indexes = [models.Index(fields=("-requested_at", "-id"), name="removal_newest")]

    def __str__(self) -> str:
        return self.name

    @property
    def removed_count(self) -> int:
        """How many rows are gone so far."""
        return sum(self.removed.values())
