"""Metric windows, newest first."""

from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from agents.models import Service
from agents.selectors.events import latest_possible
from tasks_app.models import MetricWindow


def metric_windows(
    service: Service,
    *,
    instance_id: UUID | None = None,
    task_name: str | None = None,
    ended_after: datetime | None = None,
    ended_before: datetime | None = None,
) -> QuerySet[MetricWindow]:
    """Windows of a service; whatever is None does not narrow, and both times are inclusive."""
    wanted = {
        "instance": instance_id,
        "task_name": task_name,
        "window_ended_at__gte": ended_after,
        "window_ended_at__lte": ended_before or latest_possible(),
    }
    return MetricWindow.objects.filter(
        service=service, **{name: value for name, value in wanted.items() if value is not None}
    ).order_by("-window_ended_at", "task_name", "window_id", "id")
