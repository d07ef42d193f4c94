"""Service: a logical group of instances."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from controlplane.common.environments import Environment

__all__ = ["Environment", "Service", "service_again"]


def service_again(related_name: str) -> "models.ForeignKey[Service | None, Service | None]":
    """The service of a row that has an instance, said again so that indexes may begin with it.

    It is the one that the instance had when the row was made: nodes of the registry come to another, and their events
    keep the old one. The instance vouches for it: a constraint would lock the row of the service, which many share, at
    each insert.
    """
    return models.ForeignKey(
        "agents.Service",
        on_delete=models.CASCADE,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name=related_name,
        verbose_name=_("service"),
    )


class Service(models.Model):
    """A logical group of instances, known by (name, environment)."""

    name = models.CharField(_("name"), max_length=255)
    environment = models.CharField(_("environment"), max_length=64)
    description = models.TextField(_("description"), blank=True)
    latest_deployment_version = models.CharField(_("latest version"), max_length=128, blank=True)
    latest_topology_hash = models.CharField(_("latest topology"), max_length=255, blank=True)
    latest_sync_at = models.DateTimeField(_("last sync"), null=True, blank=True)
    archived_at = models.DateTimeField(
        _("archived"), null=True, blank=True, help_text=_("Left out of lists and figures until it is heard of again.")
    )
    forget_requested_at = models.DateTimeField(
        _("being forgotten since"), null=True, blank=True, help_text=_("Nobody is let in under its name meanwhile.")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("service")
        verbose_name_plural = _("services")
        ordering = ("environment", "name")
        constraints = [
            models.UniqueConstraint(fields=("name", "environment"), name="service_name_environment"),
        ]
        indexes = [
            # Read by every list of instances or tasks in the order of their services: a page begins with the first
            # services, and what is of others is neither read nor sorted.
            models.Index(fields=("environment", "name"), name="service_environment_name"),
        ]

    def __str__(self) -> str:
        return f"{self.environment}/{self.name}"
