"""Processes of the portal: their start, their pulse, their end."""

import os
import platform
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from uuid import UUID

import psutil
from django.conf import settings
from django.db import models
from django.utils import timezone

from agents.models import Replica

# Where a start is known by the clock alone, it moves with the clock: only a great difference is another process.
_START_TOLERANCE_S = 3600


@cache
def host_id() -> str:
    """This host, boot and PID namespace: a process id means something only within one.

    Containers may share the host's name (network_mode: host) and always share its boot, but not its process ids.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = str(int(psutil.boot_time()))
    try:
        # Such as pid:[4026531836].
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return f"{platform.node()[:64]}/{boot}"
    return f"{platform.node()[:64]}/{boot}/{namespace}"


def start_replica(kind: Replica.Kind) -> Replica:
    """Register this process under a fresh id."""
    process = psutil.Process()
    now = timezone.now()
    return Replica.objects.create(
        kind=kind,
        host_id=host_id(),
        pid=process.pid,
        process_started_at=datetime.fromtimestamp(process.create_time(), tz=timezone.get_current_timezone()),
        start_ticks=_start_ticks(process.pid),
        last_seen_at=now,
        sight_since=now,
    )


def touch_replica(replica_id: UUID, *, ingest: Mapping[str, object] | None = None) -> bool:
    """Give a pulse; False if the replica was declared dead meanwhile (its sessions are gone then).

    A pulse after a gap starts the sight anew: what the process could not record in between, it did not see. `ingest`
    says how its writing fares, for other processes to show.
    """
    now = timezone.now()
    gap = now - timedelta(seconds=3 * settings.REPLICA_HEARTBEAT_S)
    sight = models.Case(models.When(last_seen_at__lt=gap, then=models.Value(now)), default=models.F("sight_since"))
    figures = {} if ingest is None else {"ingest": ingest}
    alive = Replica.objects.filter(pk=replica_id, stopped_at=None)
    return alive.update(last_seen_at=now, sight_since=sight, **figures) == 1


def stop_replica(replica_id: UUID) -> None:
    """Sign a process off. It lived up to this moment; one that others declare dead was seen last before its stop."""
    now = timezone.now()
    Replica.objects.filter(pk=replica_id, stopped_at=None).update(stopped_at=now, last_seen_at=now)


def dead_replicas(now: datetime) -> list[Replica]:
    """Replicas not marked as stopped that no longer live: silent for too long, or a process of this host that is gone.

    The second is noticed at once, so that sessions of a killed process do not look alive for half a minute.
    """
    silent_since = now - timedelta(seconds=settings.REPLICA_DEAD_AFTER_S)
    running = Replica.objects.filter(stopped_at=None)
    return [
        replica
        for replica in running
        if replica.last_seen_at < silent_since or (replica.host_id == host_id() and not _process_lives(replica))
    ]


def _process_lives(replica: Replica) -> bool:
    """Whether the process id of a replica of this host still belongs to the process that wrote the row."""
    if replica.start_ticks is not None:
        ticks = _start_ticks(replica.pid)
        return _pid_exists(replica.pid) if ticks is None else ticks == replica.start_ticks
    try:
        created = psutil.Process(replica.pid).create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    return abs(created - replica.process_started_at.timestamp()) < _START_TOLERANCE_S


def _start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since the boot; None where the system does not say or does not show it.

    Unlike psutil's create_time, which adds the boot's time of day, it does not move when the clock is set.
    Source: proc_pid_stat(5), field 22; the second field is a name in parentheses that may hold anything.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat.rpartition(b")")[2].split()[19])


def _pid_exists(pid: int) -> bool:
    """Also true of a process that /proc hides from this user (hidepid). Linux only: elsewhere signal 0 may end it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
