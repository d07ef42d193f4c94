"""What the self-check found: one finding for each thing that is wrong, with what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, in the language that is active when it is made.

    `fix` says what to do; `do` is the exact line for it, a command or a variable, "" where there is no one line.
    Neither holds a secret. `since` is None where it is not known.
    """

    code: str
    severity: Severity
    title: str
    detail: str
    fix: str
    do: str = ""
    since: datetime | None = None


def worst_first(found: Iterable[Finding]) -> list[Finding]:
    return sorted(found, key=lambda each: (SEVERITIES.index(each.severity), each.code, each.title))


def named(names: list[str], count: int) -> str:
    """A few names, and how many more there are."""
    more = count - len(names)
    return ", ".join(names) + (f" +{more}" if more > 0 else "")
