"""Queries of the paths below a service that are about what it runs."""

from rest_framework import serializers

from agents.api.queries import ServicePageQuery, ServiceQuery, archived_choice, choice, name
from agents.models.service import Environment
from controlplane.common.rest.fields import IdField, IntegerField, PageQuery, TextField, TimestampField
from tasks_app.selectors.history import HISTORY_KINDS
from tasks_app.selectors.lookback import LOOKBACK_DEFAULT_MINUTES, LOOKBACK_MAX_MINUTES


def lookback_minutes() -> IntegerField:
    return IntegerField(from_text=True, default=LOOKBACK_DEFAULT_MINUTES, min_value=1, max_value=LOOKBACK_MAX_MINUTES)


def recent_limit() -> IntegerField:
    return IntegerField(from_text=True, default=20, min_value=1, max_value=100)


class ServicesQuery(PageQuery):
    environment = choice(Environment.choices)
    source_kind = name(help_text="Only services with a task that reads such a source.")
    q = TextField(required=False, allow_blank=True, max_length=255, help_text="Part of the name, in any case.")
    archived = archived_choice()


class TasksQuery(ServicePageQuery):
    lookback_minutes = lookback_minutes()
    task_name = name()


class DashboardQuery(ServiceQuery):
    lookback_minutes = lookback_minutes()
    recent_event_limit = IntegerField(from_text=True, default=10, min_value=1, max_value=50)


class TaskHistoryQuery(ServicePageQuery):
    # Merged from two lists, each of which is given as a file.
    format = None  # type: ignore[assignment] # DRF's way to take a field away
    lookback_minutes = lookback_minutes()
    limit = recent_limit()
    kind = serializers.ListField(
        child=serializers.ChoiceField(choices=HISTORY_KINDS),
        required=False,
        help_text="May be repeated; without it all kinds.",
    )


class RecentQuery(ServiceQuery):
    """A page about one thing, with the newest windows and events of it."""

    lookback_minutes = lookback_minutes()
    metric_window_limit = recent_limit()
    event_limit = recent_limit()


class MetricWindowsQuery(ServicePageQuery):
    task_name = name()
    instance_id = IdField(required=False)
    ended_after = TimestampField(required=False)
    ended_before = TimestampField(required=False)
