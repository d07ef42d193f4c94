"""How the System page writes amounts."""

from controlplane.console.formatting import NOTHING

KIBI = 1024


def size_words(count: float | None) -> str:
    """So many bytes in the unit that fits, with its sign."""
    if count is None:
        return NOTHING
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < KIBI:
            return f"{amount:.0f} {unit}" if unit == "B" or abs(amount) >= 100 else f"{amount:.1f} {unit}"
        amount /= KIBI
    return f"{amount:.1f} TiB"
