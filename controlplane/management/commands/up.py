"""`python manage.py up`: the whole portal as one foreground command."""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from controlplane.runtime.banner import banner
from controlplane.runtime.bootstrap import ensure_administrator, ensure_ingest_token, migrate
from controlplane.runtime.command import PartCommand
from controlplane.runtime.parts import BeatPart, WebPart, WorkerPart
from controlplane.runtime.preflight import (
    StartRefused,
    bind_listener,
    check_data_dir,
    check_redis,
    only_one_on_sqlite,
    reachable_database,
)
from controlplane.runtime.supervisor import Part


class Command(PartCommand):
    help = "Prepare everything that a first start needs, then run web, worker and beat in this one process."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-worker", action="store_true", help="Leave the worker to other processes.")
        parser.add_argument("--no-beat", action="store_true", help="Leave the scheduler to another process.")

    def start(self, options: dict[str, Any]) -> None:
        no_worker, no_beat = options["no_worker"], options["no_beat"]
        if no_worker and not no_beat and not settings.REDIS_URL:
            raise StartRefused(
                _("Without REDIS_URL no other process can run what beat schedules: add --no-beat, or set REDIS_URL.")
            )
        check_data_dir()
        self.make_room_for_agents()
        with only_one_on_sqlite(), bind_listener(settings.HOST, settings.PORT) as listener:
            self.warn_of_open_registry()
            check_redis()
            with reachable_database():
                migrate()
                administrator = ensure_administrator()
                token = ensure_ingest_token()
            parts: list[tuple[str, Callable[[], Part]]] = [("web", lambda: WebPart(listener))]
            if not no_worker:
                parts.append(("worker", WorkerPart))
            if not no_beat:
                parts.append(("beat", BeatPart))
            self.supervise(parts, ready_when="web", announcement=banner(administrator, token))
