"""History is kept for as long as it should be, and no longer; on both databases."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents.models import BackgroundJob, ClockCorrection, Command, Event
from agents.services.background import run_background_job
from controlplane.common import partitions
from tasks_app.models import CustomMetric, MetricWindow
from tasks_app.services import storage
from tasks_app.services.storage import RETENTION_JOB, apply_retention
from tasks_app.tasks import apply_retention as apply_retention_task
from tasks_app.tasks import make_partitions as make_partitions_task
from tests.factories import CommandFactory, CustomMetricFactory, EventFactory, InstanceFactory, MetricWindowFactory

pytestmark = pytest.mark.django_db

# Years ago: no week of it has a partition, so that both databases delete by rows.
NOW = datetime(2024, 5, 8, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)


@pytest.fixture
def small_batches(settings):
    settings.RETENTION_DELETE_BATCH_SIZE = 2


def ended(at, **changes):
    """A command that ended at that time."""
    command = CommandFactory(created_at=at - timedelta(minutes=1), status=Command.Status.SUCCEEDED, **changes)
    Command.objects.filter(pk=command.pk).update(updated_at=at)
    return command


def test_each_table_keeps_its_days_to_the_tick():
    instance = InstanceFactory()
    days = {"events": 30, "windows": 90}
    kept, past = (
        [
            EventFactory(instance=instance, occurred_at=NOW - timedelta(days=days["events"]) - age).pk,
            MetricWindowFactory(instance=instance, window_ended_at=NOW - timedelta(days=days["windows"]) - age).pk,
            CustomMetricFactory(instance=instance, window_ended_at=NOW - timedelta(days=days["windows"]) - age).pk,
            ended(NOW - timedelta(days=30) - age, instance=instance).pk,
        ]
        for age in (timedelta(0), TICK)
    )

    assert apply_retention(NOW)

    left = [list(model.objects.values_list("pk", flat=True)) for model in (Event, MetricWindow, CustomMetric, Command)]
    assert left == [[pk] for pk in kept]
    assert kept != past


def test_days_are_those_of_the_settings(settings):
    settings.RETENTION_TASK_EVENTS_DAYS = 2
    EventFactory(occurred_at=NOW - timedelta(days=3))
    kept = EventFactory(occurred_at=NOW - timedelta(days=1))

    apply_retention(NOW)

    assert list(Event.objects.all()) == [kept]


@pytest.mark.parametrize("status", Command.OPEN)
def test_an_open_command_stays_however_old(status):
    command = CommandFactory(created_at=NOW - timedelta(days=300), status=status)
    Command.objects.update(updated_at=NOW - timedelta(days=300))

    assert apply_retention(NOW)

    assert list(Command.objects.all()) == [command]


def test_a_command_is_kept_from_its_end_on():
    command = CommandFactory(created_at=NOW - timedelta(days=40), status=Command.Status.SUCCEEDED)
    Command.objects.update(updated_at=NOW - timedelta(days=10))

    apply_retention(NOW)

    assert list(Command.objects.all()) == [command]


def test_deletes_are_small(small_batches):
    instance = InstanceFactory()
    for number in range(5):
        EventFactory(instance=instance, occurred_at=NOW - timedelta(days=31 + number))
        ended(NOW - timedelta(days=31 + number), instance=instance)

    with CaptureQueriesContext(connection) as captured:
        assert apply_retention(NOW)

    deletes = [query["sql"] for query in captured if query["sql"].startswith("DELETE")]
    assert len([sql for sql in deletes if "agents_event" in sql]) == 3
    assert len([sql for sql in deletes if "agents_command" in sql]) == 3
    assert (Event.objects.count(), Command.objects.count()) == (0, 0)


def test_what_is_left_when_the_time_is_up_goes_next_time(small_batches, monkeypatch):
    EventFactory.create_batch(3, occurred_at=NOW - timedelta(days=31))
    run_background_job(RETENTION_JOB, every_s=1, work=lambda: None)
    monkeypatch.setattr(storage, "STEP_MAX_S", 0.0)

    assert not apply_retention(NOW)

    assert Event.objects.count() == 3
    monkeypatch.undo()
    assert apply_retention(NOW)
    assert Event.objects.count() == 0


def test_it_rests_when_nothing_is_left(settings):
    settings.RETENTION_RUN_INTERVAL_S = 3600
    BackgroundJob.objects.create(name=RETENTION_JOB)
    apply_retention(NOW)
    EventFactory(occurred_at=NOW - timedelta(days=31))

    apply_retention(NOW + timedelta(seconds=3599))
    assert Event.objects.count() == 1

    apply_retention(NOW + timedelta(seconds=3600))
    assert Event.objects.count() == 0


def test_a_completion_in_the_future_holds_nothing_up():
    BackgroundJob.objects.create(name=RETENTION_JOB, completed_at=NOW + timedelta(days=300))
    EventFactory(occurred_at=NOW - timedelta(days=31))

    apply_retention(NOW)

    assert Event.objects.count() == 0


def test_corrections_outlive_what_they_correct():
    for key, age_days in (("old", 98), ("young", 96)):
        ClockCorrection.objects.create(key=key, moment=NOW, made_at=NOW - timedelta(days=age_days))

    apply_retention(NOW)

    assert [row.key for row in ClockCorrection.objects.all()] == ["young"]


def test_the_background_jobs_run_and_say_so():
    make_partitions_task()
    apply_retention_task()

    jobs = BackgroundJob.objects.in_bulk()
    assert {name: job.last_error for name, job in jobs.items()} == {"make-partitions": "", RETENTION_JOB: ""}
    assert jobs[RETENTION_JOB].completed_at is not None


def test_a_run_that_has_nothing_to_do_is_cheap(settings):
    storage.make_partitions()
    BackgroundJob.objects.create(name=RETENTION_JOB)
    apply_retention()

    with CaptureQueriesContext(connection) as captured:
        storage.make_partitions()
        apply_retention()

    assert len(captured) == (7 if partitions.are_supported() else 1)


@pytest.mark.parametrize("late", [timedelta(0), TICK])
def test_what_came_lately_stays_though_the_clock_of_its_agent_is_behind(late):
    came = {"events": NOW - timedelta(days=30) - late, "windows": NOW - timedelta(days=90) - late}
    long_ago = NOW - timedelta(days=300)
    instance = InstanceFactory()
    EventFactory(instance=instance, occurred_at=long_ago, received_at=came["events"])
    MetricWindowFactory(instance=instance, window_ended_at=long_ago, received_at=came["windows"])
    CustomMetricFactory(instance=instance, window_ended_at=long_ago, received_at=came["windows"])

    assert apply_retention(NOW)

    left = [model.objects.count() for model in (Event, MetricWindow, CustomMetric)]
    assert left == ([0, 0, 0] if late else [1, 1, 1])
