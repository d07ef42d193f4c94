"""What the fault tests did, as a table: printed at the end of a run, and kept in docs/operations.md."""

from dataclasses import dataclass, field


@dataclass
class Ledger:
    """One row per fault: what was sent, what is stored, what was answered."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def note(self, fault: str, *, sent: str, stored: str, answered: str) -> None:
        self.rows.append((fault, sent, stored, answered))

    def lines(self) -> list[str]:
        """A table in Markdown; empty where no fault was tried."""
        if not self.rows:
            return []
        return [
            "| fault | sent | stored | answered |",
            "| --- | --- | --- | --- |",
            *(f"| {' | '.join(row)} |" for row in self.rows),
        ]
