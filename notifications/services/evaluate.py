"""From history to messages: what happened since the last look becomes alerts, what is due of them goes to the outbox.

One transaction for each stretch of history: the cursor moves in the transaction that stores the alerts and deliveries,
so that a kill anywhere loses nothing and tells nothing twice. See docs/adr/0010-rules-follow-a-cursor.md.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import Error as DatabaseError
from django.db import transaction
from django.utils import timezone

from agents.models.event import EventKind
from agents.selectors.named_events import Named
from agents.selectors.stream import Cursor, Position, is_of_this_server, read_since, read_stretch, stream_end
from agents.services.events import portal_event, record_events
from agents.services.stream import forget_foreign_transactions
from notifications.engine.facts import Fact
from notifications.engine.kinds import ENDING_ROUTINE
from notifications.engine.machine import Machine, Step
from notifications.engine.matching import RuleSpec
from notifications.models import RoutineNews, RuleCursor
from notifications.selectors.alert_states import Wanted, gone, load, troubles_of_tasks
from notifications.selectors.news import ends_of, facts_named, kinds_asked, trouble_of
from notifications.selectors.specs import rule_specs, silence_specs
from notifications.services.alert_rows import store_alerts, store_rounds
from notifications.services.tellings import hand_over

logger = logging.getLogger(__name__)

EVALUATE_JOB: Final = "evaluate-rules"
CURSOR_NAME: Final = "rules"
# What the portal's own events call it.
CURSOR_SUBJECT: Final = f"{RuleCursor._meta.label_lower}:{CURSOR_NAME}"
# So many events are looked at in one transaction.
STRETCH_MAX: Final = 2000
# A run goes on for so long where there is more; the next one goes on from there.
RUN_FOR_S: Final = 20.0
# What was received longer ago, because nobody looked meanwhile, is told as if it came at once: one message for all of
# it, where there would have been one after the other.
CATCH_UP: Final = timedelta(seconds=60)
# A transaction that was open when the place was lost may have stored events that were received so much earlier.
_OPEN_FOR: Final = timedelta(seconds=5)
_LOST_MAX: Final = 10_000
_LOST_FOR: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a run looked at and told. `is_busy` says that somebody else was at it, `is_whole` that nothing was left."""

    event_count: int = 0
    fact_count: int = 0
    message_count: int = 0
    is_whole: bool = True
    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class _Look:
    """What there is behind the cursor, and where it stands then; `lost_since` is set where its place was lost."""

    cursor: Cursor
    wanted: list[tuple[str, Named]] = field(default_factory=list)
    routine: list[Named] = field(default_factory=list)
    routine_ids: list[int] = field(default_factory=list)
    is_whole: bool = True
    is_withheld: bool = False
    lost_since: datetime | None = None


def evaluate(now: datetime | None = None) -> Evaluated:
    """Look at all that happened since the last look, and tell what is due.

    An event that cannot be evaluated is left out and logged. Raises what the database says, and whatever goes wrong
    without any event.
    """
    RuleCursor.objects.get_or_create(name=CURSOR_NAME)
    until = time.monotonic() + RUN_FOR_S
    done = Evaluated()
    while True:
        found = _evaluate_some(now or timezone.now())
        done = Evaluated(
            done.event_count + found.event_count,
            done.fact_count + found.fact_count,
            done.message_count + found.message_count,
            found.is_whole,
            found.is_busy,
        )
        if found.is_whole or found.is_busy or time.monotonic() >= until:
            return done


