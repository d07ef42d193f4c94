"""Changes that people and programs make, for history.

Whoever makes a change says so here, inside the transaction of the change. The app that keeps the history registers
what writes it down, so that packages which may import no app have a history all the same.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from django.db import models

from controlplane.common.actors import Actor
from controlplane.common.snapshots import Difference


class ChangeKind(enum.StrEnum):
    """What happened; each is also a kind of event."""

    CREATED = "object.created"
    CHANGED = "object.changed"
    DELETED = "object.deleted"
    LOGGED_IN = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    LOGIN_LOCKED = "login.locked"
    LOGGED_OUT = "login.ended"
    SCHEDULE_RUN = "schedule.run"
    TOKEN_CREATED = "token.created"  # noqa: S105 -- a kind, no secret
    TOKEN_REVOKED = "token.revoked"  # noqa: S105 -- a kind, no secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`subject` is what was changed, by `subject_of`, and `name` what it is called.

    The name of `actor` is empty where nobody proved who they are.
    """

    kind: ChangeKind
    subject: str
    name: str
    actor: Actor
    what: Difference = field(default_factory=Difference)


Recorder = Callable[[Sequence[Change]], None]
_recorders: Final[list[Recorder]] = []


def record_with(recorder: Recorder) -> None:
    """Have `recorder` write down every change from now on. It runs in the transaction of whoever made the change."""
    _recorders[:] = [recorder]


def record_changes(changes: Sequence[Change]) -> None:
    """Write changes down; call it inside their transaction, which ends with it where they cannot be written."""
    if not _recorders:
        raise RuntimeError("Nobody keeps the history: no app called record_with.")
    if changes:
        _recorders[0](changes)


def change_of(kind: ChangeKind, row: models.Model, *, actor: Actor, what: Difference | None = None) -> Change:
    """The change of a stored row, which is called what the console calls it."""
    return Change(kind=kind, subject=subject_of(row), name=str(row), actor=actor, what=what or Difference())


def subject_of(row: models.Model) -> str:
    """What history calls a row: the label of its model and its key, as in `auth.user:3`."""
    return f"{row._meta.label_lower}:{row.pk}"
