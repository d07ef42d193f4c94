"""ApiToken: how a program calls the API as a person. ConsoleSession and the two histories: how people log in."""

from axes.models import AccessFailureLog, AccessLog
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class ApiToken(models.Model):
    """A secret with which a program acts as a user, never with more rights than `scope` and the user's roles allow.

    `environments` narrows it further: what is of any other environment does not exist for it.

    Only its SHA-256 is stored; the secret is shown once, when it is made.
    """

    class Scope(models.TextChoices):
        READ = "read", _("Read")
        COMMAND = "command", _("Read and send commands")
        ADMIN = "admin", _("Everything that the user may do")

    name = models.CharField(_("name"), max_length=255, unique=True)
    prefix = models.CharField(
        _("prefix"), max_length=16, editable=False, help_text=_("The first characters, to recognise it by.")
    )
    secret_hash = models.CharField(max_length=64, unique=True, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens", verbose_name=_("acts as")
    )
    scope = models.CharField(_("scope"), max_length=16, choices=Scope.choices, default=Scope.READ)
    environments = models.JSONField(
        _("environments"), default=list, blank=True, help_text=_("What it sees and commands; empty means all.")
    )
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    last_used_from = models.CharField(
        _("last used from"), max_length=64, blank=True, default="", db_default="", editable=False
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ("name",)
        # Read by the collection of the API; the other ordering has the unique name.
        indexes = [models.Index(fields=("-created_at", "-id"), name="apitoken_newest")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_usable(self) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())


class ConsoleSession(AbstractBaseSession):
    """One login of a person, as controlplane.access.sessions stores it: found by the hash of its key, or by its user.

    `user_id` is None before a login. It is no foreign key: what is stored for a user who is deleted at this moment must
    not fail, and says nothing any more.
    """

    session_key = models.CharField(max_length=64, primary_key=True)
    user_id = models.BigIntegerField(null=True, db_index=True)

    class Meta:
        verbose_name = _("console session")
        verbose_name_plural = _("console sessions")
        default_permissions = ()

    @classmethod
    def get_session_store_class(cls) -> type[SessionBase]:
        from controlplane.access.sessions import SessionStore  # noqa: PLC0415 -- it imports this model

        return SessionStore


class FailedLogin(AccessFailureLog):  # type: ignore[misc]
    """django-axes' row of one attempt that did not log anybody in; `locked_out` where it was one too many."""

    class Meta:
        proxy = True
        verbose_name = _("failed login")
        verbose_name_plural = _("failed logins")
        default_permissions = ("view",)


class SuccessfulLogin(AccessLog):  # type: ignore[misc]
    """django-axes' row of one login; `session_hash` is the key of its ConsoleSession."""

    class Meta:
        proxy = True
        verbose_name = _("login")
        verbose_name_plural = _("logins")
        default_permissions = ("view",)
