"""What was measured, beside its target and the raw limit of the same run: as a table, as Markdown and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Raw:
    """What the machine can do without the portal, in the same unit as the row that it stands beside."""

    what: str
    value: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. A `problem` (something lost, an error frame) fails it whatever was measured."""

    what: str
    unit: str
    measured: float
    bound: Literal["at least", "at most", "none"] = "none"
    target: float = 0.0
    raw: Raw | None = None
    problem: str = ""
    details: dict[str, object] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        if self.problem:
            return False
        if self.bound == "none":
            return True
        return self.measured >= self.target if self.bound == "at least" else self.measured <= self.target

    @property
    def ratio(self) -> float | None:
        """What was measured as a share of its raw limit; None without one."""
        return self.measured / self.raw.value if self.raw and self.raw.value else None

    @property
    def verdict(self) -> str:
        if self.problem:
            return f"FAIL: {self.problem}"
        if self.bound == "none":
            return ""
        return "pass" if self.passed else "FAIL"


_HEADINGS = ("what", "target", "measured", "raw limit of this run", "ratio", "")


def _cells(row: Row) -> tuple[str, ...]:
    sign = {"at least": "≥ ", "at most": "≤ ", "none": ""}[row.bound]
    return (
        row.what,
        f"{sign}{number(row.target)} {row.unit}" if sign else "",
        f"{number(row.measured)} {row.unit}",
        f"{number(row.raw.value)} {row.unit}: {row.raw.what}" if row.raw else "",
        f"{row.ratio:.2f}" if row.ratio is not None else "",
        row.verdict,
    )


def number(value: float) -> str:
    """Three digits that mean something, thousands grouped."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def text_table(rows: Sequence[Row]) -> str:
    lines = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([padded[0], "-" * len(padded[0]), *padded[1:]])


def markdown_table(rows: Sequence[Row]) -> str:
    lines = [_HEADINGS, ("---",) * len(_HEADINGS), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [asdict(row) | {"passed": row.passed, "ratio": row.ratio} for row in rows]
