from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class NotificationsConfig(AppConfig):
    name = "notifications"
    verbose_name = _("Notifications")

    def ready(self) -> None:
        from agents.services.watching import Watcher, watch_with  # noqa: PLC0415 -- models are not loaded before
        from notifications.services.routine import asked_routine, note_routine  # noqa: PLC0415 -- beside the above

        watch_with(Watcher(asked_routine, note_routine))
