r"""Full text: words, phrases, exclusions and alternatives, found alike by PostgreSQL and SQLite.

The syntax is that of web searches: `timeout payments` (both), `"connection refused"` (in this order, next to each
other), `-retry` (not), `timeout or refused` (either; it binds loosest).

A word is a run of letters and digits; anything else parts words. Characters of Chinese, Japanese and Korean are words
of one character each, and what is written together is a phrase of them, so that 支付失败 is found within a sentence.
PostgreSQL's own parser would take apart host names, paths and numbers by rules of their own: each word is handed to it
with an `x` before it, which leaves nothing to recognise.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.models import BooleanField, F, Func
from django.dispatch import receiver

# A query, in characters, and the words in it.
TEXT_MAX: Final = 200
WORDS_MAX: Final = 64
# Ranges of code points, in a spelling that both Python and PostgreSQL read.
_LETTERS: Final = r"0-9A-Za-z\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u1FFF\uFF10-\uFF19\uFF21-\uFF3A\uFF41-\uFF5A"
_SINGLE: Final = (
    r"\u3005-\u3007\u3041-\u3096\u309D-\u309F\u30A1-\u30FA\u30FC-\u30FF\u3400-\u4DBF\u4E00-\u9FFF\uAC00-\uD7A3"
    r"\uF900-\uFA6D\uFA70-\uFAD9\U00020000-\U0002FA1F"
)
_WORD: Final = re.compile(f"[{_LETTERS}]+|[{_SINGLE}]")
_SINGLE_WORD: Final = re.compile(f"[{_SINGLE}]")
# A phrase in quotes, closed or not, or what stands between blanks; a minus before either excludes it.
_PIECE: Final = re.compile(r'(-?)"([^"]*)"?|(-?)([^\s"]+)')


class SearchInvalid(ValueError):
    """The text asks for nothing that could be looked up, or for too much."""


@dataclass(frozen=True, slots=True)
class Term:
    """Words that must follow each other, or must not."""

    words: tuple[str, ...]
    is_excluded: bool = False

    @property
    def is_phrase(self) -> bool:
        return len(self.words) > 1

    def may_be_in(self, text: str) -> bool:
        """Whether a text in small letters can match, at a hundredth of what its words cost.

        Letters beyond ASCII are not looked at: some become others, or several, in small.
        """
        return self.is_excluded or all(word in text for word in self.words if word.isascii())


@dataclass(frozen=True, slots=True)
class Search:
    """Alternatives, of which one must hold; of an alternative all terms must."""

    alternatives: tuple[tuple[Term, ...], ...]

    def finds(self, text: str) -> bool:
        """Whether the text holds what is sought: what PostgreSQL answers, for databases without full text."""
        small = text.lower()
        possible = [terms for terms in self.alternatives if all(term.may_be_in(small) for term in terms)]
        if not possible:
            return False
        words = f" {' '.join(words_of(text))} "
        return any(
            all((f" {' '.join(term.words)} " in words) != term.is_excluded for term in terms) for terms in possible
        )


def words_of(text: str) -> list[str]:
    """The words of a text in their order, in small letters."""
    return [_lower(word) for word in _WORD.findall(text)]


def _lower(word: str) -> str:
    """Letter by letter, as PostgreSQL does it; a letter that would become two stays."""
    if word.isascii():
        return word.lower()
    return "".join(small if len(small := letter.lower()) == 1 else letter for letter in word)


def parse(text: str) -> Search:
    """What a text of at most TEXT_MAX characters asks for. Raises SearchInvalid."""
    if len(text) > TEXT_MAX:
        raise SearchInvalid(f"at most {TEXT_MAX} characters can be looked up")
    alternatives: list[list[Term]] = [[]]
    for minus, phrase, other_minus, piece in _PIECE.findall(text):
        if piece.lower() == "or" and not other_minus:
            alternatives.append([])
            continue
        words = tuple(words_of(phrase or piece))
        if words:
            alternatives[-1].append(Term(words, is_excluded=bool(minus or other_minus)))
    found = tuple(tuple(terms) for terms in alternatives if terms)
    if not found:
        raise SearchInvalid("there is no word in it")
    if sum(len(term.words) for terms in found for term in terms) > WORDS_MAX:
        raise SearchInvalid(f"at most {WORDS_MAX} words can be looked up, of which each Chinese character is one")
    if any(all(term.is_excluded for term in terms) for terms in found):
        raise SearchInvalid("beside what is excluded, each alternative needs a word to look for")
    return Search(found)


class _OfTexts(Func):
    """A search, and texts of a row, each up to a number of characters, as (column, length)."""

    output_field = BooleanField()
    arg_joiner = " || ' ' || "

    def __init__(self, search: str, texts: Sequence[tuple[str, int]]) -> None:
        super().__init__(*(_Head(F(column), length) for column, length in texts))
        self.search = search


class Mentions(_OfTexts):
    """Whether the texts hold what the search asks for: read, word by word."""

    def as_postgresql(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        """Regular expressions: making a tsvector of the texts of a row would take fifty times as long."""
        text, params = super().as_sql(compiler, connection, template="lower(%(expressions)s)")
        alternatives, asked = [], []
        for terms in parse(self.search).alternatives:
            alternatives.append(" AND ".join(f"{text} {'!~' if term.is_excluded else '~'} %s" for term in terms))
            asked += [value for term in terms for value in (*params, _pattern(term))]
        return f"(({') OR ('.join(alternatives)}))", asked

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper, **_: Any) -> tuple[str, tuple[Any, ...]]:
        sql, params = super().as_sql(compiler, connection, template="search_finds(%%s, %(expressions)s)")
        return sql, (self.search, *params)


class MayMention(_OfTexts):
    """On PostgreSQL: whether the words of the search are in the texts, as an index on `document` knows.

    It knows no places, so where the search has a phrase the rows must be read as well. Nothing else is missed.
    """

    def as_postgresql(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        template = f"{document('%(expressions)s')} @@ to_tsquery('simple', %%s)"
        sql, params = super().as_sql(compiler, connection, template=template)
        return sql, [*params, _tsquery(parse(self.search))]


class _Head(Func):
    """The first characters of a text; the number is part of the statement, as it is of the index."""

    def __init__(self, text: F, length: int) -> None:
        super().__init__(text)
        self.length = length

    def as_postgresql(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        sql, params = super().as_sql(compiler, connection, template=f"left(%(expressions)s, {self.length})")
        return sql, list(params)

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper, **_: Any) -> tuple[str, tuple[Any, ...]]:
        sql, params = super().as_sql(compiler, connection, template=f"substr(%(expressions)s, 1, {self.length})")
        return sql, tuple(params)


def document(text_sql: str) -> str:
    """The SQL of what PostgreSQL looks up and indexes: the words of a text, with their places. It is immutable.

    The empty alternative at the start swallows what stands before the first word.
    """
    pattern = rf"([{_LETTERS}]+|[{_SINGLE}]|^)[^{_LETTERS}{_SINGLE}]*"
    return rf"to_tsvector('simple', regexp_replace({text_sql}, '{pattern}', 'x\1 ', 'g'))"


def _tsquery(search: Search) -> str:
    """The words of a search in PostgreSQL's syntax, without the places of phrases."""
    return " | ".join(
        " & ".join(
            f"{'!' if term.is_excluded else ''}'x{word}'"
            for term in terms
            for word in term.words
            if not (term.is_excluded and term.is_phrase)
        )
        for terms in search.alternatives
    )


def _pattern(term: Term) -> str:
    """The regular expression of PostgreSQL that matches the words of a term, next to each other and whole."""
    pattern, is_run = f"(?<![{_LETTERS}])" if _is_run(term.words[0]) else "", False
    for place, word in enumerate(term.words):
        if place:
            pattern += f"[^{_LETTERS}{_SINGLE}]{'+' if is_run and _is_run(word) else '*'}"
        pattern, is_run = pattern + word, _is_run(word)
    return pattern + (f"(?![{_LETTERS}])" if is_run else "")


def _is_run(word: str) -> bool:
    """Whether a word is a run of letters, and no single character."""
    return _SINGLE_WORD.fullmatch(word) is None


_parsed = lru_cache(maxsize=64)(parse)


@receiver(connection_created)
def add_function(sender: object, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:  # noqa: ARG001 -- a receiver
    """Give each connection to SQLite the function that `Mentions` calls there."""
    if connection.vendor == "sqlite":
        connection.connection.create_function(
            "search_finds", 2, lambda search, text: _parsed(search).finds(text), deterministic=True
        )
