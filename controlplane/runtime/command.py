"""The base of `up`, `web`, `worker` and `beat`: refusals in one sentence, parts under a supervisor."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connections
from django.utils.translation import gettext as _

from controlplane.runtime.parts import WEB_GRACEFUL_STOP_S
from controlplane.runtime.preflight import (
    DESCRIPTORS_ENOUGH,
    DESCRIPTORS_RESERVED,
    StartRefused,
    check_redis,
    open_registry,
    raise_descriptor_limit,
    reachable_database,
)
from controlplane.runtime.supervisor import Part, Supervisor, end_process

# What ending streams, closing sockets and signing off take beside the waits that are bounded by settings.
_SIGN_OFF_S = 0.8


class PartCommand(BaseCommand):
    # They run in `make check`; here they would only delay the start.
    requires_system_checks = []

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            self.start(options)
        except StartRefused as refusal:
            self.stderr.write(_("error: %(sentence)s") % {"sentence": refusal})
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)

    def start(self, options: dict[str, Any]) -> None:
        """Check what must hold, then `supervise`."""
        raise NotImplementedError

    def supervise(
        self, parts: Sequence[tuple[str, Callable[[], Part]]], *, ready_when: str, announcement: str
    ) -> NoReturn:
        """Run the parts until a signal, then end the process. The announcement is printed once `ready_when` works."""

        def announce() -> None:
            self.stdout.write(announcement)
            self.stdout.flush()

        # This thread's own connection goes back: from here on it only watches.
        connections.close_all()
        stop_within_s = WEB_GRACEFUL_STOP_S + settings.INGEST_DRAIN_S + _SIGN_OFF_S
        end_process(Supervisor(parts, on_ready=announce, ready_when=ready_when, stop_within_s=stop_within_s).run())

    def make_room_for_agents(self) -> None:
        """Raise the limit of open files as far as it goes; says so where that is too little for a fleet."""
        limit = raise_descriptor_limit()
        if limit < DESCRIPTORS_ENOUGH:
            self.stderr.write(
                _(
                    "warning: This process may open %(limit)s files, and each connected agent takes one: about "
                    "%(agents)s agents find room. Raise the hard limit before the start (ulimit -n 65536, LimitNOFILE= "
                    "of systemd, ulimits of compose)."
                )
                % {"limit": limit, "agents": max(limit - DESCRIPTORS_RESERVED, 0)}
            )

    def warn_of_open_registry(self) -> None:
        if (warning := open_registry()) is not None:
            self.stderr.write(_("warning: %(sentence)s") % {"sentence": warning})


class BackgroundPartCommand(PartCommand):
    """A part that speaks to the others through the broker alone."""

    def refuse_if_alone(self) -> None:
        """Refuse where this process could not be reached by the others."""
        if not settings.REDIS_URL:
            raise StartRefused(
                _(
                    "Without REDIS_URL the parts of the portal must share one process: run `python manage.py up`, or "
                    "set REDIS_URL."
                )
            )
        check_redis()
        with reachable_database():
            pass
