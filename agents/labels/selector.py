"""Selectors: whom labels single out. Source: contract (arcade) 2.5.

A selector holds what it means, and no more: what is said twice, and in which order, is dropped when it is made, so that
two that say the same of the same keys are equal and have the same text. `env=prod` (match_labels) and `env in (prod)`
(an expression) ask the same and stay apart, as they are in JSON.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from django.utils.translation import gettext as _

from agents.labels.numbers import NUMBER_MAX_CHARS, number_of
from agents.labels.rules import DERIVED, PREFIX, form_problem_of_key, problem_of_value
from controlplane.common.errors import Invalid

# The canonical text of a selector; also what is read.
TEXT_MAX_CHARS: Final = 8192
# match_labels and expressions together.
REQUIREMENTS_MAX: Final = 32
VALUES_MAX: Final = 100

# What a value is made of that is printed without quotes.
_BARE: Final = re.compile(r"[A-Za-z0-9._/:@+-]+")
# Invisible, or turning the line around: escaped in quotes, so that a selector shows what it asks.
HIDDEN: Final = re.compile("[\x7f-\xa0\u00ad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]")


class SelectorInvalid(Invalid):
    """This is no selector. `position`, from 0, is where its text went wrong; None where it was no text."""

    code = "selector_invalid"

    def __init__(self, message: str = "", *, field: str = "selector", position: int | None = None) -> None:
        super().__init__(message, field=field)
        self.position = position


class Operator(StrEnum):
    IN = "IN"
    NOT_IN = "NOT_IN"
    EXISTS = "EXISTS"
    NOT_EXISTS = "NOT_EXISTS"
    GT = "GT"
    LT = "LT"


_ORDER: Final = {operator: number for number, operator in enumerate(Operator)}


@dataclass(frozen=True, slots=True)
class Requirement:
    """What must hold of one label. Values of IN and NOT_IN are a set: sorted, each once.

    Raises SelectorInvalid where it could not be asked; the field is `key`, `operator` or `values`.
    """

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_key(self.key)
        if self.operator in {Operator.IN, Operator.NOT_IN}:
            object.__setattr__(self, "values", tuple(sorted(set(self.values))))
        _check_values(self)

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.NOT_EXISTS:
                return value is None
        number, bound = number_of(value or ""), number_of(self.values[0])
        if number is None or bound is None:
            return False
        return number > bound if self.operator is Operator.GT else number < bound

    def __str__(self) -> str:
        values = [_printed(value) for value in self.values]
        match self.operator:
            case Operator.IN:
                return f"{self.key} in ({','.join(values)})"
            case Operator.NOT_IN if len(values) == 1:
                return f"{self.key}!={values[0]}"
            case Operator.NOT_IN:
                return f"{self.key} notin ({','.join(values)})"
            case Operator.EXISTS:
                return self.key
            case Operator.NOT_EXISTS:
                return f"!{self.key}"
        return f"{self.key}{'>' if self.operator is Operator.GT else '<'}{values[0]}"

    def as_json(self) -> dict[str, object]:
        return {"key": self.key, "operator": self.operator.value, "values": list(self.values)}


@dataclass(frozen=True, slots=True)
class Selector:
    """All of `match_labels`, which are sorted pairs of different keys, and all of `expressions` must hold.

    Without either it matches every instance. `str()` is its text, which `parse` reads back. Raises SelectorInvalid.
    """

    match_labels: tuple[tuple[str, str], ...] = ()
    expressions: tuple[Requirement, ...] = ()
    _text: str = field(init=False, repr=False, compare=False, default="")

    def __post_init__(self) -> None:
        pairs = tuple(sorted(set(self.match_labels)))
        expressions = tuple(
            sorted(set(self.expressions), key=lambda each: (each.key, _ORDER[each.operator], each.values))
        )
        if len(pairs) + len(expressions) > REQUIREMENTS_MAX:
            raise SelectorInvalid(
                _("A selector has %(max)d requirements at most; this one has %(count)d.")
                % {"max": REQUIREMENTS_MAX, "count": len(pairs) + len(expressions)}
            )
        for number, (key, value) in enumerate(pairs):
            _check_key(key, field="match_labels")
            if problem := problem_of_value(value):
                raise SelectorInvalid(problem, field=f"match_labels.{key}")
            if number and pairs[number - 1][0] == key:
                raise SelectorInvalid(twice(key, pairs[number - 1][1], value), field=f"match_labels.{key}")
        text = ",".join([*(f"{key}={_printed(value)}" for key, value in pairs), *map(str, expressions)])
        if len(text) > TEXT_MAX_CHARS:
            raise SelectorInvalid(too_long(len(text)))
        object.__setattr__(self, "match_labels", pairs)
        object.__setattr__(self, "expressions", expressions)
        object.__setattr__(self, "_text", text)

    def __str__(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        """Whether it asks for anything."""
        return bool(self.match_labels or self.expressions)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an instance of these labels, derived ones among them, is meant."""
        return all(labels.get(key) == value for key, value in self.match_labels) and all(
            requirement.matches(labels) for requirement in self.expressions
        )

    def parts(self) -> "list[Selector]":
        """The same, one selector for each requirement, in the order of the text."""
        return [
            *(Selector(match_labels=(pair,)) for pair in self.match_labels),
            *(Selector(expressions=(requirement,)) for requirement in self.expressions),
        ]

    def as_json(self) -> dict[str, object]:
        return {
            "match_labels": dict(self.match_labels),
            "match_expressions": [requirement.as_json() for requirement in self.expressions],
        }

    @classmethod
    def from_json(cls, value: object) -> "Selector":
        """The selector of `{"match_labels": {...}, "match_expressions": [{"key", "operator", "values"}]}`.

        Either may be missing or null. Raises SelectorInvalid, whose field is a path within the value.
        """
        members = _members(value, {"match_labels", "match_expressions"}, field="selector")
        labels = _given(members, "match_labels", {})
        expressions = _given(members, "match_expressions", [])
        if not isinstance(labels, Mapping):
            raise SelectorInvalid(_("This must be an object of texts."), field="match_labels")
        if not isinstance(expressions, list | tuple):
            raise SelectorInvalid(_("This must be a list of objects."), field="match_expressions")
        if len(labels) + len(expressions) > REQUIREMENTS_MAX:
            raise SelectorInvalid(
                _("A selector has %(max)d requirements at most; this one has %(count)d.")
                % {"max": REQUIREMENTS_MAX, "count": len(labels) + len(expressions)}
            )
        for key, each in labels.items():
            _check_key(key, field="match_labels")
            if problem := problem_of_value(each):
                raise SelectorInvalid(problem, field=f"match_labels.{key}")
        return cls(tuple(labels.items()), tuple(_requirement(each, number) for number, each in enumerate(expressions)))


