from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AgentsConfig(AppConfig):
    name = "agents"
    verbose_name = _("Agents")

    def ready(self) -> None:
        import agents.selectors.labels  # noqa: F401, PLC0415 -- functions for each connection to SQLite, from the first
        from agents.services.events import record_changes  # noqa: PLC0415 -- models are not loaded before
        from controlplane.common.changes import record_with  # noqa: PLC0415 -- beside the import above

        record_with(record_changes)
