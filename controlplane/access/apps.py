from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccessConfig(AppConfig):
    name = "controlplane.access"
    label = "access"
    verbose_name = _("Access")

    def ready(self) -> None:
        # Each registers something: the receivers that note each login and its time, and the security schemes.
        from controlplane.access import login_events, openapi, policy  # noqa: F401, PLC0415
