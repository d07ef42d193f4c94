"""How much room is left where the portal writes, as far as this process can see it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from django.conf import settings
from django.db import DatabaseError, connection

DiskName = Literal["database", "data"]
MEMORY: Final = ":memory:"


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of one folder. `days_left` is by the growth of the database, None where it does not grow."""

    name: DiskName
    path: str
    total_bytes: int
    free_bytes: int
    days_left: float | None = None

    @property
    def free_share(self) -> float:
        return self.free_bytes / self.total_bytes if self.total_bytes else 0.0


def disks(bytes_per_day: float | None = None) -> list[Disk]:
    """That of the database, where it is on this machine, and that of DATA_DIR. At most two queries."""
    found = []
    for name, path in _places():
        try:
            usage = shutil.disk_usage(path)
        except OSError:
            continue
        grows = name == "database" and bytes_per_day is not None and bytes_per_day > 0
        days_left = usage.free / bytes_per_day if grows and bytes_per_day else None
        found.append(Disk(name, str(path), usage.total, usage.free, days_left))
    return found


def _places() -> Iterator[tuple[DiskName, Path]]:
    database = _folder_of_sqlite() if connection.vendor == "sqlite" else _folder_of_postgresql()
    if database is not None:
        yield "database", database
    yield "data", settings.DATA_DIR


def _folder_of_sqlite() -> Path | None:
    name = str(settings.DATABASES["default"]["NAME"])
    return None if MEMORY in name or name.startswith("file:") else Path(name).absolute().parent


def _folder_of_postgresql() -> Path | None:
    """Where a server on this very machine writes; None where it runs elsewhere, or does not tell this user."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_backend_pid(), CASE WHEN pg_has_role('pg_read_all_settings', 'MEMBER') "
                "THEN current_setting('data_directory') END"
            )
            pid, folder = cursor.fetchone()
        # Its process is seen from here only where it shares this machine and this container.
        is_here = Path(f"/proc/{pid}/comm").read_text(encoding="ascii", errors="replace").startswith("postgres")
    except (DatabaseError, OSError):
        return None
    return Path(folder) if is_here and folder else None
