"""Card: what a message says, before any provider wrote it in its own way."""

from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["info", "good", "warn", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: `name` and `value`; `is_code` for names of things, which are shown as code."""

    name: str
    value: str
    is_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """In the language of its channel. Plain text throughout: providers escape.

    `variables` are those of a custom webhook (contract 7.1), of the newest event. `link` is an absolute URL, or a
    path where the portal does not know its own address.
    """

    title: str
    tone: Tone
    lines: tuple[Line, ...] = ()
    metrics: tuple[Line, ...] = ()
    # Further subjects, one a line, where it speaks of several.
    items: tuple[str, ...] = ()
    link: str = ""
    link_text: str = ""
    variables: dict[str, str] = field(default_factory=dict)
