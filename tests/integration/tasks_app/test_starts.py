"""Which starts of scheduled tasks are to come, and which never came."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.models import Event
from tasks_app.selectors.starts import expected_starts, missed_starts, outlook
from tests.factories import (
    CommandFactory,
    EventFactory,
    InstanceFactory,
    SessionFactory,
    TaskControlsFactory,
    TaskFactory,
    task_control,
)

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)


def at(text):
    return datetime.fromisoformat(f"2026-03-04T{text}+00:00")


def cron(expression="0 * * * *", **config):
    return TaskFactory(source_kind="cron", source_config={"expression": expression, "timezone": "UTC", **config})


def interval(seconds=600, **config):
    return TaskFactory(source_kind="interval", source_config={"seconds": seconds, "timezone": "UTC", **config})


def runs(task, since="06:00", until=None, started="06:00"):
    """An instance with one session; its process started then."""
    instance = InstanceFactory(service=task.service, online=until is None)
    ended = {} if until is None else {"disconnected_at": at(until), "status": "disconnected"}
    SessionFactory(instance=instance, connected_at=at(since), runtime_started_at=at(started), **ended)
    return instance


def starts(task, instance, *times, kind="task.started", took_s=1):
    for time in times:
        moment = at(time) if isinstance(time, str) else time
        meta = {"scheduled_at": moment.isoformat()}
        shared = {"instance": instance, "task_name": task.name, "meta": meta}
        EventFactory(kind=kind, occurred_at=moment + timedelta(milliseconds=300), **shared)
        if took_s is not None:
            EventFactory(kind="task.succeeded", occurred_at=moment + timedelta(seconds=took_s), **shared)


def missed(task, since="08:30", until="12:00:30"):
    return [start.due_at.strftime("%H:%M") for start in missed_starts(task, at(since), at(until))]


def test_start_that_never_came_is_missed():
    task = cron()
    starts(task, runs(task), "09:00", "11:00")

    assert missed(task) == ["10:00"]


def test_start_of_any_instance_suffices():
    task = cron()
    one, two = runs(task), runs(task)
    starts(task, one, "09:00", "11:00")
    starts(task, two, "10:00")

    assert missed(task) == []


def test_nobody_there_misses_nothing():
    task = cron()
    starts(task, runs(task, until="09:30"), "09:00")

    assert missed(task) == []


def test_time_before_the_process_is_not_missed():
    task = cron()
    starts(task, runs(task, since="10:30", started="10:30"), "11:00")

    assert missed(task) == []


def test_process_that_lost_its_connection_between_was_there():
    task = cron()
    instance = runs(task, until="09:30")
    SessionFactory(instance=instance, connected_at=at("10:30"), runtime_started_at=at("06:00"))
    starts(task, instance, "09:00", "11:00")

    assert missed(task) == ["10:00"]


def test_start_that_is_just_due_may_still_come():
    task = cron()
    starts(task, runs(task), "09:00", "10:00", "11:00")

    assert missed(task) == []
    assert missed(task, until="12:02") == ["12:00"]


def pause(task, instance, kind, finished):
    CommandFactory(
        instance=instance, kind=kind, task_name=task.name, status="succeeded", finished_at=at(finished)
    ).__class__.objects.filter(instance=instance, kind=kind).update(created_at=at(finished) - timedelta(seconds=1))


def test_paused_task_misses_nothing_until_it_goes_on():
    task = cron()
    instance = runs(task)
    pause(task, instance, "pause_task", "08:45")
    pause(task, instance, "resume_task", "10:30")

    assert missed(task) == ["11:00"]


def test_task_paused_by_an_unknown_hand_is_not_judged():
    task = cron()
    instance = runs(task)
    TaskControlsFactory(instance=instance, controls=[task_control(task.name, paused=True)])

    assert missed(task) == []
    told = outlook(task, now=NOW, count=5)
    assert (told.starts, told.is_paused, told.online_count) == ([], True, 1)


def test_drained_instance_misses_nothing():
    task = cron()
    instance = runs(task)
    starts(task, instance, "09:00")
    CommandFactory(instance=instance, kind="drain", status="succeeded", finished_at=at("09:30"))
    type(instance).objects.get(pk=instance.pk).commands.update(created_at=at("09:29"))

    assert missed(task) == []


@pytest.mark.parametrize(("overlap", "expected"), [("allow", ["10:00"]), ("skip", []), ("queue", [])])
def test_what_an_overlap_policy_leaves_out_is_not_missed(overlap, expected):
    task = cron(overlap=overlap)
    starts(task, runs(task), "09:00", took_s=5400)
    starts(task, task.service.instances.get(), "11:00")

    assert missed(task) == expected


def test_interval_keeps_its_phase_when_the_service_syncs_again():
    task = interval(3600)
    instance = runs(task, started="06:17")
    starts(task, instance, "08:17", "09:17", "11:17")
    task.save()

    assert missed(task) == ["10:17"]


def test_interval_after_the_last_start_is_missed():
    task = interval(3600)
    starts(task, runs(task, started="06:17"), "08:17")

    assert missed(task) == ["09:17", "10:17", "11:17"]


def test_interval_that_never_started_is_missed():
    task = interval(3600)
    runs(task, since="06:17", started="06:17")

    assert missed(task) == ["09:17", "10:17"]


def test_interval_counts_anew_after_a_pause():
    task = interval(3600)
    instance = runs(task, started="06:17")
    starts(task, instance, "08:17", "11:30")
    pause(task, instance, "pause_task", "09:00")
    pause(task, instance, "resume_task", "10:30")

    assert missed(task) == []


def test_interval_jitter_of_a_first_immediate_run_is_no_miss():
    task = interval(600, immediate=True)
    instance = runs(task, started="08:00")
    starts(task, instance, "08:00:01", *[at("08:10:00.4") + n * timedelta(minutes=10) for n in range(24)])

    assert missed(task) == []


def test_next_starts_of_cron_and_interval():
    task, other = cron("*/20 * * * *"), interval(600)
    runs(task)
    starts(other, runs(other), "11:57")

    told = [
        [start.due_at.strftime("%H:%M") for start in outlook(each, now=NOW, count=5).starts] for each in (task, other)
    ]

    assert told == [["12:20", "12:40", "13:00", "13:20", "13:40"], ["12:07", "12:17", "12:27", "12:37", "12:47"]]


def test_nobody_there_starts_nothing():
    told = outlook(cron(), now=NOW, count=5)

    assert (told.starts, told.is_paused, told.online_count) == ([], False, 0)


def test_task_without_schedule_has_no_starts():
    task = TaskFactory(source_kind="memory_queue")

    assert outlook(task, now=NOW, count=5) is None
    assert expected_starts(task, NOW - timedelta(days=1), NOW) == missed_starts(task, NOW, NOW) == []


def test_expected_starts_are_those_that_came_missed_and_will_come():
    task = cron()
    starts(task, runs(task, started="09:30", since="09:30"), "10:00")

    found = [start.due_at.strftime("%H:%M") for start in expected_starts(task, at("08:30"), at("13:30"))]

    assert found == ["10:00", "11:00", "12:00", "13:00"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kept=st.sets(st.integers(0, 23)), seconds=st.sampled_from([600, 601, 299]), kind=st.sampled_from(["cron", "every"])
)
def test_what_came_is_never_missed_and_what_did_not_always(kept, seconds, kind):
    Event.objects.all().delete()
    task = cron("*/10 * * * *") if kind == "cron" else interval(seconds)
    every = timedelta(seconds=600 if kind == "cron" else seconds)
    instance = runs(task, started="07:50", since="07:50")
    first = at("08:00")
    starts(task, instance, *[first + number * every for number in sorted({0, *kept})])

    found = missed_starts(task, first, first + 24 * every)

    assert [start.due_at for start in found] == [
        first + number * every for number in range(24) if number not in {0, *kept}
    ]


@pytest.mark.parametrize("rows", [1, 3])
def test_starts_cost_the_same_whatever_there_is(rows, django_assert_num_queries):
    task = cron()
    for _ in range(rows):
        starts(task, runs(task), *["09:00", "10:00"][:rows])

    for ask in (lambda: outlook(task, now=NOW, count=5), lambda: missed_starts(task, at("08:00"), NOW)):
        with django_assert_num_queries(5):
            ask()
