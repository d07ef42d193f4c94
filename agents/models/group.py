"""Group: a selector with a name."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Group(models.Model):
    """A named selector. Who belongs to it is asked anew each time it is used.

    `selector` is the compact text of agents.labels, in its canonical form.
    """

    name = models.CharField(_("name"), max_length=100, unique=True)
    selector = models.TextField(_("selector"))
    description = models.TextField(_("description"), blank=True)
    created_by_name = models.CharField(_("created by"), max_length=255, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("group of instances")
        verbose_name_plural = _("groups of instances")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
