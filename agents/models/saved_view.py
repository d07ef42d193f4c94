"""SavedView: filters of a list of the console, with a name."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class SavedView(models.Model):
    """The filters of one list as the query of its address. Its own person's, or for everybody who may see the list."""

    list_name = models.CharField(
        _("list"), max_length=100, help_text=_("The label of the model that is listed, as in agents.event.")
    )
    name = models.CharField(_("name"), max_length=100)
    query = models.CharField(_("filters"), max_length=4000)
    is_shared = models.BooleanField(_("shared with everyone"), default=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", verbose_name=_("owner")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("saved view")
        verbose_name_plural = _("saved views")
        ordering = ("name", "pk")
        constraints = [
            models.UniqueConstraint(fields=("list_name", "owner", "name"), name="savedview_name_of_owner"),
        ]
        # Read above each list, beside those of the reader, which the constraint finds.
        indexes = [models.Index(fields=("list_name", "name"), name="savedview_shared", condition=Q(is_shared=True))]

    def __str__(self) -> str:
        return self.name
