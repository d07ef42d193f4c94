"""Labels as people write them, one a line: `key=value`, or `key` for an empty value.

A value stands as it is, blanks around it left out. One that begins or ends with blanks, begins with a double quote, or
holds line ends stands in double quotes, as in the text of selectors.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from django.utils.translation import gettext as _

from agents.labels.rules import problem_of_count, problem_of_key, problem_of_value
from agents.labels.selector import HIDDEN, quoted

# More than LABELS_MAX of the largest labels.
TEXT_MAX_CHARS: Final = 100_000


@dataclass(frozen=True, slots=True)
class LineProblem:
    """What is wrong with a line, from 1; 0 where it is all of them."""

    line: int
    message: str

    def __str__(self) -> str:
        if not self.line:
            return self.message
        return _("Line %(line)d: %(message)s") % {"line": self.line, "message": self.message}


def labels_of_lines(text: str) -> tuple[dict[str, str], list[LineProblem]]:
    """The labels of lines, and the problems of the lines that are none."""
    labels: dict[str, str] = {}
    problems: list[LineProblem] = []
    # Only what ends lines on a keyboard does here: `splitlines` would take others, which a value may hold.
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not line.strip():
            continue
        key, _sign, written = (part.strip() for part in line.partition("="))
        value, problem = _value(written)
        problem = problem_of_key(key) or problem or problem_of_value(value)
        if not problem and key in labels:
            problem = _("“%(key)s” has a line above already.") % {"key": key}
        if problem:
            problems.append(LineProblem(number, problem))
        else:
            labels[key] = value
    if too_many := problem_of_count(len(labels)):
        problems.append(LineProblem(0, too_many))
    return labels, problems


def keys_of_lines(text: str) -> list[str]:
    """One key a line; what follows an equals sign is passed over."""
    return list(dict.fromkeys(key for line in text.split("\n") if (key := line.partition("=")[0].strip())))


def lines_of(labels: Mapping[str, str]) -> str:
    """The lines of labels, by key; `labels_of_lines` reads them back."""
    return "\n".join(f"{key}={_written(labels[key])}" for key in sorted(labels))


def _value(written: str) -> tuple[str, str]:
    if not written.startswith('"'):
        return written, ""
    try:
        return str(json.loads(written)), ""
    except ValueError:
        return "", _("A value that begins with a double quote is a string of JSON, and ends with one.")


def _written(value: str) -> str:
    is_plain = value == value.strip() and not value.startswith('"') and value.isprintable() and not HIDDEN.search(value)
    return value if is_plain else quoted(value)
