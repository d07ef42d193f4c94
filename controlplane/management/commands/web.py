"""`python manage.py web`: admin, REST and sockets; run as many as there are cores, each on its own port."""

from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from controlplane.runtime.banner import base_url
from controlplane.runtime.command import PartCommand
from controlplane.runtime.parts import WebPart
from controlplane.runtime.preflight import bind_listener, check_redis, reachable_database


class Command(PartCommand):
    help = "Run the web part alone; the database must have been migrated."

    def start(self, _options: dict[str, Any]) -> None:
        self.make_room_for_agents()
        with bind_listener(settings.HOST, settings.PORT) as listener:
            self.warn_of_open_registry()
            check_redis()
            with reachable_database():
                pass
            self.supervise(
                [("web", lambda: WebPart(listener))],
                ready_when="web",
                announcement=_("The web part answers at %(url)s") % {"url": base_url()},
            )
