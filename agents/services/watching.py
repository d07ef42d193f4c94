"""Who wants to know of routine events, in the transaction that stores them.

The stream has no routine (docs/adr/0008). Who needs some of it registers here what it asks for and where to note it:
apps above this one, which the writers of events may not import. While nobody asks, a writer pays for one look at a
clock. What is asked for is read at most once in ASKED_FOR_S and process; changes of it take hold so much later.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

ASKED_FOR_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Services:
    """Of which services routine is wanted: of these, or of all where it is None.

    One that was made after `newest_id` nobody could name yet: it is wanted until it is known better.
    """

    ids: frozenset[int] | None = None
    newest_id: int = 0

    def has(self, service_id: int | None) -> bool:
        return self.ids is None or service_id in self.ids or (service_id is not None and service_id > self.newest_id)


# By the kind of event.
Asked = Mapping[str, Services]
NOTHING: Final[Asked] = {}


@dataclass(frozen=True, slots=True)
class Watcher:
    """`ask` says what is wanted; `note` is given (event id, time) of what was stored of it, in that transaction."""

    ask: Callable[[], Asked]
    note: Callable[[Sequence[tuple[str, datetime]]], None]


_watchers: Final[list[Watcher]] = []
_asked: Asked = NOTHING
_fresh_until: float = 0.0


def watch_with(watcher: Watcher) -> None:
    """Have this one told of routine from now on."""
    _watchers[:] = [watcher]
    ask_again()


def ask_again() -> None:
    """Let the next writer of this process ask anew."""
    global _fresh_until  # noqa: PLW0603 -- a cache of the process
    _fresh_until = 0.0


def asked() -> Asked:
    """What is wanted, by the kind of event; as it was some time ago."""
    global _asked, _fresh_until  # noqa: PLW0603 -- a cache of the process
    if time.monotonic() >= _fresh_until:
        _asked = _watchers[0].ask() if _watchers else NOTHING
        _fresh_until = time.monotonic() + ASKED_FOR_S
    return _asked


def note(events: Sequence[tuple[str, datetime]]) -> None:
    """Hand over what was stored; call it in that transaction."""
    if events and _watchers:
        _watchers[0].note(events)
