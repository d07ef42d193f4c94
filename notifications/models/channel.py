"""Channel: where somebody is told."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class Provider(models.TextChoices):
    FEISHU = "feishu", _("Feishu bot")
    WECHAT_WORK = "wechat_work", _("WeCom bot")
    CUSTOM = "custom", _("Webhook")
    EMAIL = "email", _("E-mail")
    APPRISE = "apprise", _("Apprise")


class Channel(models.Model):
    """One place of one provider, with the budget that it grants.

    `address` and `secret` are encrypted (`notifications.secrets`) and never shown again; `address_masked` is what
    may be. `options` holds what the provider asks for besides, by the shapes of `notifications.providers.options`; the
    values of headers are encrypted there too.
    """

    name = models.CharField(_("name"), max_length=255, unique=True)
    provider = models.CharField(_("provider"), max_length=16, choices=Provider.choices)
    enabled = models.BooleanField(_("enabled"), default=True)
    language = models.CharField(
        _("language"), max_length=16, choices=settings.LANGUAGES, default=settings.LANGUAGE_CODE
    )
    time_zone = models.CharField(
        _("time zone"), max_length=64, blank=True, help_text=_("Of the times in messages; empty for the portal's.")
    )
    address = models.TextField(_("address"), editable=False)
    address_masked = models.CharField(_("address"), max_length=255, blank=True, editable=False)
    secret = models.TextField(_("secret"), blank=True, editable=False)
    options = models.JSONField(_("options"), default=dict, blank=True)
    # None takes what is known of the provider: notifications.providers.budgets.
    per_second = models.PositiveIntegerField(_("at most a second"), null=True, blank=True)
    per_minute = models.PositiveIntegerField(_("at most a minute"), null=True, blank=True)

    # How it fares: written where attempts end, and told by events.
    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True, editable=False)
    last_success_at = models.DateTimeField(_("last delivered"), null=True, blank=True, editable=False)
    last_failure_at = models.DateTimeField(_("last failed"), null=True, blank=True, editable=False)
    last_error = models.TextField(_("last error"), blank=True, editable=False)
    # Nothing is tried before: it did not answer, or asked for patience.
    held_until = models.DateTimeField(_("not tried before"), null=True, blank=True, editable=False)

    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("channel")
        verbose_name_plural = _("channels")
        ordering = ("created_at", "id")

    def __str__(self) -> str:
        return self.name
