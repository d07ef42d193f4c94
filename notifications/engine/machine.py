"""The machine that turns facts into alerts, and alerts into what is told: the same for live events and for the past.

It goes by a clock of its own, which is when facts were received. What is due is told between the facts that were
received before and after it, so that it does not matter in which stretches the facts come, or how late. Who asks it
first lets it `plan` what the facts mean, then gives it the alerts that these touch (`load`), and then lets it `run`.
"""

import heapq
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Final, Literal

from notifications.engine.alerts import AlertState, Member, Status, newest
from notifications.engine.facts import Fact
from notifications.engine.kinds import CHANNEL_FAILING, LASTING, TASK_DEAD_LETTERED
from notifications.engine.matching import InForce, RuleSpec, SilenceSpec, group_key, rules_asking
from notifications.engine.rounds import Round, rounds
from notifications.engine.telling import Telling, TellingKind

Key = tuple[int, str]
# So far back a silence can keep a fact quiet that comes late.
_LATE: Final = timedelta(days=60)
# A round lasts a week at most.
_ROUND: Final = timedelta(days=8)
_TICK: Final = timedelta(microseconds=1)
# Of a group that is told to some of its rule's channels only; no event type begins so.
_NARROWED: Final = re.compile(r"([\d,]+)\|")
_CHANNEL: Final = re.compile(r"portal:notifications\.channel:(\d+)")


