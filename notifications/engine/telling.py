"""Telling: what is told, before it is a card in some language. STAND-IN: to be replaced at merge."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from notifications.engine.facts import Fact

TellingKind = Literal["alert", "repeat", "resolved", "digest", "summary", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """`facts` are the newest, at most 20; the counts are of all."""

    kind: TellingKind
    event_type: str = ""
    facts: tuple[Fact, ...] = ()
    event_count: int = 1
    subject_count: int = 1
    cover: str = ""
    since: datetime | None = None
    until: datetime | None = None
    rule_name: str = ""
    silence_reason: str = ""
    digest_counts: tuple[tuple[str, int], ...] = ()
    message: str = ""
