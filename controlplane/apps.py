from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ControlPlaneConfig(AppConfig):
    name = "controlplane"
    verbose_name = _("Control plane")