@dataclass(frozen=True, slots=True)
class Join:
    """That a fact belongs to a rule's alert of this key, and what keeps it quiet. Where it is told alone and at once,
    no alert that is stored has to do with it."""

    rule: RuleSpec
    key: str
    in_force: InForce | None
    is_immediate: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A fact, when the machine takes it, and what it means."""

    at: datetime
    fact: Fact
    joins: tuple[Join, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """A round of a silence begins or ends."""

    at: datetime
    kind: Literal["begin", "end"]
    silence: SilenceSpec
    round: Round


@dataclass(frozen=True, slots=True)
class Told:
    """What is told at a moment, and to whom. `alert` is None where it is of several; `number` tells an alert's apart.

    `is_alone` says that it is one event, which other rules may tell the same channel as well; `silence_id` is set on
    the summary at the end of a silence. `members` are those that it speaks of, as far as they are known.
    """

    at: datetime
    telling: Telling
    channel_ids: frozenset[int]
    alert: AlertState | None = None
    rule_id: int | None = None
    number: int = 0
    is_alone: bool = False
    silence_id: int | None = None
    members: tuple[Member, ...] = ()


class Machine:
    """`clock` is how far it has come. Silences that begin or end after it, and what is due, happen as it goes on.

    After a run `alerts` has all that it was given or made; what changed of them and of their members is marked.
    `applied` and `ended` have the rounds of silences that began and ended.
    """

    def __init__(self, rules: Iterable[RuleSpec], silences: Iterable[SilenceSpec], *, clock: datetime) -> None:
        self.clock = clock
        self.alerts: list[AlertState] = []
        self.applied: dict[int, datetime] = {}
        self.ended: dict[int, datetime] = {}
        self._rules = {rule.id: rule for rule in rules}
        self._asking = rules_asking(list(self._rules.values()))
        self._silences = list(silences)
        self._rounds: dict[int, list[Round]] = {}
        self._open: dict[Key, AlertState] = {}
        self._of_subject: dict[tuple[str, str], list[AlertState]] = {}
        self._told_before: dict[Key, datetime] = {}
        self._due: list[tuple[datetime, int, AlertState]] = []
        self._order = count()
        self._told: list[Told] = []

    # --- before a run

    def plan(self, facts: Sequence[Fact], *, until: datetime) -> list[Step]:
        """What the facts mean, in the order in which they were received; none is taken after `until`."""
        times = [self.clock, until, *(fact.occurred_at for fact in facts)]
        begin, end = max(min(times), until - _LATE), max(times)
        self._rounds = {each.id: list(rounds(each, begin, end + _TICK)) for each in self._silences}
        steps = []
        clock = self.clock
        for fact in sorted(facts, key=lambda each: each.received_at):
            clock = max(clock, min(fact.received_at, until))
            steps.append(Step(clock, fact, () if fact.ends else tuple(self._joins(fact, clock))))
        return steps

    def turns(self, until: datetime) -> list[Turn]:
        """The beginnings and ends of silences up to then, in order."""
        found = [turn for silence in self._silences for turn in self._turns_of(silence, until)]
        return sorted(found, key=lambda turn: (turn.at, turn.kind, turn.silence.id))

    def load(self, alerts: Iterable[AlertState], told_before: Mapping[Key, datetime] | None = None) -> None:
        """Take up alerts that are stored. `told_before` is when the last alert of a key was told that is over."""
        self._told_before |= told_before or {}
        for alert in alerts:
            self.alerts.append(alert)
            if alert.status is not Status.RESOLVED:
                self._open[alert.rule_id, alert.key] = alert
                for subject, member in alert.members.items():
                    if member.is_open:
                        self._of_subject.setdefault((alert.event_type, subject), []).append(alert)
            if alert.due_at is not None:
                self._push(alert)

    # --- the run

    def run(self, steps: Iterable[Step], *, until: datetime, is_whole: bool = True) -> list[Told]:
        """Take the facts, and whatever happens up to `until`. Where that is not all (`is_whole`), what is due just then
        waits for the facts that are to come."""
        self._told = []
        turns = self.turns(until)
        for step in steps:
            self._pass_time(turns, step.at, inclusive=False)
            if step.fact.ends:
                self._end(step.fact, step.at)
            for join in step.joins:
                self._join(step.fact, join, step.at)
        self._pass_time(turns, until, inclusive=is_whole)
        return self._told

    def close_stale(self) -> None:
        """Close what waits for a threshold and has waited too long."""
        for alert in self.alerts:
            if self._is_stale(alert, self.clock):
                self._close(alert, self.clock)

    def _pass_time(self, turns: list[Turn], to: datetime, *, inclusive: bool) -> None:
        while True:
            due = self._next_due()
            is_turn = bool(turns) and (due is None or turns[0].at <= due)
            at = turns[0].at if is_turn else due
            if at is None or at > to or (at == to and not inclusive):
                break
            self.clock = max(self.clock, at)
            if is_turn:
                turn = turns.pop(0)
                (self._begin_silence if turn.kind == "begin" else self._end_silence)(turn)
            else:
                self._fire(heapq.heappop(self._due)[2], self.clock)
        self.clock = max(self.clock, to)

    def _next_due(self) -> datetime | None:
        while self._due and self._due[0][2].due_at != self._due[0][0]:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    # --- what facts mean

    def _joins(self, fact: Fact, at: datetime) -> Iterator[Join]:
        asking = [rule for rule in self._asking.get(fact.event_type, ()) if rule.asks(fact)]
        if not asking:
            return
        in_force = self._in_force(fact, at)
        first_by = self._told_first(fact, at) if fact.is_echo else ()
        told_first: frozenset[int] = frozenset().union(*(rule.channel_ids for rule in first_by))
        for rule in asking:
            channels = rule.channel_ids - told_first
            if rule in first_by or (rule.channel_ids and not channels):
                continue
            key = group_key(rule, fact)
            is_immediate = rule.is_alone and in_force is None
            if is_immediate and (held := rule.held(at)) > at:
                # What comes in quiet hours is told as one at their end.
                key, is_immediate = f"{fact.event_type}:quiet:{held.isoformat()}", False
            if channels != rule.channel_ids:
                key = f"{','.join(map(str, sorted(channels)))}|{key}"
            yield Join(rule, key, in_force, is_immediate)

    def _told_first(self, fact: Fact, at: datetime) -> list[RuleSpec]:
        """The rules that told of the dead letter that this failure is the echo of."""
        first = replace(fact, event_type=TASK_DEAD_LETTERED, is_echo=False)
        if self._in_force(first, at) is not None:
            return []
        return [rule for rule in self._asking.get(TASK_DEAD_LETTERED, ()) if rule.asks(first)]

    def _in_force(self, fact: Fact, at: datetime) -> InForce | None:
        """What keeps a fact quiet: the silence at its time that lasts longest.

        What lasts and comes late, after the end of the silence, is still there: nothing but its telling is left.
        """
        found = [
            InForce(silence, each)
            for silence in self._silences
            if silence.means(fact)
            for each in self._rounds.get(silence.id, ())
            if each.holds(fact.occurred_at)
            and not (fact.event_type in LASTING and each.ends is not None and each.ends <= at)
        ]
        return max(found, key=_ends_last, default=None)

    # --- facts

    def _join(self, fact: Fact, join: Join, at: datetime) -> None:
        rule = join.rule
        silence_id = join.in_force.silence.id if join.in_force is not None else None
        if join.is_immediate:
            self._tell_alone(fact, join, at)
            return
        alert = self._open.get((rule.id, join.key))
        if alert is not None and self._is_stale(alert, at):
            self._close(alert, at)
            alert = None
        if alert is None:
            alert = self._make(rule, join.key, fact)
        is_news = self._note(alert, fact, silence_id, lasts=alert.lasts and (not rule.is_alone or bool(silence_id)))
        if silence_id is not None:
            alert.silenced_count += 1
            if rule.is_alone and not alert.lasts:
                self._close(alert, fact.occurred_at)
        elif alert.status is Status.WAITING:
            self._wait(alert, rule, fact, at)
        elif is_news:
            alert.news_count += 1
            self._set_due(alert, rule, max(at + rule.wait, (alert.told_at or at) + rule.update))

    def _make(self, rule: RuleSpec, key: str, fact: Fact) -> AlertState:
        alert = AlertState(rule.id, fact.event_type, key, opened_at=fact.occurred_at, last_at=fact.occurred_at)
        self._open[rule.id, key] = alert
        self.alerts.append(alert)
        return alert

    def _note(self, alert: AlertState, fact: Fact, silence_id: int | None, *, lasts: bool) -> bool:
        """Count a fact, with the alert and with its member; whether that was over or not known."""
        alert.event_count += 1
        alert.opened_at = min(alert.opened_at, fact.occurred_at)
        alert.last_at = max(alert.last_at, fact.occurred_at)
        alert.is_changed = True
        member = alert.members.get(fact.subject)
        # One that comes late does not bring back what is over.
        is_latest = member is None or fact.occurred_at >= max(member.last_at, member.ended_at or member.last_at)
        is_news = is_latest and (member is None or not member.is_open)
        if member is None:
            member = alert.members[fact.subject] = Member(fact, fact.occurred_at, fact.occurred_at)
            alert.member_count += 1
        else:
            alert.count(member, -1)
        member.event_count += 1
        member.first_at = min(member.first_at, fact.occurred_at)
        member.is_changed = True
        if is_latest:
            member.fact, member.last_at, member.silence_id = fact, fact.occurred_at, silence_id
            member.ended_at = None if lasts else fact.occurred_at
        alert.count(member, +1)
        if lasts and is_news:
            self._of_subject.setdefault((alert.event_type, fact.subject), []).append(alert)
        return is_news

    def _tell_alone(self, fact: Fact, join: Join, at: datetime) -> None:
        alert = AlertState(
            join.rule.id, fact.event_type, join.key, opened_at=fact.occurred_at, last_at=fact.occurred_at
        )
        self.alerts.append(alert)
        self._note(alert, fact, None, lasts=False)
        alert.status, alert.resolved_at = Status.RESOLVED, fact.occurred_at
        self._tell(alert, join.rule, "alert", at, is_alone=True)

    def _wait(self, alert: AlertState, rule: RuleSpec, fact: Fact, at: datetime) -> None:
        """Decide when an alert is told that was not yet: from the threshold on, and not too soon after the last one of
        its key."""
        if alert.due_at is not None:
            return
        due = at + rule.wait
        if rule.threshold_count > 1 and not rule.is_alone:
            alert.recent = sorted([*alert.recent, fact.occurred_at])[-rule.threshold_count :]
            if len(alert.recent) < rule.threshold_count or alert.recent[-1] - alert.recent[0] > rule.threshold_window:
                return
            due = max(at, alert.opened_at + rule.wait)
        before = self._told_before.get((alert.rule_id, alert.key))
        if before is not None and not rule.is_alone:
            due = max(due, before + rule.update)
        self._set_due(alert, rule, due)

    def _end(self, fact: Fact, at: datetime) -> None:
        for alert in self._of_subject.pop((fact.event_type, fact.subject), ()):
            member = alert.members.get(fact.subject)
            if alert.status is Status.RESOLVED or member is None or not member.is_open:
                continue
            if fact.occurred_at < member.last_at:
                self._of_subject.setdefault((fact.event_type, fact.subject), []).append(alert)
                continue
            alert.count(member, -1)
            member.ended_at, member.is_changed = fact.occurred_at, True
            alert.count(member, +1)
            alert.is_changed = True
            if alert.is_over:
                self._over(alert, fact.occurred_at, member.silence_id, at)

    def _over(self, alert: AlertState, ended_at: datetime, silence_id: int | None, at: datetime) -> None:
        """Nothing of an alert goes on. One that is yet to be told is told all the same, and says that it is over."""
        rule = self._rules.get(alert.rule_id)
        if alert.status is Status.WAITING:
            if rule is None or rule.is_alone:
                self._close(alert, ended_at)
            return
        self._close(alert, ended_at)
        if rule is not None and rule.tells_resolved and not rule.is_alone and alert.event_type in rule.event_types:
            quiet_until = max((each.ends or at for each in self._rounds_at(silence_id, at)), default=at)
            due = rule.held(max(at, quiet_until))
            if due == at:
                self._tell(alert, rule, "resolved", at)
            else:
                alert.due_at = due
                self._push(alert)

    def _rounds_at(self, silence_id: int | None, at: datetime) -> list[Round]:
        return [each for each in self._rounds.get(silence_id or 0, ()) if each.holds(at)]

    def _is_stale(self, alert: AlertState, at: datetime) -> bool:
        """Whether an alert waits for a threshold that the events it has cannot help to reach any more, or has nothing
        but what a silence kept quiet."""
        if alert.status is not Status.WAITING or alert.due_at is not None or alert.quiet_count:
            return False
        rule = self._rules.get(alert.rule_id)
        return rule is None or at > alert.last_at + rule.threshold_window

    def _close(self, alert: AlertState, at: datetime) -> None:
        alert.status, alert.resolved_at, alert.due_at, alert.is_changed = Status.RESOLVED, at, None, True
        self._open.pop((alert.rule_id, alert.key), None)
        if alert.told_at is not None:
            self._told_before[alert.rule_id, alert.key] = alert.told_at

    # --- telling

    def _set_due(self, alert: AlertState, rule: RuleSpec, due: datetime) -> None:
        due = rule.held(due)
        if alert.due_at is None or due < alert.due_at:
            alert.due_at, alert.is_changed = due, True
            self._push(alert)

    def _push(self, alert: AlertState) -> None:
        if alert.due_at is not None:
            heapq.heappush(self._due, (alert.due_at, next(self._order), alert))

    def _fire(self, alert: AlertState, at: datetime) -> None:
        """Tell what is due, unless the rule does not ask for it any more."""
        rule = self._rules.get(alert.rule_id)
        alert.due_at, alert.is_changed = None, True
        if rule is None or alert.event_type not in rule.event_types:
            self._close(alert, alert.resolved_at or at)
            return
        if (held := rule.held(at)) > at:
            alert.due_at = held
            self._push(alert)
        elif alert.status is Status.RESOLVED:
            self._tell(alert, rule, "resolved", at)
        elif alert.status is Status.WAITING:
            if rule.is_alone or alert.is_over:
                self._close(alert, self._last_end(alert))
            else:
                alert.status = Status.FIRING
            self._tell(alert, rule, "alert", at)
        elif alert.open_count:
            self._tell(alert, rule, "alert" if alert.news_count else "repeat", at)

    def _last_end(self, alert: AlertState) -> datetime:
        return max((each.ended_at for each in alert.members.values() if each.ended_at), default=alert.last_at)

    def _tell(
        self, alert: AlertState, rule: RuleSpec, kind: TellingKind, at: datetime, *, is_alone: bool = False
    ) -> None:
        telling = Telling(
            kind=kind,
            event_type=alert.event_type,
            facts=alert.newest_facts(),
            event_count=alert.told_events,
            subject_count=alert.told_subjects,
            since=alert.opened_at,
            until=alert.resolved_at if alert.lasts and not rule.is_alone else None,
            rule_name=rule.name,
        )
        if kind != "resolved":
            self._mark_told(alert, rule, at)
        else:
            alert.told_times += 1
            alert.is_changed = True
        members = tuple(alert.known_open() if alert.open_count else alert.members.values())
        channels = self._channels(alert, rule)
        self._told.append(Told(at, telling, channels, alert, rule.id, alert.told_times, is_alone, members=members))

    def _mark_told(self, alert: AlertState, rule: RuleSpec, at: datetime) -> None:
        alert.told_at, alert.told_count, alert.news_count = at, alert.event_count - alert.silenced_count, 0
        alert.told_times += 1
        alert.recent = []
        alert.is_changed = True
        self._told_before[alert.rule_id, alert.key] = at
        if alert.status is Status.FIRING and rule.repeat is not None:
            self._set_due(alert, rule, at + rule.repeat)

    def _channels(self, alert: AlertState, rule: RuleSpec) -> frozenset[int]:
        """The channels of the rule, without those that were told already, and without those that it is about."""
        channels = rule.channel_ids
        if narrowed := _NARROWED.match(alert.key):
            channels &= {int(each) for each in narrowed[1].split(",")}
        if alert.event_type == CHANNEL_FAILING:
            channels -= {int(found[1]) for each in alert.members if (found := _CHANNEL.fullmatch(each))}
        return channels

    # --- silences

    def _turns_of(self, silence: SilenceSpec, until: datetime) -> Iterator[Turn]:
        applied_at = self.applied.get(silence.id, silence.applied_at)
        told_until = self.ended.get(silence.id, silence.told_until)
        after = min(told_until or self.clock - _ROUND, self.clock)
        missed: Turn | None = None
        for each in rounds(silence, after, until + _TICK):
            is_running = each.begins <= self.clock and (each.ends is None or each.ends > self.clock)
            if each.begins > self.clock or (is_running and applied_at != each.begins):
                yield Turn(max(each.begins, self.clock), "begin", silence, each)
            if each.ends is None or each.ends > until or (told_until and each.ends <= told_until):
                continue
            turn = Turn(max(each.ends, self.clock), "end", silence, each)
            if each.ends > self.clock:
                yield turn
            else:
                # Of several rounds that ended while nobody looked, the last says it all.
                missed = turn
        if missed is not None:
            yield missed

    def _begin_silence(self, turn: Turn) -> None:
        """What goes on in the scope of a silence is quiet from its beginning, too."""
        self.applied[turn.silence.id] = turn.round.begins
        for alert in self._open.values():
            for member in alert.known_open():
                if turn.silence.means(member.fact):
                    self._quieten(alert, member, turn.silence.id)

    def _end_silence(self, turn: Turn) -> None:
        """Tell each channel once what is still broken of what the silence kept quiet."""
        if turn.round.ends is not None:
            self.ended[turn.silence.id] = turn.round.ends
        of_channel: dict[int, list[tuple[AlertState, list[Member]]]] = {}
        untold: list[tuple[AlertState, list[Member]]] = []
        for alert in list(self._open.values()):
            broken = self._still_broken(alert, turn)
            rule = self._rules.get(alert.rule_id)
            if not broken or rule is None or alert.event_type not in rule.event_types:
                continue
            if (held := rule.held(turn.at)) > turn.at:
                alert.news_count += len(broken)
                self._set_due(alert, rule, held)
                continue
            channels = self._channels(alert, rule)
            for channel in channels:
                of_channel.setdefault(channel, []).append((alert, broken))
            if not channels:
                untold.append((alert, broken))
            self._told_in_summary(alert, rule, turn.at)
        self._summarise(of_channel, turn)
        if untold:
            self._told.append(self._summary(untold, frozenset(), turn))

    def _still_broken(self, alert: AlertState, turn: Turn) -> list[Member]:
        """The members that nothing keeps quiet any more."""
        broken = []
        for member in alert.members.values():
            if member.is_open and member.silence_id == turn.silence.id:
                other = self._other_silence(member.fact, turn)
                self._quieten(alert, member, other)
                if other is None:
                    broken.append(member)
        return broken

    def _other_silence(self, fact: Fact, turn: Turn) -> int | None:
        found = [
            InForce(silence, each)
            for silence in self._silences
            if silence.id != turn.silence.id and silence.means(fact)
            for each in rounds(silence, turn.at, turn.at + _TICK)
        ]
        chosen = max(found, key=_ends_last, default=None)
        return chosen.silence.id if chosen is not None else None

    def _quieten(self, alert: AlertState, member: Member, silence_id: int | None) -> None:
        alert.count(member, -1)
        member.silence_id, member.is_changed = silence_id, True
        alert.count(member, +1)
        alert.is_changed = True

    def _told_in_summary(self, alert: AlertState, rule: RuleSpec, at: datetime) -> None:
        if rule.is_alone:
            self._close(alert, at)
        elif alert.due_at is not None and (alert.status is Status.WAITING or alert.news_count):
            # There is more to tell of it than the summary does, and soon.
            return
        else:
            alert.status, alert.due_at = Status.FIRING, None
        self._mark_told(alert, rule, at)

    def _summarise(self, of_channel: Mapping[int, list[tuple[AlertState, list[Member]]]], turn: Turn) -> None:
        """One summary for each channel; channels that are told the same share it."""
        same: dict[tuple[int, ...], list[int]] = {}
        for channel, parts in of_channel.items():
            same.setdefault(tuple(id(alert) for alert, _members in parts), []).append(channel)
        for channels in same.values():
            self._told.append(self._summary(of_channel[channels[0]], frozenset(channels), turn))

    def _summary(self, parts: Sequence[tuple[AlertState, list[Member]]], channels: frozenset[int], turn: Turn) -> Told:
        # Several rules may have the same subject.
        members: dict[tuple[str, str], Member] = {}
        for alert, broken in parts:
            for member in broken:
                members.setdefault((alert.event_type, member.fact.subject), member)
        rules = {alert.rule_id for alert, _broken in parts}
        only = parts[0][0] if len(parts) == 1 else None
        telling = Telling(
            kind="summary",
            event_type=_only(alert.event_type for alert, _broken in parts),
            facts=newest(members.values()),
            event_count=sum(member.event_count for member in members.values()),
            subject_count=len(members),
            since=min(member.first_at for member in members.values()),
            rule_name=self._rules[only.rule_id].name if only is not None else "",
            silence_reason=turn.silence.reason,
        )
        rule_id = rules.pop() if len(rules) == 1 else None
        return Told(
            turn.at, telling, channels, only, rule_id, silence_id=turn.silence.id, members=tuple(members.values())
        )


def _ends_last(found: InForce) -> tuple[bool, float, int]:
    ends = found.round.ends
    return (ends is None, ends.timestamp() if ends is not None else 0.0, -found.silence.id)


def _only(values: Iterable[str]) -> str:
    """The value that all have; empty where they differ."""
    found: Collection[str] = set(values)
    return next(iter(found)) if len(found) == 1 else ""