def _evaluate_some(now: datetime) -> Evaluated:
    """One stretch; where something in it is poison, less and less of it, until that stands alone and is left out."""
    limit = STRETCH_MAX
    while True:
        try:
            return _step(now, limit=limit)
        except DatabaseError:
            raise
        except Exception:
            logger.exception("rules.failed limit=%d", limit)
            # Whatever fails without an event is no event's fault: then none is left out for it.
            _step(now, limit=0)
            if limit == 1:
                return _step(now, limit=1, leave_out=True)
            limit = max(1, limit // 10)


@transaction.atomic
def _step(now: datetime, *, limit: int, leave_out: bool = False) -> Evaluated:
    row = RuleCursor.objects.select_for_update(no_key=True, skip_locked=True).filter(name=CURSOR_NAME).first()
    if row is None:
        return Evaluated(is_whole=False, is_busy=True)
    now = max(now, row.looked_at or now)
    clock = max(row.looked_at or now, now - CATCH_UP)
    look = _look(row, now, limit=limit)
    rules = rule_specs()
    facts = _facts(look, rules, row, now, clock) if not leave_out else []
    silences = silence_specs(since=clock)
    machine = Machine(rules, silences, clock=clock)
    steps = machine.plan(facts, until=now)
    # What is due between the last fact and now may have to wait for facts that are still to be read.
    until = now if look.is_whole else (steps[-1].at if steps else clock)
    is_tidy = _is_new_minute(row, now)
    machine_loads = load(_wanted(machine, steps, rules, until=until, is_tidy=is_tidy))
    machine.load(machine_loads.alerts, machine_loads.told_before)
    told = machine.run(steps, until=until, is_whole=look.is_whole)
    if is_tidy:
        machine.close_stale()
    store_alerts(machine.alerts)
    store_rounds(machine.applied, machine.ended)
    message_count = hand_over(told, now=now)
    _move(row, look, until=until, last=steps[-1].fact.received_at if steps else None, now=now)
    if look.lost_since is not None:
        transaction.on_commit(_teller_of_loss(look.lost_since, now, len(look.wanted)))
    return Evaluated(len(look.wanted) + len(look.routine), len(facts), message_count, look.is_whole)


# --- what there is


def _look(row: RuleCursor, now: datetime, *, limit: int) -> _Look:
    cursor = Cursor.parse(row.cursor)
    if not row.cursor:
        # The first look begins here: nobody asked for anything before.
        end = stream_end()
        return _with_routine(_Look(_cursor(end.life, end.settled, now)), limit=limit)
    if cursor is None:
        return _find_place(row, now)
    if limit == 0:
        return _Look(cursor)
    stretch = read_stretch(cursor.position, limit=limit)
    if stretch.is_lost or not (stretch.life == cursor.life or is_of_this_server(cursor.life)):
        return _find_place(row, now)
    look = _Look(
        _cursor(stretch.life, stretch.end, now),
        [(event.kind, Named(event.event_id, event.occurred_at)) for event in stretch.events],
        is_whole=stretch.is_whole,
        is_withheld=stretch.withheld is not None,
    )
    return _with_routine(look, limit=limit)


def _cursor(life: str, position: Position, now: datetime) -> Cursor:
    return Cursor(life, position, int(now.timestamp()))


def _with_routine(look: _Look, *, limit: int) -> _Look:
    rows = list(RoutineNews.objects.order_by("id")[:limit])
    return _Look(
        look.cursor,
        look.wanted,
        [Named(row.event_id, row.occurred_at) for row in rows],
        [row.pk for row in rows],
        look.is_whole and len(rows) < limit,
        look.is_withheld,
    )


def _find_place(row: RuleCursor, now: datetime) -> _Look:
    """The place is lost, as after a restored dump: go on by the time of the last look, and tell that it was."""
    forget_foreign_transactions()
    since = row.looked_at or now
    events, end = read_since(since - _OPEN_FOR, occurred_after=max(since, now - _LOST_FOR) - _LOST_FOR, limit=_LOST_MAX)
    logger.error("rules.lost_place cursor=%s looked_at=%s events=%d", row.cursor, row.looked_at, len(events))
    return _Look(
        _cursor(end.life, end.settled, now),
        [(event.kind, Named(event.event_id, event.occurred_at)) for event in events],
        lost_since=since,
    )


def _facts(look: _Look, rules: Sequence[RuleSpec], row: RuleCursor, now: datetime, clock: datetime) -> list[Fact]:
    """What of it the rules ask for, and what ended meanwhile of what they told."""
    asked = frozenset().union(*(rule.event_types for rule in rules))
    kinds = kinds_asked(asked)
    wanted = [named for kind, named in look.wanted if kind in kinds]
    facts = [fact for fact in facts_named([*wanted, *look.routine]) if fact.event_type in asked]
    if asked & ENDING_ROUTINE.keys():
        facts += ends_of(troubles_of_tasks(turn=int(now.timestamp())) | trouble_of(facts))
    if _is_new_minute(row, now):
        facts += gone(at=max(clock, now))
    return facts


def _is_new_minute(row: RuleCursor, now: datetime) -> bool:
    """What needs no haste is looked after once a minute."""
    return row.looked_at is None or row.looked_at.replace(second=0, microsecond=0) != now.replace(
        second=0, microsecond=0
    )


def _wanted(
    machine: Machine, steps: Sequence[Step], rules: Sequence[RuleSpec], *, until: datetime, is_tidy: bool
) -> Wanted:
    joins = [(step.fact, join) for step in steps for join in step.joins if not join.is_immediate]
    ended = {(step.fact.event_type, step.fact.subject) for step in steps if step.fact.ends}
    remembered = max((rule.update for rule in rules), default=timedelta(0))
    return Wanted(
        until=until,
        told_since=until - remembered - CATCH_UP,
        keys={(join.rule.id, join.key) for _fact, join in joins},
        ended=ended,
        subjects={fact.subject for fact, _join in joins} | {subject for _type, subject in ended},
        everything=bool(machine.turns(until)),
        stale=is_tidy,
    )


# --- where it stands then


def _move(row: RuleCursor, look: _Look, *, until: datetime, last: datetime | None, now: datetime) -> None:
    RoutineNews.objects.filter(pk__in=look.routine_ids).delete() if look.routine_ids else None
    behind: datetime | None = None
    if not look.is_whole:
        behind = last or row.behind_since or now
    elif look.is_withheld:
        behind = row.behind_since or now
    values: dict[str, Any] = {"cursor": str(look.cursor), "looked_at": until, "behind_since": behind}
    RuleCursor.objects.filter(pk=row.pk).update(**values)


def _teller_of_loss(since: datetime, now: datetime, event_count: int) -> Callable[[], None]:
    """Tells that the place was lost, in a transaction of its own: the cursor is behind what its own one writes."""

    def tell() -> None:
        meta = {"looked_at": since.isoformat(), "found_at": now.isoformat(), "event_count": event_count}
        kinds = (EventKind.PORTAL_LAGGING, EventKind.PORTAL_RECOVERED)
        with transaction.atomic():
            record_events(
                portal_event(kind, at=now, subject=CURSOR_SUBJECT, message="rules_lost_place", meta=meta)
                for kind in kinds
            )

    return tell
