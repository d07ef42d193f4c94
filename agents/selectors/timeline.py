"""What happened to one instance, newest first: its sessions, its commands and its events, merged by time.

Each source is read by the index of its newest rows and no further than a bound, so a page costs the same however long
the history is. A page ends where the first source was not read further; the next one goes on from there.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, Literal, TypeAlias, get_args
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone

from agents.models import Command, Event, Session
from agents.models.event import NOTABLE, EventKind
from agents.selectors.events import events_so_far

PAGE_SIZE: Final = 30
# The newest events are looked through for those that are shown: those of sessions and commands are not.
LOOK_MAX: Final = 1000
# A live page shows what came since it was opened as well, up to so many.
LIVE_MAX: Final = 100

Show: TypeAlias = Literal["all", "sessions", "health", "commands", "tasks", "changes"]
SHOWN: Final[tuple[Show, ...]] = get_args(Show)
Source: TypeAlias = Literal["command", "event", "session"]
_RANKS: Final[dict[str, int]] = {"command": 0, "event": 1, "session": 2}

_ENDS: Final = frozenset({EventKind.SESSION_CLOSED.value, EventKind.SESSION_SUPERSEDED.value})
# Told by the session and the command themselves.
_TOLD: Final = frozenset(
    kind for kind in EventKind.values if kind == EventKind.SESSION_OPENED or kind.startswith("command.")
)
_KINDS: Final[dict[Show, Callable[[str], bool]]] = {
    "all": lambda kind: kind not in _TOLD,
    "sessions": lambda kind: kind in _ENDS,
    "health": lambda kind: kind.startswith("instance."),
    "commands": lambda _kind: False,
    "tasks": lambda kind: kind.startswith("task."),
    "changes": lambda kind: not kind.startswith(("task.", "instance.", "session.", "command.")),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the order of a timeline: of one moment commands come first, and of these the highest id."""

    at: datetime
    rank: int
    id: str

    def __str__(self) -> str:
        return f"{self.at.isoformat()}_{self.rank}_{self.id}"

    @classmethod
    def parse(cls, text: str) -> "Place | None":
        """The place that `str` wrote, or None for anything else."""
        moment, _separator, rest = text.partition("_")
        rank, _separator, row_id = rest.partition("_")
        try:
            at = datetime.fromisoformat(moment)
            _row_id(int(rank), row_id)
            # At the ends of time there are moments with an offset that are none in UTC.
            return cls(at.astimezone(UTC), int(rank), row_id) if at.tzinfo and rank in {"0", "1", "2"} else None
        except (ValueError, OverflowError):
            return None


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a timeline: a Session without capabilities, a Command without arguments and result, or an Event."""

    at: datetime
    source: Source
    row: Any

    @property
    def place(self) -> Place:
        return Place(self.at, _RANKS[self.source], str(self.row.pk))

    @property
    def day(self) -> date:
        """In the reader's time zone."""
        return timezone.localtime(self.at).date()

    @property
    def key(self) -> tuple[datetime, int, Any]:
        return (self.at, -_RANKS[self.source], self.row.pk)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Entries, newest first; `older` is where the next page begins, or None where all that was asked for is here."""

    entries: list[Entry]
    older: Place | None

    @property
    def commands(self) -> list[Command]:
        return [entry.row for entry in self.entries if entry.source == "command"]


def timeline(
    instance_id: UUID,
    *,
    show: Show = "all",
    before: Place | None = None,
    down_to: Place | None = None,
    events_only: bool = False,
) -> Timeline:
    """A page of what happened before a place; or, with `down_to`, all down to it, which is included.

    Four queries at most, two with `events_only`, which is all that a node has. PAGE_SIZE entries at most, LIVE_MAX with
    `down_to`.
    """
    limit = LIVE_MAX if down_to else PAGE_SIZE
    entries: list[Entry] = []
    floors: list[Place] = []
    events: list[tuple[Source, _Rows]] = [("event", _events(instance_id, show))]
    for source, rows in events if events_only else _sources(instance_id, show):
        found, floor = rows(before, down_to, limit)
        entries += [Entry(_moment(row), source, row) for row in found]
        floors += [floor] if floor else []
    entries.sort(key=lambda entry: entry.key, reverse=True)
    end = max(floors, key=_order, default=None)
    if end is not None:
        entries = [entry for entry in entries if _order(entry.place) >= _order(end)]
    older = end
    if len(entries) > limit:
        entries = entries[:limit]
        older = entries[-1].place
    return Timeline(entries, older)


_Rows: TypeAlias = Callable[[Place | None, Place | None, int], tuple[list[Any], Place | None]]


def _sources(instance_id: UUID, show: Show) -> Iterable[tuple[Source, _Rows]]:
    sessions = Session.objects.filter(instance=instance_id).select_related("replica")
    commands = Command.objects.filter(instance=instance_id)
    if show in {"all", "commands"}:
        yield "command", _reader(commands.defer("args", "result"), "created_at", "command")
    if show != "commands":
        yield "event", _events(instance_id, show)
    if show in {"all", "sessions"}:
        narrow = sessions.defer("capabilities", "accepted_capabilities")
        yield "session", _reader(narrow, "connected_at", "session")


def _reader(rows: QuerySet[Any], moment: str, source: Source) -> _Rows:
    def read(before: Place | None, down_to: Place | None, limit: int) -> tuple[list[Any], Place | None]:
        among = rows.filter(_before(before, moment, source), _not_before(down_to, moment, source))
        found = list(among.order_by(f"-{moment}", "-pk")[: limit + 1])
        if len(found) <= limit:
            return found, None
        return found[:limit], Entry(_moment(found[limit - 1]), source, found[limit - 1]).place

    return read


def _events(instance_id: UUID, show: Show) -> _Rows:
    def read(before: Place | None, down_to: Place | None, limit: int) -> tuple[list[Any], Place | None]:
        among = events_so_far().filter(NOTABLE, _before(before, "occurred_at", "event"), instance=instance_id)
        among = among.filter(_not_before(down_to, "occurred_at", "event")).order_by("-occurred_at", "-id")
        looked = list(among.values_list("pk", "kind", "occurred_at")[:LOOK_MAX])
        shown = [each for each in looked if _KINDS[show](each[1])]
        floor = None
        if len(shown) > limit:
            shown = shown[:limit]
            floor = Place(shown[-1][2], _RANKS["event"], str(shown[-1][0]))
        elif len(looked) == LOOK_MAX:
            floor = Place(looked[-1][2], _RANKS["event"], str(looked[-1][0]))
        # The times let PostgreSQL look into no partition but theirs.
        between = (shown[-1][2], shown[0][2]) if shown else (timezone.now(),) * 2
        rows = Event.objects.filter(pk__in=[each[0] for each in shown], occurred_at__range=between)
        return list(rows.defer("traceback", "meta")), floor

    return read


def _moment(row: Any) -> datetime:
    name = "created_at" if isinstance(row, Command) else "connected_at" if isinstance(row, Session) else "occurred_at"
    moment: datetime = getattr(row, name)
    return moment


def _order(place: Place) -> tuple[datetime, int, Any]:
    return (place.at, -place.rank, _row_id(place.rank, place.id))


def _row_id(rank: int, text: str) -> Any:
    if rank != _RANKS["event"]:
        return UUID(text)
    if len(text) > 18:
        raise ValueError
    return int(text)


def _before(place: Place | None, moment: str, source: Source) -> Q:
    """Matches rows of a source that come after the place in the order, which is to say earlier in time."""
    if place is None:
        return Q()
    rank = _RANKS[source]
    if rank < place.rank:
        return Q(**{f"{moment}__lt": place.at})
    if rank > place.rank:
        return Q(**{f"{moment}__lte": place.at})
    return Q(**{f"{moment}__lte": place.at}) & (
        Q(**{f"{moment}__lt": place.at}) | Q(pk__lt=_row_id(place.rank, place.id))
    )


def _not_before(place: Place | None, moment: str, source: Source) -> Q:
    """The contrary: what comes before the place in the order, or stands there."""
    if place is None:
        return Q()
    rank = _RANKS[source]
    if rank > place.rank:
        return Q(**{f"{moment}__gt": place.at})
    if rank < place.rank:
        return Q(**{f"{moment}__gte": place.at})
    return Q(**{f"{moment}__gte": place.at}) & (
        Q(**{f"{moment}__gt": place.at}) | Q(pk__gte=_row_id(place.rank, place.id))
    )
