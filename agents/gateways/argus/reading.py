"""Reading bodies of nodes: JSON that every database keeps as it came, or one sentence that names what is wrong."""

import json
import math
from typing import Any, Final

from controlplane.common.clean import BIGINT_MAX, NESTING_MAX, clean_text
from controlplane.common.errors import Invalid

# Of the place that an error names, and of what it quotes.
_PLACE_CHARS: Final = 200


class BodyInvalid(Invalid):
    """A body cannot be right; the text begins with the name of the field."""

    code = "body_invalid"


def refused(field: str, must: str) -> BodyInvalid:
    """The error that `field` must be something else. `field` is a place with dots, as in `meta_data.cpu_number`."""
    place = clean_text(field, _PLACE_CHARS)
    return BodyInvalid(f"{place} must {must}.", field=place)


def read_object(raw: bytes) -> dict[str, Any]:
    """The JSON object of a body; of a key that comes twice, the last counts.

    Raises BodyInvalid where it is no JSON, no object, or holds what no database keeps: NUL, half of a surrogate pair,
    a number that is not finite or a whole one beyond 64 bit, more than NESTING_MAX levels.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BodyInvalid(f"The body must be UTF-8; its byte {error.start} is not.") from error
    try:
        body = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise BodyInvalid(f"The body must not nest deeper than {NESTING_MAX} levels.") from error
    except json.JSONDecodeError as error:
        raise BodyInvalid(
            f"The body must be JSON; at line {error.lineno}, column {error.colno}: {error.msg}."
        ) from error
    except ValueError as error:
        # A whole number of thousands of digits.
        raise BodyInvalid("The body must be JSON without numbers of thousands of digits.") from error
    if not isinstance(body, dict):
        raise BodyInvalid("The body must be a JSON object.")
    for name, value in body.items():
        _ensure_key(name, "The body")
        _ensure_value(value, name, 0)
    return body


def _refuse_constant(name: str) -> None:
    raise BodyInvalid(f"The body must be JSON, which has no {name}.")


def _ensure_key(name: str, parent: str) -> None:
    if clean_text(name) != name:
        raise refused(parent, "have keys without NUL and without unpaired surrogates")


def _ensure_value(value: object, place: str, depth: int) -> None:
    if isinstance(value, str):
        if clean_text(value) != value:
            raise refused(place, "hold no NUL and no unpaired surrogate")
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if abs(value) > BIGINT_MAX:
            raise refused(place, "be a number of 64 bit")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise refused(place, "be a number that a double can hold")
    elif depth >= NESTING_MAX:
        raise refused(place, f"not nest deeper than {NESTING_MAX} levels")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _ensure_key(name, place)
            _ensure_value(inner, f"{place}.{name}"[: _PLACE_CHARS + 1], depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _ensure_value(inner, f"{place}[{number}]"[: _PLACE_CHARS + 1], depth + 1)
