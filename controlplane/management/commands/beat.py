"""`python manage.py beat`: rings the bell for scheduled jobs; one is enough, a second one is harmless."""

from typing import Any

from django.utils.translation import gettext as _

from controlplane.runtime.command import BackgroundPartCommand
from controlplane.runtime.parts import BeatPart


class Command(BackgroundPartCommand):
    help = "Run beat alone; needs REDIS_URL."

    def start(self, _options: dict[str, Any]) -> None:
        self.refuse_if_alone()
        self.supervise([("beat", BeatPart)], ready_when="beat", announcement=_("Beat follows the schedule."))
