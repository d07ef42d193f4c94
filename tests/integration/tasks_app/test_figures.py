"""Sums over metric windows, also over what was stored before parsing had its limits."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tasks_app.selectors.figures import figures_by_service, metric_points, windows_by_task
from tasks_app.selectors.lookback import Lookback
from tasks_app.selectors.newest import newest_events, newest_windows
from tests.factories import EventFactory, InstanceFactory, MetricWindowFactory


@pytest.mark.django_db
def test_absurd_windows_still_add_up():
    instance = InstanceFactory()
    now = timezone.now()
    for number in range(3):
        MetricWindowFactory(
            instance=instance,
            task_name="tick",
            window_id=f"w{number}",
            window_ended_at=now - timedelta(seconds=90),
            started=2**62,
            avg_duration_ms=1e300,
        )
    lookback = Lookback(15, now)

    figures = windows_by_task(instance.service, lookback)["tick"]

    assert (figures.counters["started"], figures.avg_duration_ms) == (3 * 2**62, 1e12)
    assert figures_by_service([instance.service_id], lookback)[instance.service_id].counters == figures.counters
    assert figures in [point.figures for point in metric_points(instance.service, "tick", lookback)]


@pytest.mark.django_db
@pytest.mark.parametrize("farthest", [timedelta(minutes=50), timedelta(days=20), timedelta(days=300)])
def test_the_newest_of_each_task_is_one_query_however_far_it_lies(django_assert_num_queries, farthest):
    instance, now = InstanceFactory(), timezone.now()
    ages = (timedelta(minutes=5), farthest)
    for number, age in enumerate(ages):
        for older in (timedelta(0), timedelta(seconds=30)):
            at = now - age - older
            EventFactory(instance=instance, task_name=f"task-{number}", occurred_at=at)
            MetricWindowFactory(instance=instance, task_name=f"task-{number}", window_ended_at=at)
    EventFactory(instance=instance, task_name="other", occurred_at=now)
    names = ["task-0", "task-1", "task-of-nothing"]

    with django_assert_num_queries(1):
        events = newest_events(instance.service, names)
    with django_assert_num_queries(1):
        windows = newest_windows(instance.service, names)

    newest = {name: now - age for name, age in zip(names, ages, strict=False)}
    assert events == newest
    assert {name: ended for name, (_started, ended) in windows.items()} == newest
