"""Telling: what is told, before it is a card in some language."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from notifications.engine.facts import Fact

TellingKind: TypeAlias = Literal["alert", "repeat", "resolved", "digest", "summary", "test"]
# Of so many subjects a message says more than that they are among them.
FACTS_MAX: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """`facts` are the newest of each subject, newest first, FACTS_MAX at most; the counts are of all.

    `cover` says in few words what the subjects have in common, as in `rack=r7: 300/312`: so many of all that have it.
    `until` is set where all is over that is told of.
    """

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
