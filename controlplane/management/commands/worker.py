"""`python manage.py worker`: background jobs; run as many as wanted."""

from argparse import ArgumentParser
from typing import Any

from django.utils.translation import gettext as _

from controlplane.runtime.command import BackgroundPartCommand
from controlplane.runtime.parts import WORKER_CONCURRENCY, WorkerPart


class Command(BackgroundPartCommand):
    help = "Run the worker alone; needs REDIS_URL."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--concurrency",
            type=int,
            default=WORKER_CONCURRENCY,
            help="How many jobs run at once (default %(default)s).",
        )

    def start(self, options: dict[str, Any]) -> None:
        self.refuse_if_alone()
        self.supervise(
            [("worker", lambda: WorkerPart(concurrency=options["concurrency"]))],
            ready_when="worker",
            announcement=_("The worker waits for jobs."),
        )
