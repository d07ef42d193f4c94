"""Sums over metric windows, also over what was stored before parsing had its limits."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tasks_app.selectors.figures import metric_points, windows_by_service, windows_by_task
from tasks_app.selectors.lookback import Lookback
from tests.factories import InstanceFactory, MetricWindowFactory


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

    figures = windows_by_service([instance.service_id], lookback)[instance.service_id]

    assert (figures.counters["started"], figures.avg_duration_ms) == (3 * 2**62, 1e12)
    assert windows_by_task(instance.service, lookback) == {"tick": figures}
    assert figures in [point.figures for point in metric_points(instance.service, "tick", lookback)]
