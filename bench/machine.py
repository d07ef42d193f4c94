"""The machine under measurement: which process runs on which core, and what each has used of it."""

import contextlib
import os
import platform
import subprocess
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
_POSTGRES_KINDS = (
    "autovacuum launcher",
    "autovacuum worker",
    "background writer",
    "checkpointer",
    "io worker",
    "logical replication launcher",
    "walwriter",
)
_PACKAGES = ("Django", "channels", "uvicorn", "uvloop", "websockets", "msgspec", "psycopg", "redis")


@dataclass(frozen=True, slots=True)
class Cores:
    """Where what runs. Both are None where the machine has one core or knows no affinity."""

    server: int | None
    rest: int | None

    @classmethod
    def choose(cls) -> "Cores":
        """The first of this process's cores for the portal, the second for the load, PostgreSQL and Redis."""
        if not hasattr(os, "sched_setaffinity"):
            return cls(None, None)
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[1]) if len(allowed) > 1 else cls(None, None)


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """What this thread starts inside the block runs on that core; None changes nothing."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def pinned(processes: Iterable[psutil.Process], core: int | None) -> Iterator[list[str]]:
    """Pin running processes with all their threads for as long as the block; yields what could not be pinned.

    For servers that others started: what was set before is set again at the end. What they start later inherits.
    """
    before: list[tuple[int, set[int]]] = []
    failed: list[str] = []
    for process in processes:
        for thread_id in _thread_ids(process):
            if core is None:
                break
            try:
                before.append((thread_id, os.sched_getaffinity(thread_id)))
                os.sched_setaffinity(thread_id, {core})
            except ProcessLookupError:
                continue
            except OSError as error:
                failed.append(f"{process.name()} (process {process.pid}): {error.strerror}")
                break
    try:
        yield failed
    finally:
        for thread_id, cores in before:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(thread_id, cores)


def _thread_ids(process: psutil.Process) -> list[int]:
    try:
        return [thread.id for thread in process.threads()]
    except psutil.Error:
        return [process.pid]


def cpu_seconds(pids: Iterable[int]) -> float:
    """What these processes have used, with the children that they have now or had and waited for.

    The difference of two calls is what was used between them; a process that is gone counts nothing.
    """
    total = 0.0
    for pid in pids:
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
        except psutil.Error:
            continue
        for member in family:
            with contextlib.suppress(psutil.Error):
                times = member.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


def cpu_seconds_by_kind(postmaster: int, own: Collection[int]) -> dict[str, float]:
    """What a PostgreSQL has used, by what its processes call themselves; what is of this bench's connections apart.

    `ended` is of processes that are gone: closed connections, workers of autovacuum. Compare two calls by difference.
    """
    found: dict[str, float] = defaultdict(float)
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(postmaster)
        times = process.cpu_times()
        found["postmaster"] += times.user + times.system
        found["ended"] += times.children_user + times.children_system
        for child in process.children():
            with contextlib.suppress(psutil.Error):
                used, title = child.cpu_times(), " ".join(child.cmdline())
                kind = "connections of the bench" if child.pid in own else postgres_kind(title)
                found[kind] += used.user + used.system
    return dict(found)


def postgres_kind(title: str) -> str:
    """What a process of PostgreSQL does, by its title; `backend` for those that serve connections."""
    return next((kind for kind in _POSTGRES_KINDS if f" {kind}" in title), "backend")


def busy_seconds(core: int | None) -> float:
    """What all processes of the machine have used of one core; of all cores where it is None."""
    times = psutil.cpu_times(percpu=True)
    return sum(
        sum(each) - each.idle - getattr(each, "iowait", 0.0) for each in (times if core is None else [times[core]])
    )


def resident_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


def description() -> dict[str, object]:
    """What to know about the machine and the code before comparing two results."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "revision": _revision(),
        "load_average": [round(number, 2) for number in psutil.getloadavg()],
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _revision() -> str:
    """The commit, with a plus sign where files differ from it; empty outside a repository."""
    try:
        commit = _git("rev-parse", "--short", "HEAD").strip()
        return f"{commit}+" if _git("status", "--porcelain", "--untracked-files=no").strip() else commit
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
