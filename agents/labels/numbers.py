"""Which labels are numbers: decimal ones in ASCII, exactly as written, the same here and in SQL."""

import re
from decimal import Decimal
from typing import Final

NUMBER_MAX_CHARS: Final = 128
# Read by Python, and by PostgreSQL's ~ between ^ and $. An exponent has three digits at most, so that no number takes
# more than about a thousand digits to write out, which PostgreSQL's numeric can hold.
NUMBER_PATTERN: Final = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"
_NUMBER: Final = re.compile(NUMBER_PATTERN)


def number_of(text: str) -> Decimal | None:
    """The number that a text of at most NUMBER_MAX_CHARS is, or None: blanks, NaN, infinities and `0x1F` are none."""
    if len(text) > NUMBER_MAX_CHARS or not _NUMBER.fullmatch(text):
        return None
    # From a text, Decimal is exact whatever the precision of the context, and so are comparisons.
    return Decimal(text)
