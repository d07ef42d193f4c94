"""What runs: the portal, and what it runs on."""

import platform
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import django
from django.conf import settings
from django.db import connection

_COMMIT_CHARS = 10


@dataclass(frozen=True, slots=True)
class Versions:
    """`commit` is "" where the portal does not run from a checkout."""

    portal: str
    commit: str
    python: str
    django: str
    database: str
    environment: str


def versions() -> Versions:
    """No query where the connection is open: it knows the version of its server."""
    return Versions(
        portal=_portal(),
        commit=_commit(),
        python=platform.python_version(),
        django=django.get_version(),
        database=f"{connection.display_name} {'.'.join(str(part) for part in connection.get_database_version())}",
        environment=settings.APP_ENV,
    )


@cache
def _portal() -> str:
    """As the project says; "" in an installation that has no such file."""
    try:
        project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, KeyError):
        return ""
    return str(project.get("version", ""))


@cache
def _commit() -> str:
    try:
        git = settings.BASE_DIR / ".git"
        if git.is_file():
            git = Path(git.read_text(encoding="utf-8").partition("gitdir:")[2].strip())
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head[:_COMMIT_CHARS]
        common = git / "commondir"
        shared = (git / common.read_text(encoding="utf-8").strip()) if common.exists() else git
        return _resolved(shared, head.removeprefix("ref: "))[:_COMMIT_CHARS]
    except OSError:
        return ""


def _resolved(git: Path, ref: str) -> str:
    loose = git / ref
    if loose.exists():
        return loose.read_text(encoding="utf-8").strip()
    packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
    return next((line.partition(" ")[0] for line in packed if line.endswith(f" {ref}")), "")
