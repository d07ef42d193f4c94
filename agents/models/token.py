"""AgentToken: what an agent shows at the door."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class AgentToken(models.Model):
    """A secret that agents connect with. Only its SHA-256 is stored; the secret is shown once, when it is made."""

    name = models.CharField(_("name"), max_length=255, unique=True)
    prefix = models.CharField(
        _("prefix"), max_length=16, editable=False, help_text=_("The first characters, to recognise it by.")
    )
    secret_hash = models.CharField(max_length=64, unique=True, editable=False)
    dialects = models.JSONField(
        _("dialects"), default=list, blank=True, help_text=_("What it may speak; empty means every dialect.")
    )
    environments = models.JSONField(
        _("environments"), default=list, blank=True, help_text=_("What it may speak for; empty means all.")
    )
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    # The first use takes the end away.
    expires_unless_used = models.BooleanField(_("expires unless used"), default=False, db_default=False, editable=False)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        verbose_name=_("created by"),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("agent token")
        verbose_name_plural = _("agent tokens")
        ordering = ("name",)
        # Read by the collection of the API; the other ordering has the unique name.
        indexes = [models.Index(fields=("-created_at", "-id"), name="agenttoken_newest")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_usable(self) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())

    @staticmethod
    def unusable() -> Q:
        """Matches tokens that are revoked or expired now."""
        return Q(revoked_at__isnull=False) | Q(expires_at__lte=timezone.now())
