"""Rows by where they stand in a total order, so that a page is found by an index and not by counting to it."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Model, Q


def values_at(row: Model, ordering: Sequence[str]) -> list[Any]:
    """What places a row in this ordering: names of its columns, a minus before those that descend."""
    return [getattr(row, name.removeprefix("-")) for name in ordering]


def beyond(ordering: Sequence[str], values: Sequence[Any], *, inclusive: bool = False) -> Q:
    """Matches rows that follow the one with these values in a total ordering, or also that one itself.

    The first condition is a range of the first column, which lets an index begin there.
    """
    condition = Q()
    for place, (name, value) in enumerate(reversed(list(zip(ordering, values, strict=True)))):
        column = name.removeprefix("-")
        follows = "lt" if name.startswith("-") else "gt"
        if place == 0:
            condition = Q(**{f"{column}__{follows}{'e' if inclusive else ''}": value})
        else:
            condition = Q(**{f"{column}__{follows}e": value}) & (Q(**{f"{column}__{follows}": value}) | condition)
    return condition
