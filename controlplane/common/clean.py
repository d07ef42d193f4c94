"""Cleaning of what peers send, before it reaches a database that would refuse it."""

import math
import re
from collections.abc import Mapping
from functools import partial

import msgspec

BIGINT_MAX = 2**63 - 1
# How deep JSON from a peer may nest; beyond it the value is replaced. PostgreSQL and Python both allow far more.
NESTING_MAX = 64
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean_text(value: str, max_length: int | None = None) -> str:
    """The text without NUL characters and lone surrogates (PostgreSQL stores neither), cut to `max_length`."""
    if _UNSTORABLE.search(value):
        value = _UNSTORABLE.sub("\ufffd", value)
    return value if max_length is None or len(value) <= max_length else value[:max_length]


def clean_json(value: object, _depth: int = 0) -> object:
    """A JSON value that PostgreSQL and strict JSON readers accept.

    NaN and infinities become null, integers beyond 64 bit become floats, text is cleaned as by `clean_text`, and what
    nests deeper than NESTING_MAX becomes null.
    """
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -BIGINT_MAX - 1 <= value <= BIGINT_MAX else _finite(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if _depth >= NESTING_MAX:
        return None
    # An abstract class is asked last: for a list, that takes longer than all the rest.
    if isinstance(value, dict):
        return {clean_text(str(key)): clean_json(item, _depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(item, _depth + 1) for item in value]
    if isinstance(value, Mapping):
        return clean_json(dict(value), _depth)
    return clean_text(str(value))


def is_same_json(one: object, other: object) -> bool:
    """Whether two JSON values are the same as documents: unlike Python, 1 is neither `true` nor 1.0."""
    return _sorted(one) == _sorted(other)


_sorted = partial(msgspec.json.encode, order="sorted")


def _finite(value: int) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None
