"""The self-check: everything that is wrong with the portal now, the worst first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.db import DatabaseError

from agents.selectors.sizes import WHOLE, Growth, growth
from controlplane.system.checks.configuration import check_configuration
from controlplane.system.checks.people import check_people
from controlplane.system.checks.servers import check_servers, database_away, migrations_missing, missing_migrations
from controlplane.system.checks.storage import check_storage
from controlplane.system.checks.working import check_working
from controlplane.system.disks import Disk, disks
from controlplane.system.findings import Finding, worst_first
from controlplane.system.jobs import Job, jobs
from controlplane.system.processes import Process, processes
from controlplane.system.reach import Reach, reaches
from controlplane.system.retention import Kept, retention


@dataclass(frozen=True)
class Look:
    """What is known at `now`; each part is read once, when it is asked for."""

    now: datetime

    @cached_property
    def reaches(self) -> list[Reach]:
        return reaches()

    @cached_property
    def processes(self) -> list[Process]:
        return processes(self.now)

    @property
    def up_since(self) -> datetime | None:
        """When the oldest process that runs was started."""
        return min((each.started_at for each in self.processes if each.state == "running"), default=None)

    @cached_property
    def jobs(self) -> list[Job]:
        return jobs(self.now)

    @cached_property
    def growth(self) -> list[Growth]:
        return growth(self.now)

    @property
    def whole(self) -> Growth | None:
        """The whole database, where it was measured."""
        return next((each for each in self.growth if each.table == WHOLE), None)

    @cached_property
    def disks(self) -> list[Disk]:
        return disks(self.whole.bytes_per_day if self.whole else None)

    @cached_property
    def kept(self) -> Sequence[Kept]:
        return retention()

    @cached_property
    def findings(self) -> list[Finding]:
        """Of a database that is away or not migrated, nothing is asked but that."""
        return worst_first(self._found())

    def _found(self) -> Iterator[Finding]:
        yield from check_configuration()
        if not self.reaches[0].ok:
            yield database_away(self.reaches[0])
            return
        try:
            missing = missing_migrations()
            if missing:
                yield migrations_missing(missing)
                return
            yield from check_servers(self.reaches)
            yield from check_working(self.now, self.processes, self.jobs)
            yield from check_storage(self.now, self.disks, self.growth, self.kept)
            yield from check_people(self.now)
        except DatabaseError as error:
            yield database_away(Reach("database", ok=False, error=type(error).__name__))
