from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ControlPlaneConfig(AppConfig):
    name = "controlplane"
    verbose_name = _("Control plane")

    def ready(self) -> None:
        # Before the first connection is opened: it gives SQLite's the function of searches.
        import controlplane.common.search  # noqa: F401, PLC0415 -- models may be imported only now