def too_long(count: int) -> str:
    return _("The text of a selector has %(max)d characters at most; this one has %(count)d.") % {
        "max": TEXT_MAX_CHARS,
        "count": count,
    }


def twice(key: str, first: str, second: str) -> str:
    """What to say of a key that must equal two values."""
    return _("“%(key)s” cannot equal two values; for either of them write: %(instead)s") % {
        "key": key,
        "instead": Requirement(key, Operator.IN, (first, second)),
    }


def _printed(value: str) -> str:
    """A value as it stands in the text: bare, or a string of JSON."""
    return value if _BARE.fullmatch(value) else quoted(value)


def quoted(value: str) -> str:
    """A value as a string of JSON in which nothing hides."""
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def _check_key(key: object, *, field: str = "key") -> None:
    problem = form_problem_of_key(key) if isinstance(key, str) else _("The key of a label is text.")
    if not problem and isinstance(key, str) and key.startswith(PREFIX) and key not in DERIVED:
        problem = _("The portal says nothing called “%(key)s”; of its own it has: %(known)s.") % {
            "key": key,
            "known": ", ".join(DERIVED),
        }
    if problem:
        raise SelectorInvalid(problem, field=field)


def _check_values(requirement: Requirement) -> None:
    values, operator = requirement.values, requirement.operator
    for value in values:
        if problem := problem_of_value(value):
            raise SelectorInvalid(problem, field="values")
    if operator in {Operator.EXISTS, Operator.NOT_EXISTS}:
        if values:
            raise SelectorInvalid(_("%(operator)s takes no values.") % {"operator": operator}, field="values")
        return
    if operator in {Operator.GT, Operator.LT}:
        if len(values) != 1 or number_of(values[0]) is None:
            raise SelectorInvalid(
                _("%(operator)s takes one decimal number of at most %(max)d characters, such as 8, 7.5 or 1e3.")
                % {"operator": operator, "max": NUMBER_MAX_CHARS},
                field="values",
            )
        return
    if not 1 <= len(values) <= VALUES_MAX:
        raise SelectorInvalid(
            _("%(operator)s takes 1 to %(max)d values.") % {"operator": operator, "max": VALUES_MAX}, field="values"
        )


def _requirement(value: object, number: int) -> Requirement:
    path = f"match_expressions.{number}"
    members = _members(value, {"key", "operator", "values"}, field=path)
    name, values = members.get("operator"), _given(members, "values", [])
    if not isinstance(name, str) or name not in Operator.__members__:
        message = _("The operator must be one of %(known)s.") % {"known": ", ".join(Operator)}
        raise SelectorInvalid(message, field=f"{path}.operator")
    if not isinstance(values, list | tuple):
        raise SelectorInvalid(_("This must be a list of texts."), field=f"{path}.values")
    if len(values) > VALUES_MAX:
        message = _("%(operator)s takes 1 to %(max)d values.") % {"operator": name, "max": VALUES_MAX}
        raise SelectorInvalid(message, field=f"{path}.values")
    for each in values:
        if problem := problem_of_value(each):
            raise SelectorInvalid(problem, field=f"{path}.values")
    key = members.get("key")
    try:
        return Requirement(key if isinstance(key, str) else "", Operator[name], tuple(values))
    except SelectorInvalid as error:
        raise SelectorInvalid(str(error), field=f"{path}.{error.field}") from error


def _given(members: Mapping[str, object], name: str, default: object) -> object:
    value = members.get(name)
    return default if value is None else value


def _members(value: object, known: set[str], *, field: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise SelectorInvalid(
            _("This must be an object of %(known)s.") % {"known": ", ".join(sorted(known))}, field=field
        )
    for name in value:
        if name not in known:
            raise SelectorInvalid(
                _("“%(name)s” is not known here; an object has %(known)s.")
                % {"name": str(name)[:80], "known": ", ".join(sorted(known))},
                field=field,
            )
    return value
