"""The compact text of selectors, read. `str(selector)` writes it.

    selector     = [ requirement *( "," requirement ) ]
    requirement  = key | "!" key | key ( "=" | "==" | "!=" ) [ value ] | key ( ">" | "<" ) value
                 | key ( "in" | "notin" ) "(" value *( "," value ) ")"
    value        = bare | a string of JSON in double quotes

Blanks are free between these, and `in` and `notin` are read in any case. A missing value is the empty one.
"""

import json
import re
from typing import Final, NoReturn

from django.utils.translation import gettext as _

from agents.labels.numbers import number_of
from agents.labels.rules import UNSTORABLE, problem_of_value
from agents.labels.selector import (
    TEXT_MAX_CHARS,
    VALUES_MAX,
    Operator,
    Requirement,
    Selector,
    SelectorInvalid,
    too_long,
    twice,
)

_BLANKS: Final = re.compile(r"\s*")
_KEY: Final = re.compile(r"[\w./-]+")
# Full-width punctuation is what an input method of Chinese puts where ASCII was meant; within quotes all is taken.
_FULL_WIDTH: Final = dict(zip("，（）！＝＜＞＂“”", ',()!=<>"""', strict=True))
_VALUE: Final = re.compile(rf"[^\s,()\"'=!<>\\\x00-\x1f\x7f{''.join(_FULL_WIDTH)}]+")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_WORD: Final = re.compile(r"\w+")
_MARK: Final = re.compile(r"==|!=|>=|<=|=|>|<")
# Of what was found instead, so much is repeated.
_FOUND_CHARS: Final = 20


def parse(text: str) -> Selector:
    """The selector of a text of at most TEXT_MAX_CHARS. Raises SelectorInvalid, which says where and what instead."""
    if len(text) > TEXT_MAX_CHARS:
        raise SelectorInvalid(too_long(len(text)), position=TEXT_MAX_CHARS)
    if found := UNSTORABLE.search(text):
        raise SelectorInvalid(_("A selector must not hold NUL or half a surrogate pair."), position=found.start())
    return _Reader(text).selector()


class _Reader:
    """Reads a text from its start; `_at` is how far it got."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._labels: dict[str, str] = {}
        self._expressions: list[Requirement] = []

    def selector(self) -> Selector:
        self._blanks()
        while self._at < len(self._text):
            self._requirement()
            if self._at == len(self._text):
                break
            if not self._takes(","):
                self._expected(_("a comma before the next label, or the end; a value with blanks stands in quotes"))
            if self._at == len(self._text):
                self._expected(_("a label after the comma"))
        return Selector(tuple(self._labels.items()), tuple(self._expressions))

    def _requirement(self) -> None:
        start = self._at
        if self._takes("!"):
            self._add(start, self._key(), Operator.NOT_EXISTS)
            return
        key = self._key()
        at = self._at
        mark = self._taken(_MARK)
        if mark in {"=", "=="}:
            self._equals(start, key, self._value_or_empty())
        elif mark == "!=":
            self._add(start, key, Operator.NOT_IN, self._value_or_empty())
        elif mark in {">=", "<="}:
            self._fail(_("there is no “%(mark)s”; numbers are compared by > and < alone") % {"mark": mark}, at)
        elif mark:
            self._add(start, key, Operator.GT if mark == ">" else Operator.LT, self._number())
        elif word := self._taken(_WORD):
            self._listed(start, key, word)
        elif self._at == len(self._text) or self._text[self._at] == ",":
            self._add(start, key, Operator.EXISTS)
        else:
            self._expected(_("=, !=, in (…), notin (…), > or < behind “%(key)s”, or a comma") % {"key": key})

    def _listed(self, start: int, key: str, word: str) -> None:
        operator = {"in": Operator.IN, "notin": Operator.NOT_IN}.get(word.lower())
        if operator is None:
            self._at = self._text.rindex(word, start, self._at)
            self._expected(_("=, !=, in (…), notin (…), > or < behind “%(key)s”, or a comma") % {"key": key})
        if not self._takes("("):
            self._expected(_("values in brackets, as in: %(example)s") % {"example": f"{key} {word.lower()} (a,b)"})
        values = [self._value()]
        while not self._takes(")"):
            if not self._takes(","):
                self._expected(_("a comma or the closing bracket; a value with blanks stands in quotes"))
            if len(values) == VALUES_MAX:
                self._fail(_("a list has %(max)d values at most") % {"max": VALUES_MAX}, self._at)
            values.append(self._value())
        self._add(start, key, operator, *values)

    def _equals(self, start: int, key: str, value: str) -> None:
        if self._labels.setdefault(key, value) != value:
            self._fail(twice(key, self._labels[key], value), start)
        try:
            Selector(match_labels=((key, value),))
        except SelectorInvalid as error:
            self._fail(str(error), start)

    def _add(self, start: int, key: str, operator: Operator, *values: str) -> None:
        try:
            self._expressions.append(Requirement(key, operator, values))
        except SelectorInvalid as error:
            self._fail(str(error), start)

    def _key(self) -> str:
        key = self._taken(_KEY)
        if not key:
            self._expected(_("the key of a label"))
        return key

    def _number(self) -> str:
        start = self._at
        value = self._value_or_empty()
        if number_of(value) is None:
            self._at = start
            self._expected(_("a decimal number, such as 8, 7.5 or 1e3"))
        return value

    def _value(self) -> str:
        if self._at == len(self._text) or self._text[self._at] in ",)":
            self._expected(_('a value; the empty one is ""'))
        return self._value_or_empty()

    def _value_or_empty(self) -> str:
        if self._at == len(self._text) or self._text[self._at] == ",":
            return ""
        start = self._at
        if self._text[start] == '"':
            return self._quoted()
        value = self._taken(_VALUE)
        if not value:
            self._expected(_("a value; one with special characters stands in double quotes"))
        if problem := problem_of_value(value):
            self._fail(problem, start)
        return value

    def _quoted(self) -> str:
        start = self._at
        quoted = self._taken(_QUOTED)
        if not quoted:
            self._fail(_("the closing double quote is missing"), start)
        try:
            # Line ends and other control characters may stand in quotes as they are.
            value = json.JSONDecoder(strict=False).decode(quoted)
        except ValueError as error:
            place = start + getattr(error, "pos", 0)
            self._fail(_('in quotes, a backslash is written \\\\, a quote \\" and any character \\uXXXX'), place)
        if problem := problem_of_value(value):
            self._fail(problem, start)
        return str(value)

    def _blanks(self) -> None:
        found = _BLANKS.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _taken(self, pattern: re.Pattern[str]) -> str:
        """What the pattern matches here, empty where it does not; blanks behind it are passed over."""
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        self._blanks()
        return found[0]

    def _takes(self, character: str) -> bool:
        if not self._text.startswith(character, self._at):
            return False
        self._at += 1
        self._blanks()
        return True

    def _expected(self, what: str) -> NoReturn:
        found = self._text[self._at : self._at + _FOUND_CHARS]
        if not found:
            self._fail(_("expected %(what)s, and the text ends") % {"what": what}, self._at)
        if found[0] in _FULL_WIDTH:
            message = _("“%(found)s” is full-width; write %(instead)s") % {
                "found": found[0],
                "instead": _FULL_WIDTH[found[0]],
            }
            self._fail(message, self._at)
        self._fail(_("expected %(what)s, not “%(found)s”") % {"what": what, "found": found}, self._at)

    def _fail(self, message: str, at: int) -> NoReturn:
        text = _("Character %(number)d: %(message)s") % {"number": at + 1, "message": message}
        raise SelectorInvalid(text, position=at)
