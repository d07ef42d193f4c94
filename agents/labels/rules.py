"""What a label may be. People are told what is wrong; of an agent's labels the wrong ones are left out."""

import re
from collections.abc import Mapping
from typing import Final

from django.utils.translation import gettext as _

from controlplane.common.clean import clean_text
from controlplane.common.errors import Invalid

KEY_MAX_CHARS: Final = 63
VALUE_MAX_CHARS: Final = 1024
LABELS_ADVISED: Final = 20
LABELS_MAX: Final = 64

# Keys that begin so are the portal's own.
PREFIX: Final = "portal/"
# Names a label among the fields of a change in history.
FIELD_PREFIX: Final = "labels."
# What the portal says of each instance, beside stored labels. One that it does not know is missing.
DERIVED: Final = (
    "portal/dialect",
    "portal/environment",
    "portal/service",
    "portal/version",
    "portal/agent-version",
    "portal/hostname",
    "portal/node",
    "portal/os",
    "portal/arch",
)

_KEY: Final = re.compile(r"\w(?:[\w./-]*\w)?")
# PostgreSQL stores neither.
UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
# So much of a key or value is repeated in an error.
_TOLD_CHARS: Final = 80


class LabelsInvalid(Invalid):
    """These labels cannot be given."""

    code = "labels_invalid"


def form_problem_of_key(key: str) -> str:
    """Why no label can be called so, as a sentence; empty where one can, be it given or derived."""
    if not key:
        return _("A label needs a key.")
    if UNSTORABLE.search(key):
        return _("The key of a label must not hold NUL or half a surrogate pair.")
    if len(key) > KEY_MAX_CHARS:
        return _("The key of a label has %(max)d characters at most; this one has %(count)d.") % {
            "max": KEY_MAX_CHARS,
            "count": len(key),
        }
    if not _KEY.fullmatch(key):
        return _(
            "“%(key)s” cannot be the key of a label: keys are letters, digits, “_”, “.”, “-” and “/”, and begin and "
            "end with a letter, a digit or “_”."
        ) % {"key": key}
    return ""


def problem_of_key(key: str) -> str:
    """Why nobody can give a label of this key, as a sentence; empty where they can."""
    problem = form_problem_of_key(key)
    if not problem and key.startswith(PREFIX):
        return _("Keys that begin with “%(prefix)s” are the portal's own; take another name than “%(key)s”.") % {
            "prefix": PREFIX,
            "key": key,
        }
    return problem


def problem_of_value(value: object) -> str:
    """Why this can be no value of a label, as a sentence; empty where it can."""
    if not isinstance(value, str):
        return _("The value of a label is text: write %(example)s in quotes.") % {"example": str(value)[:_TOLD_CHARS]}
    if len(value) > VALUE_MAX_CHARS:
        return _("The value of a label has %(max)d characters at most; this one has %(count)d.") % {
            "max": VALUE_MAX_CHARS,
            "count": len(value),
        }
    if UNSTORABLE.search(value):
        return _("The value of a label must not hold NUL or half a surrogate pair.")
    return ""


def problem_of_count(count: int) -> str:
    """Why an instance cannot have so many labels of one layer, as a sentence; empty where it can."""
    if count <= LABELS_MAX:
        return ""
    return _("An instance takes %(max)d labels at most; these are %(count)d.") % {"max": LABELS_MAX, "count": count}


def check_labels(labels: object, *, field: str = "labels") -> list[str]:
    """Raise LabelsInvalid, with the field `labels.<key>`, unless this is a map of labels that may be given.

    Returns warnings as sentences: labels that are taken all the same.
    """
    if not isinstance(labels, Mapping):
        raise LabelsInvalid(_('Labels are an object of texts, such as {"env": "prod"}.'), field=field)
    if problem := problem_of_count(len(labels)):
        raise LabelsInvalid(problem, field=field)
    for key, value in labels.items():
        name = key if isinstance(key, str) else ""
        if problem := problem_of_key(name) or problem_of_value(value):
            raise LabelsInvalid(problem, field=f"{field}.{clean_text(name, KEY_MAX_CHARS)}".rstrip("."))
    return warnings_of_count(len(labels))


def warnings_of_count(count: int) -> list[str]:
    if count <= LABELS_ADVISED:
        return []
    return [
        _("These are %(count)d labels; more than %(advised)d are hard to keep in view.")
        % {"count": count, "advised": LABELS_ADVISED}
    ]


def usable_labels(labels: Mapping[str, object]) -> tuple[dict[str, str], dict[str, str]]:
    """The labels that may be given, and why each other may not: of an agent, a wrong one costs only itself.

    Beyond LABELS_MAX the last ones, by key, are left out.
    """
    usable: dict[str, str] = {}
    refused: dict[str, str] = {}
    for key in sorted(labels):
        value = labels[key]
        if problem := problem_of_key(key) or problem_of_value(value) or problem_of_count(len(usable) + 1):
            refused[key] = problem
        elif isinstance(value, str):
            usable[key] = value
    return usable, refused
