"""What is told of which facts, and when. The clock of these tests counts seconds."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from notifications.engine.alerts import Status
from notifications.engine.facts import Fact
from notifications.engine.machine import Machine
from notifications.engine.matching import RuleSpec, SilenceSpec, scope_of
from notifications.engine.quiet import Quiet

BEGIN = datetime(2026, 5, 4, 9, tzinfo=UTC)
OFFLINE, FAILED, RETRIED, DEAD = "instance_offline", "task_failed", "task_retried", "task_dead_lettered"


def at(seconds):
    return BEGIN + timedelta(seconds=seconds)


def fact(event_type, seconds, number=1, *, late=0, **fields):
    """Of the instance, or of the task of that number; received `late` seconds after it happened."""
    subject = {"task_name": f"task-{number}"} if event_type.startswith("task") else {}
    return Fact(
        event_id=f"{event_type}-{number}-{seconds}",
        event_type=event_type,
        occurred_at=at(seconds),
        received_at=at(seconds + late),
        **{"service_id": 1, "service_name": "billing", "instance_id": UUID(int=number), **subject, **fields},
    )


def over(event_type, seconds, number=1, **fields):
    return fact(event_type, seconds, number, ends=True, **fields)


def rule(*event_types, **fields):
    wait, update = (timedelta(seconds=fields.pop(name, default)) for name, default in (("wait", 10), ("update", 300)))
    return RuleSpec(
        **{
            "id": 1,
            "name": "on call",
            "event_types": frozenset(event_types),
            "channel_ids": frozenset({1}),
            "wait": wait,
            "update": update,
            **fields,
        }
    )


def silence(begin, end, **fields):
    return SilenceSpec(**{"id": 7, "reason": "move", "starts_at": at(begin), "ends_at": at(end), **fields})


class Stage:
    """A machine, and what it told by now."""

    def __init__(self, *rules, silences=()):
        self.machine = Machine(rules, silences, clock=BEGIN)
        self.told = []

    def run(self, *facts, until):
        steps = self.machine.plan(facts, until=at(until))
        found = self.machine.run(steps, until=at(until))
        self.told += found
        return [
            (
                (one.at - BEGIN).total_seconds(),
                one.telling.kind,
                one.telling.event_count,
                one.telling.subject_count,
            )
            for one in found
        ]

    def only(self):
        (alert,) = self.machine.alerts
        return alert


# --- grouping, updates, reminders, ends


def test_the_first_is_waited_with_and_told_with_all_that_came_meanwhile():
    stage = Stage(rule(OFFLINE))

    assert stage.run(fact(OFFLINE, 0, 1), fact(OFFLINE, 4, 2), fact(OFFLINE, 9, 3), until=60) == [(10, "alert", 3, 3)]


def test_more_subjects_are_told_once_an_update_is_due():
    stage = Stage(rule(OFFLINE))

    told = stage.run(fact(OFFLINE, 0, 1), fact(OFFLINE, 20, 2), fact(OFFLINE, 200, 3), until=1000)

    assert told == [(10, "alert", 1, 1), (310, "alert", 3, 3)]


def test_long_after_it_was_told_more_subjects_are_waited_for_again():
    stage = Stage(rule(OFFLINE))

    told = stage.run(fact(OFFLINE, 0, 1), fact(OFFLINE, 1000, 2), fact(OFFLINE, 1005, 3), until=2000)

    assert told == [(10, "alert", 1, 1), (1010, "alert", 3, 3)]


def test_more_of_the_same_subject_is_counted_and_told_with_the_reminder():
    stage = Stage(rule(FAILED, repeat=timedelta(seconds=600)))

    told = stage.run(*(fact(FAILED, seconds) for seconds in range(0, 500, 50)), until=1300)

    assert told == [(10, "alert", 1, 1), (610, "repeat", 10, 1), (1210, "repeat", 10, 1)]


def test_what_is_told_says_who_is_concerned_newest_first():
    stage = Stage(rule(OFFLINE))
    stage.run(*(fact(OFFLINE, number / 10, number) for number in range(30)), until=60)

    telling = stage.told[0].telling
    assert [each.instance_id.int for each in telling.facts] == list(range(29, 9, -1))
    assert (telling.since, telling.until, telling.rule_name) == (at(0), None, "on call")


def test_it_is_over_when_all_subjects_are():
    stage = Stage(rule(OFFLINE))
    stage.run(fact(OFFLINE, 0, 1), fact(OFFLINE, 1, 2), until=20)

    assert stage.run(over(OFFLINE, 30, 2), until=40) == []
    assert stage.run(over(OFFLINE, 50, 1), until=60) == [(50, "resolved", 2, 2)]
    assert stage.told[-1].telling.until == at(50)
    assert stage.only().status is Status.RESOLVED


def test_who_does_not_want_to_know_is_not_told_that_it_is_over():
    stage = Stage(rule(OFFLINE, tells_resolved=False))
    stage.run(fact(OFFLINE, 0), until=20)

    assert stage.run(over(OFFLINE, 30), until=60) == []
    assert stage.only().status is Status.RESOLVED


def test_what_was_over_before_it_was_told_is_told_once():
    stage = Stage(rule(OFFLINE))

    assert stage.run(fact(OFFLINE, 0), over(OFFLINE, 5), until=60) == [(10, "alert", 1, 1)]
    assert stage.told[0].telling.until == at(5)


def test_an_end_from_before_the_trouble_ends_nothing():
    stage = Stage(rule(OFFLINE))

    told = stage.run(fact(OFFLINE, 10), over(OFFLINE, 5, late=20), over(OFFLINE, 40), until=60)

    assert told == [(20, "alert", 1, 1), (40, "resolved", 1, 1)]


def test_what_comes_late_does_not_bring_back_what_is_over():
    stage = Stage(rule(OFFLINE))

    told = stage.run(fact(OFFLINE, 10), over(OFFLINE, 12), fact(OFFLINE, 11, late=4), until=600)

    assert told == [(20, "alert", 2, 1)]
    assert stage.only().status is Status.RESOLVED


def test_who_comes_and_goes_is_told_no_more_than_once_an_update():
    stage = Stage(rule(OFFLINE))
    facts = [each for second in range(0, 600, 60) for each in (fact(OFFLINE, second), over(OFFLINE, second + 30))]

    told = stage.run(*facts, until=1000)

    assert told == [
        (10, "alert", 1, 1),
        (30, "resolved", 1, 1),
        (310, "alert", 5, 1),
        (330, "resolved", 5, 1),
        (610, "alert", 4, 1),
    ]


def test_what_does_not_last_is_over_when_it_was_told():
    stage = Stage(rule(RETRIED))

    told = stage.run(*(fact(RETRIED, second) for second in range(0, 400, 5)), until=1000)

    assert told == [(10, "alert", 2 + 1, 1), (310, "alert", 60, 1), (610, "alert", 17, 1)]
    assert {alert.status for alert in stage.machine.alerts} == {Status.RESOLVED}


def test_groups_are_told_apart():
    stage = Stage(rule(FAILED, group_by="task"))

    assert len(stage.run(fact(FAILED, 0, 1), fact(FAILED, 0, 2), fact(FAILED, 1, 1), until=60)) == 2


def test_each_event_alone_is_told_at_once_and_never_again():
    stage = Stage(rule(OFFLINE, is_alone=True, wait=0, repeat=timedelta(seconds=60)))

    told = stage.run(fact(OFFLINE, 0, 1), fact(OFFLINE, 0, 2), over(OFFLINE, 10, 1), until=600)

    assert told == [(0, "alert", 1, 1), (0, "alert", 1, 1)]
    assert {alert.status for alert in stage.machine.alerts} == {Status.RESOLVED}


def test_a_rule_that_was_edited_away_tells_nothing_more():
    stage = Stage(rule(OFFLINE))
    stage.run(fact(OFFLINE, 0), until=5)
    other = Machine([], [], clock=at(5))
    other.load(stage.machine.alerts)

    assert other.run([], until=at(60)) == []
    assert stage.only().status is Status.RESOLVED


# --- thresholds


def test_nothing_is_told_below_the_threshold():
    stage = Stage(rule(FAILED, threshold_count=3, threshold_window=timedelta(seconds=60)))

    assert stage.run(fact(FAILED, 0), fact(FAILED, 50), fact(FAILED, 100), until=600) == []


def test_from_the_threshold_on_it_is_told_with_what_came_before():
    stage = Stage(rule(FAILED, threshold_count=3, threshold_window=timedelta(seconds=60)))

    told = stage.run(*(fact(FAILED, second, second) for second in (0, 50, 70, 90)), until=600)

    assert told == [(90, "alert", 4, 4)]


def test_who_comes_and_goes_reaches_the_threshold():
    stage = Stage(rule(OFFLINE, threshold_count=3, threshold_window=timedelta(seconds=60)))
    facts = [each for second in (0, 20, 40) for each in (fact(OFFLINE, second), over(OFFLINE, second + 10))]

    assert stage.run(*facts, until=600) == [(40, "alert", 3, 1), (50, "resolved", 3, 1)]


def test_what_cannot_reach_the_threshold_any_more_is_closed_and_forgotten():
    stage = Stage(rule(FAILED, threshold_count=2, threshold_window=timedelta(seconds=60)))
    stage.run(fact(FAILED, 0), until=61)
    stage.machine.close_stale()
    assert stage.only().status is Status.RESOLVED

    told = stage.run(fact(FAILED, 100, 2), fact(FAILED, 110, 2), until=200)

    assert told == [(110, "alert", 2, 1)]


# --- quiet hours, from second 100 to second 1000 of each day

QUIET = Quiet(at(100).time(), at(1000).time(), ZoneInfo("UTC"))


def test_in_quiet_hours_alerts_reminders_and_ends_wait():
    stage = Stage(rule(OFFLINE, quiet=QUIET, repeat=timedelta(seconds=300)))

    told = stage.run(fact(OFFLINE, 0, 1), over(OFFLINE, 500, 1), fact(OFFLINE, 600, 2), until=1200)

    assert told == [(10, "alert", 1, 1), (1000, "resolved", 1, 1), (1000, "alert", 1, 1)]


def test_events_that_are_told_alone_are_told_as_one_after_quiet_hours():
    stage = Stage(rule(OFFLINE, is_alone=True, wait=0, quiet=QUIET))

    told = stage.run(*(fact(OFFLINE, second, second) for second in (50, 150, 200, 1100)), until=1200)

    assert told == [(50, "alert", 1, 1), (1000, "alert", 2, 2), (1100, "alert", 1, 1)]


# --- silences


def test_what_is_silenced_is_counted_and_not_told():
    stage = Stage(rule(RETRIED), silences=[silence(0, 100)])

    assert stage.run(fact(RETRIED, 10), fact(RETRIED, 20), until=200) == []
    assert (stage.only().event_count, stage.only().silenced_count) == (2, 2)


def test_at_the_end_of_a_silence_what_is_still_broken_is_told_once():
    stage = Stage(rule(OFFLINE), silences=[silence(0, 100)])

    told = stage.run(fact(OFFLINE, 10, 1), fact(OFFLINE, 20, 2), over(OFFLINE, 50, 1), until=1000)

    assert told == [(100, "summary", 1, 1)]
    assert stage.told[0].telling.silence_reason == "move"
    assert stage.run(over(OFFLINE, 1100, 2), until=1200) == [(1100, "resolved", 2, 1)]


def test_where_nothing_is_broken_any_more_nothing_is_told_at_its_end():
    stage = Stage(rule(OFFLINE), silences=[silence(0, 100)])

    assert stage.run(fact(OFFLINE, 10), over(OFFLINE, 50), until=1000) == []


def test_each_round_of_a_recurring_silence_has_a_summary():
    recurring = silence(0, 86_400, start_time=time(9, 0, 30), weekdays=frozenset(range(7)), duration_min=1)
    stage = Stage(rule(OFFLINE), silences=[replace(recurring, ends_at=None)])

    told = stage.run(fact(OFFLINE, 40), until=3 * 86_400)

    assert told == [(day * 86_400 + 90, "summary", 1, 1) for day in range(3)]


def test_one_summary_tells_each_channel_of_all_its_rules():
    first = rule(OFFLINE, id=1, channel_ids=frozenset({1, 2}))
    second = rule(FAILED, id=2, channel_ids=frozenset({2}))
    stage = Stage(first, second, silences=[silence(0, 100)])

    stage.run(fact(OFFLINE, 10), fact(FAILED, 20), until=200)

    assert {(tuple(one.channel_ids), one.telling.subject_count) for one in stage.told} == {((1,), 1), ((2,), 2)}


def test_what_another_silence_keeps_quiet_is_told_at_the_end_of_that():
    stage = Stage(rule(OFFLINE), silences=[silence(0, 100), silence(50, 200, id=8, reason="next")])

    told = stage.run(fact(OFFLINE, 10), until=1000)

    assert told == [(200, "summary", 1, 1)]


def test_what_went_on_before_is_not_reminded_of_while_it_is_silenced():
    stage = Stage(rule(OFFLINE, repeat=timedelta(seconds=100)), silences=[silence(50, 500)])

    told = stage.run(fact(OFFLINE, 0), until=650)

    assert told == [(10, "alert", 1, 1), (500, "summary", 1, 1), (600, "repeat", 1, 1)]


def test_what_ends_while_it_is_silenced_is_told_to_be_over_at_the_end():
    stage = Stage(rule(OFFLINE), silences=[silence(50, 500)])

    told = stage.run(fact(OFFLINE, 0), over(OFFLINE, 100), until=1000)

    assert told == [(10, "alert", 1, 1), (500, "resolved", 1, 1)]


def test_what_happened_before_a_silence_is_told_though_it_has_begun():
    stage = Stage(rule(OFFLINE), silences=[silence(5, 500)])

    assert stage.run(fact(OFFLINE, 0), until=400) == [(10, "alert", 1, 1)]


def test_what_comes_after_the_end_of_its_silence_is_told_where_it_lasts():
    stage = Stage(rule(OFFLINE, RETRIED), silences=[silence(0, 100)])

    told = stage.run(fact(OFFLINE, 50, late=100), fact(RETRIED, 50, late=100), until=1000)

    assert [(each, one.telling.event_type) for each, one in zip(told, stage.told, strict=True)] == [
        ((160, "alert", 1, 1), OFFLINE)
    ]


def test_a_silence_is_of_its_scope_and_its_types():
    of_task = silence(0, 100, scope=scope_of(services=(), environments=(), selector="", task_pattern="task-1"))
    of_type = silence(0, 100, id=8, event_types=frozenset({RETRIED}))
    stage = Stage(rule(FAILED, RETRIED, group_by="task"), silences=[of_task, of_type])

    stage.run(fact(FAILED, 10, 1), fact(FAILED, 10, 2), fact(RETRIED, 10, 2), until=50)

    assert [one.telling.facts[0].event_id for one in stage.told] == ["task_failed-2-10"]


def test_alone_events_that_are_silenced_are_told_in_the_summary_where_they_last():
    alone = rule(OFFLINE, RETRIED, is_alone=True, wait=0)
    stage = Stage(alone, silences=[silence(0, 100)])

    told = stage.run(fact(OFFLINE, 10, 1), fact(OFFLINE, 10, 2), fact(RETRIED, 10), over(OFFLINE, 20, 1), until=500)

    assert told == [(100, "summary", 1, 1)]
    assert {alert.status for alert in stage.machine.alerts} == {Status.RESOLVED}


def test_a_summary_waits_for_the_end_of_quiet_hours():
    stage = Stage(rule(OFFLINE, quiet=QUIET), silences=[silence(0, 500)])

    assert stage.run(fact(OFFLINE, 10), until=2000) == [(1000, "alert", 1, 1)]


# --- who is told


@pytest.mark.parametrize("is_echo", [True, False])
def test_a_failure_that_echoes_a_dead_letter_is_not_told_again_by_a_rule_of_both(is_echo):
    stage = Stage(rule(FAILED, DEAD, is_alone=True, wait=0))

    told = stage.run(fact(DEAD, 0), fact(FAILED, 1, is_echo=is_echo), until=10)

    assert len(told) == (1 if is_echo else 2)


def test_an_echo_is_told_to_those_channels_that_were_not_told_first():
    letters = rule(DEAD, id=1, channel_ids=frozenset({1, 2}))
    failures = rule(FAILED, id=2, channel_ids=frozenset({2, 3}))
    stage = Stage(letters, failures)

    stage.run(fact(DEAD, 0), fact(FAILED, 1, is_echo=True), fact(FAILED, 2, number=2), until=60)

    assert [(one.telling.event_type, one.telling.event_count, set(one.channel_ids)) for one in stage.told] == [
        (DEAD, 1, {1, 2}),
        (FAILED, 1, {3}),
        (FAILED, 1, {2, 3}),
    ]


def test_an_echo_is_told_where_its_dead_letter_was_silenced():
    letters = silence(0, 100, event_types=frozenset({DEAD}))
    stage = Stage(rule(FAILED, DEAD), silences=[letters])

    stage.run(fact(DEAD, 0), fact(FAILED, 1, is_echo=True), until=60)

    assert [one.telling.event_type for one in stage.told] == [FAILED]


def test_a_channel_is_not_told_through_itself_that_it_fails():
    failing = rule("channel_failing", channel_ids=frozenset({3, 4}))
    stage = Stage(failing)
    subject = {"instance_id": None, "service_id": None, "portal_subject": "notifications.channel:3"}

    stage.run(fact("channel_failing", 0, **subject), until=60)

    assert stage.told[0].channel_ids == {4}


def test_it_does_not_matter_in_which_stretches_facts_come():
    rules = (rule(OFFLINE, repeat=timedelta(seconds=200)), rule(FAILED, id=2, threshold_count=2, update=60))
    facts = [fact(OFFLINE, second, second % 7) for second in range(0, 900, 13)]
    facts += [over(OFFLINE, second + 40, second % 7) for second in range(0, 900, 13)]
    facts += [fact(FAILED, second, second % 3) for second in range(0, 900, 17)]
    facts.sort(key=lambda each: each.received_at)
    whole = Stage(*rules, silences=[silence(300, 500)])
    parts = Stage(*rules, silences=[silence(300, 500)])

    told = whole.run(*facts, until=1500)
    bit_by_bit = []
    for begin in range(0, 1500, 7):
        some = [
            each
            for each in facts
            if at(begin) < each.received_at <= at(begin + 7) or (not begin and each.received_at == at(0))
        ]
        bit_by_bit += parts.run(*some, until=min(begin + 7, 1500))

    assert bit_by_bit == told
    assert len(told) == 8
