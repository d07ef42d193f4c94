"""The list and the page of tasks: figures, schedule, tracebacks, and orders that stay on the page."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Command
from tests.factories import (
    CommandFactory,
    EventFactory,
    InstanceFactory,
    MetricWindowFactory,
    SessionFactory,
    TaskControlsFactory,
    TaskFactory,
    task_control,
)
from tests.integration.console import console_as, text_of, url

pytestmark = pytest.mark.django_db
# What the list, the page and its live parts cost.
LIST, PAGE, LIVE = 14, 28, 12


@pytest.fixture(autouse=True)
def nothing_kept():
    cache.clear()


def running(task, **controls):
    instance = InstanceFactory(service=task.service, online=True)
    SessionFactory(instance=instance)
    TaskControlsFactory(instance=instance, controls=[task_control(task.name, **controls)])
    return instance


def page(task, client=None, status=200, **query):
    response = (client or console_as("operator")).get(url("tasks_app_task_change", task.pk), query)
    assert response.status_code == status
    return response


def send(task, instance, client=None, **fields):
    values = {"instance": str(instance.pk), "task_name": task.name, "reason": "because", "timeout_s": "30", **fields}
    return (client or console_as("operator")).post(url("tasks_app_task_send", task.pk), values)


def cost(client, path):
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


def test_list_puts_failing_tasks_first_and_tells_how_they_fare():
    calm, failing = TaskFactory(name="a-calm"), TaskFactory(name="z-failing")
    for task, kind in ((calm, "task.succeeded"), (failing, "task.failed")):
        instance = InstanceFactory(service=task.service)
        EventFactory(instance=instance, task_name=task.name, kind="task.started")
        EventFactory(instance=instance, task_name=task.name, kind=kind, duration_ms=1500)
        failed = int(kind == "task.failed")
        MetricWindowFactory(instance=instance, task_name=task.name, succeeded=3, failed=failed, dead_lettered=failed)
    # Of another service, by the same name.
    EventFactory(task_name="a-calm", kind="task.failed")

    response = console_as("viewer").get(url("tasks_app_task_changelist"))

    rows = list(response.context["cl"].result_list)
    assert [row.name for row in rows] == ["z-failing", "a-calm"]
    assert [row.figures.success_rate for row in rows] == [75.0, 100.0]
    assert [row.figures.p95_ms for row in rows] == [1500, 1500]
    assert all(row.figures.last_run_at for row in rows)
    assert "Failing" in text_of(response)


def test_list_costs_the_same_whatever_is_on_it():
    client = console_as("viewer")
    path = url("tasks_app_task_changelist")

    def add():
        task = TaskFactory()
        instance = running(task)
        MetricWindowFactory(instance=instance, task_name=task.name)
        EventFactory(instance=instance, task_name=task.name, kind="task.failed", duration_ms=1)

    add()
    one = cost(client, path)
    add()
    add()

    assert cost(client, path) == one == LIST


def test_page_and_its_live_parts_cost_the_same_whatever_is_on_them():
    client = console_as("operator")

    def costs(rows):
        task = TaskFactory(source_kind="cron", source_config={"expression": "* * * * *", "timezone": "UTC"})
        for _ in range(rows):
            instance = running(task)
            MetricWindowFactory(instance=instance, task_name=task.name)
            EventFactory(instance=instance, task_name=task.name, kind="task.failed", traceback="a\nb")
            CommandFactory(instance=instance, kind="pause_task", task_name=task.name)
        views = ("tasks_app_task_change", "tasks_app_task_live")
        return [cost(client, url(view, task.pk)) for view in views]

    costs(1)
    one = costs(1)

    assert costs(3) == one
    # PostgreSQL's limit of time takes three.
    assert one == [PAGE + 3 * (connection.vendor == "postgresql"), LIVE]


def test_page_compares_the_window_with_the_one_before():
    task = TaskFactory()
    instance = running(task)
    now = timezone.now()
    MetricWindowFactory(instance=instance, task_name=task.name, window_ended_at=now, started=7, succeeded=6, failed=1)
    before = now - timedelta(minutes=90)
    MetricWindowFactory(instance=instance, task_name=task.name, window_ended_at=before, started=5, retried=2)

    context = page(task, window="1h").context

    assert (context["counts_now"].started, context["counts_before"].started) == (7, 5)
    assert context["counts_before"].retried == 2
    assert [(row.pk, counts.failed) for row, counts, _took in context["by_instance"]] == [(instance.pk, 1)]


def test_page_tells_nothing_done_from_nothing_reported():
    task = TaskFactory()
    assert "<dd>–<small>" in text_of(page(task)).split("Started", 1)[1][:60]
    MetricWindowFactory(instance=running(task), task_name=task.name)

    assert "<dd>0<small>" in text_of(page(task)).split("Started", 1)[1][:60]


def test_page_takes_a_window_that_is_none_for_the_usual_one():
    assert page(TaskFactory(), window="junk").context["window"] == "1h"


def test_page_folds_tracebacks_under_what_they_end_with():
    task = TaskFactory()
    instance = running(task)
    trace = 'Traceback (most recent call last):\n  File "x.py"\nValueError: <no>'
    EventFactory(instance=instance, task_name=task.name, kind="task.failed", traceback=trace)

    text = text_of(page(task))

    assert "<summary><code>ValueError: &lt;no&gt;</code></summary>" in text
    assert "data-copy-from" in text


@pytest.mark.parametrize(("outcome", "shown"), [("", 4), ("failed", 1), ("retried", 1), ("dead_lettered", 1), ("x", 4)])
def test_page_narrows_events_by_outcome(outcome, shown):
    task = TaskFactory()
    instance = running(task)
    for kind in ("started", "failed", "retried", "dead_lettered"):
        EventFactory(instance=instance, task_name=task.name, kind=f"task.{kind}")

    assert len(page(task, outcome=outcome).context["events"]) == shown


def test_page_tells_percentiles_of_each_instance():
    task = TaskFactory()
    first, second = running(task), running(task)
    for instance, durations in ((first, (10, 20, 30)), (second, (500,))):
        MetricWindowFactory(instance=instance, task_name=task.name, window_ended_at=timezone.now())
        for duration_ms in durations:
            EventFactory(instance=instance, task_name=task.name, kind="task.succeeded", duration_ms=duration_ms)

    took = {row.pk: took for row, _counts, took in page(task).context["by_instance"]}

    assert (took[first.pk].p50_ms, took[first.pk].p99_ms) == (20, 30)
    assert (took[second.pk].p50_ms, took[second.pk].count) == (500, 1)


def test_page_keeps_the_window_when_events_are_narrowed_and_the_outcome_when_the_window_changes():
    task = TaskFactory()
    client = console_as("operator")
    chosen = {"window": "6h", "outcome": "failed"}

    text = text_of(page(task, client, **chosen))
    live = text_of(client.get(url("tasks_app_task_live", task.pk), chosen))

    for shown in (text, live):
        assert 'href="?window=6h&amp;outcome=retried#live-task-events"' in shown
    assert 'href="?window=24h&amp;outcome=failed#work-charts"' in text
    assert "?window=6h&amp;outcome=failed" in text.split("c-poller", 1)[1][:1500]


def test_page_tells_next_and_missed_starts():
    task = TaskFactory(source_kind="cron", source_config={"expression": "0 * * * *", "timezone": "UTC"})
    instance = InstanceFactory(service=task.service, online=True)
    SessionFactory(instance=instance, connected_at=timezone.now() - timedelta(hours=5))

    context = page(task).context

    assert len(context["schedule"].starts) == 5
    assert context["missed_count"] in {4, 5}


def test_page_says_why_a_schedule_cannot_be_told():
    task = TaskFactory(source_kind="cron", source_config={"expression": "0 * * * *", "timezone": "CST"})

    assert "not known here" in text_of(page(task))


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_page_shows_in_both_languages(language):
    task = TaskFactory(source_kind="interval", source_config={"seconds": 60, "timezone": "UTC"})
    instance = running(task)
    client = console_as("operator")
    client.cookies["django_language"] = language

    assert task.name in text_of(page(task, client, instance=instance.pk, kind="run_task_once"))


def test_order_is_made_and_its_result_is_on_the_same_page():
    task = TaskFactory()
    instance = running(task)

    response = send(task, instance, kind="run_task_once", payload='{"day": 3}')

    command = Command.objects.get()
    assert response.status_code == 302
    assert response.url.startswith(url("tasks_app_task_change", task.pk))
    assert command.args == {"task_name": task.name, "payload": {"day": 3}}
    assert command.source_surface == "task_detail"
    assert str(command.pk) in text_of(page(task))


def test_payload_that_is_no_json_says_where():
    task = TaskFactory()
    instance = running(task)

    response = send(task, instance, kind="run_task_once", payload='{"day": 3,\n "x"}')

    assert response.status_code == 422
    assert "line 2, character 5" in text_of(response)
    assert not Command.objects.exists()


def test_payload_of_the_last_run_is_proposed():
    task = TaskFactory()
    instance = running(task)
    CommandFactory(
        instance=instance, kind="run_task_once", task_name=task.name, args={"task_name": task.name, "payload": {"a": 1}}
    )

    form = page(task, instance=instance.pk, kind="run_task_once").context["form"]

    assert form.initial["payload"] == '{\n  "a": 1\n}'


@pytest.mark.parametrize("kind", ["pause_task", "discard_dead_letters", "replay_dead_letters"])
def test_order_needs_a_reason(kind):
    task = TaskFactory()

    assert send(task, running(task), kind=kind, reason="").status_code == 422
    assert not Command.objects.exists()


def test_order_for_an_instance_of_another_service_is_refused():
    task = TaskFactory()
    running(task)

    response = send(task, running(TaskFactory()), kind="pause_task")

    assert response.status_code == 302
    assert not Command.objects.exists()


def test_viewer_orders_nothing():
    task = TaskFactory()

    send(task, running(task), console_as("viewer"), kind="pause_task")

    assert not Command.objects.exists()
