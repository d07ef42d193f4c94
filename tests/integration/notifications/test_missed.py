"""Missed starts become events: each once, for each grace that somebody asks for, and none while the portal is blind."""

from datetime import timedelta

import pytest

from agents.models import Event, Replica
from notifications.models import EventType, Rule
from notifications.services import missed
from notifications.services.missed import find_missed_starts
from tests.factories import CommandFactory, ReplicaFactory, TaskFactory
from tests.integration.tasks_app.test_starts import NOW, at, cron, interval, runs, starts

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def seeing():
    return ReplicaFactory(kind=Replica.Kind.WEB, sight_since=NOW - 30 * DAY, last_seen_at=NOW)


def rule(name="r", **fields):
    made = Rule.objects.create(name=name, event_types=[EventType.TASK_MISSED_START], **fields)
    Rule.objects.filter(pk=made.pk).update(created_at=NOW - DAY)
    return made


def told():
    rows = Event.objects.filter(kind="task.missed_start").order_by("occurred_at", "event_id")
    return [(row.task_name, row.meta["scheduled_at"][11:16], row.meta["grace_s"], row.meta["cause"]) for row in rows]


def test_a_start_that_never_came_is_told_once():
    task = cron("*/30 * * * *")
    starts(task, runs(task), "11:00", "11:30")
    rule()

    find_missed_starts(NOW)
    assert told() == []
    later = NOW + timedelta(minutes=5)
    Replica.objects.update(last_seen_at=later)
    for _ in range(2):
        find_missed_starts(later)

    assert told() == [(task.name, "12:00", 300, "not_started")]
    event = Event.objects.get(kind="task.missed_start")
    assert (event.service, event.level, event.occurred_at) == (task.service, "warn", at("12:05:00"))


def test_nothing_is_told_that_nobody_asks_for():
    task = cron("*/5 * * * *")
    runs(task)
    rule(enabled=False)
    rule("other", service_scopes=[{"name": "x", "environment": "dev"}])
    rule("tasks", task_pattern="nothing-*, other")
    rule("elsewhere", environments=["prod"])

    find_missed_starts(NOW)

    assert told() == []


def test_each_grace_has_its_own():
    task = cron("*/20 * * * *")
    starts(task, runs(task), "11:00", "11:20")
    rule(missed_start_grace_s=120)
    rule("slow", missed_start_grace_s=1200)

    find_missed_starts(NOW)

    assert told() == [(task.name, "11:40", 120, "not_started"), (task.name, "11:40", 1200, "not_started")]


def test_what_was_due_before_anybody_asked_is_not_told():
    task = cron("*/10 * * * *")
    runs(task)
    made = rule()
    Rule.objects.filter(pk=made.pk).update(created_at=at("11:45"))

    find_missed_starts(NOW)

    assert told() == [(task.name, "11:50", 300, "not_started")]


@pytest.mark.parametrize(
    "changes", [{"sight_since": NOW - timedelta(seconds=1)}, {"last_seen_at": NOW - DAY}, {"stopped_at": NOW}]
)
def test_a_blind_portal_says_nothing(seeing, changes):
    task = cron("*/10 * * * *")
    runs(task)
    rule()
    Replica.objects.update(**changes)

    assert find_missed_starts(NOW) == 0


def test_where_nobody_is_left_it_is_told_once_with_its_cause():
    task = cron("*/10 * * * *")
    starts(task, runs(task, until="11:32"), "10:50", "11:00", "11:10", "11:20", "11:30")
    rule()

    for _ in range(2):
        find_missed_starts(NOW)

    assert told() == [(task.name, "11:40", 300, "instance_offline")]
    assert Event.objects.get(kind="task.missed_start").meta["gone_at"].startswith("2026-03-04T11:32")


def test_an_interval_that_nobody_is_left_for_keeps_its_phase():
    task = interval(600)
    starts(task, runs(task, until="11:32"), "10:47", "10:57", "11:07", "11:17", "11:27")
    rule()

    find_missed_starts(NOW)

    assert told() == [(task.name, "11:37", 300, "instance_offline")]


def test_a_paused_task_is_not_missed():
    task = cron("*/10 * * * *")
    instance = runs(task)
    starts(task, instance, "11:00")
    CommandFactory(
        instance=instance, kind="pause_task", task_name=task.name, status="succeeded",
        created_at=at("11:01"), finished_at=at("11:02"),
    )  # fmt: skip
    rule()

    find_missed_starts(NOW)

    assert told() == []


def test_many_of_one_task_are_counted_and_the_newest_told():
    task = cron("* * * * *")
    starts(task, runs(task), "11:00")
    rule()

    find_missed_starts(NOW)

    assert [slot for _name, slot, _grace, _cause in told()] == ["11:53", "11:54", "11:55"]
    assert Event.objects.filter(kind="task.missed_start").latest("occurred_at").meta["more"] > 40


def test_all_tasks_have_their_turn(monkeypatch):
    monkeypatch.setattr(missed, "TASKS_PER_LOOK", 2)
    tasks = [cron("*/30 * * * *") for _ in range(3)]
    for task in tasks:
        runs(task)
    TaskFactory()
    rule()

    for _ in range(3):
        find_missed_starts(NOW)

    assert {name for name, *_rest in told()} == {task.name for task in tasks}


def test_a_schedule_that_cannot_be_read_costs_only_itself():
    runs(cron("nonsense"))
    task = cron("*/30 * * * *")
    runs(task)
    rule()

    find_missed_starts(NOW)

    assert {name for name, *_rest in told()} == {task.name}
