"""Labels, and the one language in which they are asked for. Pure: nothing here knows a database.

`rules` says what a label may be, `tags` which tags of a node are labels, `numbers` which labels are numbers, `selector`
what a selector is and whom it matches, `text` how one is written. Source: contract (arcade) 2.5; docs/labels.md.
"""

from agents.labels.numbers import number_of
from agents.labels.rules import (
    DERIVED,
    PREFIX,
    LabelsInvalid,
    check_labels,
    problem_of_key,
    problem_of_value,
    usable_labels,
)
from agents.labels.selector import Operator, Requirement, Selector, SelectorInvalid
from agents.labels.tags import TagLabels, read_tags
from agents.labels.text import parse

__all__ = [
    "DERIVED",
    "PREFIX",
    "LabelsInvalid",
    "Operator",
    "Requirement",
    "Selector",
    "SelectorInvalid",
    "TagLabels",
    "check_labels",
    "number_of",
    "parse",
    "problem_of_key",
    "problem_of_value",
    "read_tags",
    "usable_labels",
]
