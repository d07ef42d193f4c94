"""Alerts as the engine has them: what a row of the model says, and of its members those that are known.

Of an alert with thousands of members only those that the facts at hand are about, and the newest, need be known; the
counts are of all.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from notifications.engine.facts import Fact
from notifications.engine.kinds import LASTING
from notifications.engine.telling import FACTS_MAX


class Status(StrEnum):
    """The same as notifications.models.Alert.Status."""

    WAITING = "waiting"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(slots=True)
class Member:
    """One subject. `fact` is its newest; `silence_id` is set while a silence keeps it quiet."""

    fact: Fact
    first_at: datetime
    last_at: datetime
    event_count: int = 0
    silence_id: int | None = None
    ended_at: datetime | None = None
    is_changed: bool = False

    @property
    def is_open(self) -> bool:
        return self.ended_at is None


@dataclass(slots=True, eq=False)
class AlertState:
    """`id` is None until it is stored. `recent` are the times of the newest events, for the threshold.

    `news_count` are the subjects that came to it since it was told. Of its members `open_count` are neither over nor
    silenced, `quiet_count` silenced and not over, and `audible_count` not silenced, be they over or not.
    """

    rule_id: int
    event_type: str
    key: str
    opened_at: datetime
    last_at: datetime
    id: int | None = None
    status: Status = Status.WAITING
    event_count: int = 0
    told_count: int = 0
    silenced_count: int = 0
    news_count: int = 0
    recent: list[datetime] = field(default_factory=list)
    due_at: datetime | None = None
    told_at: datetime | None = None
    told_times: int = 0
    resolved_at: datetime | None = None
    open_count: int = 0
    quiet_count: int = 0
    audible_count: int = 0
    member_count: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    is_changed: bool = False

    @property
    def lasts(self) -> bool:
        return self.event_type in LASTING

    @property
    def is_over(self) -> bool:
        """Whether nothing of it goes on, silenced or not."""
        return self.open_count + self.quiet_count == 0

    @property
    def told_subjects(self) -> int:
        """How many subjects a message speaks of: those that are not over, else all that were."""
        return self.open_count or self.audible_count or self.member_count

    @property
    def told_events(self) -> int:
        """How many events a message speaks of."""
        return self.event_count - self.silenced_count or self.event_count

    def count(self, member: Member, by: int) -> None:
        """Take a member into the counts, or with -1 out of them, as it is now."""
        if member.silence_id is None:
            self.audible_count += by
            self.open_count += by if member.is_open else 0
        else:
            self.quiet_count += by if member.is_open else 0

    def known_open(self) -> list[Member]:
        """Of the known members, those that are neither over nor silenced."""
        return [each for each in self.members.values() if each.is_open and each.silence_id is None]

    def newest_facts(self) -> tuple[Fact, ...]:
        """The newest fact of each subject that a message speaks of, as far as they are known, newest first."""
        members = self.members.values()
        chosen: Collection[Member] = self.known_open() if self.open_count else ()
        if not self.open_count:
            chosen = [each for each in members if each.silence_id is None] or members
        return newest(chosen)


def newest(members: Iterable[Member]) -> tuple[Fact, ...]:
    """The facts of the members that something happened to last."""
    ordered = sorted(members, key=lambda each: each.fact.subject)
    ordered.sort(key=lambda each: each.last_at, reverse=True)
    return tuple(each.fact for each in ordered[:FACTS_MAX])
