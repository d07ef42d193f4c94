"""The environments that services run in, by the names that the onestep dialect knows."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Environment(models.TextChoices):
    """Other dialects may bring names of their own."""

    DEV = "dev", _("Development")
    STAGING = "staging", _("Staging")
    PROD = "prod", _("Production")
