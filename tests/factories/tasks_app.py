"""Rows of `tasks_app`."""

from datetime import timedelta

import factory
from django.utils import timezone

from tasks_app.models import AppSnapshot, CustomMetric, MetricWindow, Task, TaskControls
from tests.factories.agents import InstanceFactory, ServiceFactory


class TaskFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Task

    service = factory.SubFactory(ServiceFactory)
    name = factory.Sequence(lambda n: f"task-{n}")


def task_control(task_name, **changes):
    """One entry of TaskControls.controls, of a task that runs and accepts every task command."""
    return {
        "task_name": task_name,
        "supported_commands": [
            "pause_task",
            "resume_task",
            "restart_task",
            "discard_dead_letters",
            "replay_dead_letters",
            "run_task_once",
        ],
        "pause_requested": False,
        "paused": False,
        "accepting_new_work": True,
        "runner_count": 1,
        "parked_runner_count": 0,
        "fetching_runner_count": 1,
        "inflight_task_count": 0,
    } | changes


class TaskControlsFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = TaskControls

    instance = factory.SubFactory(InstanceFactory, online=True)
    controls = factory.LazyFunction(list)
    updated_at = factory.LazyFunction(timezone.now)


class AppSnapshotFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = AppSnapshot

    instance = factory.SubFactory(InstanceFactory, online=True)
    app = factory.LazyAttribute(lambda row: {"name": row.instance.service.name, "tasks": []})
    updated_at = factory.LazyFunction(timezone.now)


class MetricWindowFactory(factory.django.DjangoModelFactory):
    """An empty window of one minute that ends now."""

    class Meta:
        model = MetricWindow

    instance = factory.SubFactory(InstanceFactory, online=True)
    service = factory.SelfAttribute("instance.service")
    task_name = "sync"
    window_id = factory.Sequence(lambda n: f"window-{n}")
    window_ended_at = factory.LazyFunction(timezone.now)
    window_started_at = factory.LazyAttribute(lambda row: row.window_ended_at - timedelta(minutes=1))
    received_at = factory.SelfAttribute("window_ended_at")


class CustomMetricFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = CustomMetric

    instance = factory.SubFactory(InstanceFactory, online=True)
    task_name = "sync"
    window_id = factory.Sequence(lambda n: f"window-{n}")
    window_ended_at = factory.LazyFunction(timezone.now)
    name = "rows"
    kind = CustomMetric.Kind.COUNTER
    labels_hash = factory.Sequence(str)
    value = 1.0
    received_at = factory.SelfAttribute("window_ended_at")
