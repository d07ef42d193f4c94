"""Alerts: what goes on and what went on, as rules see it, and whom each is about."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.http.response import HttpResponseBase
from rest_framework import serializers

from agents.api.serializers import optional_text, optional_time
from controlplane.common.rest.collections import Collection, detail, detail_query
from controlplane.common.rest.fields import IdField, IntegerField, ObjectField, TimestampField
from controlplane.common.rest.filters import ApiFilter, Filters, any_of, exactly
from controlplane.common.rest.sparse import SparseSerializer
from controlplane.common.rest.views import endpoint
from notifications.api.base import NotificationView
from notifications.models import Alert, AlertMember, EventType
from notifications.selectors.alerts import OPEN, alerts, get_alert, member_counts, members_of

COUNTS = frozenset({"subject_count", "open_subject_count", "silenced_subject_count"})


class AlertSerializer(SparseSerializer):
    """The context's `members` maps the number of an alert to its Members."""

    id = serializers.IntegerField()
    rule_id = serializers.IntegerField()
    rule_name = serializers.CharField(source="rule.name")
    event_type = serializers.ChoiceField(choices=EventType.choices)
    group = serializers.CharField(source="key", help_text="What the rule groups by.")
    status = serializers.ChoiceField(choices=Alert.Status.choices)
    opened_at = TimestampField()
    last_at = TimestampField()
    event_count = serializers.IntegerField()
    told_count = serializers.IntegerField(help_text="Of the events, how many were told.")
    silenced_count = serializers.IntegerField(help_text="Of the events, how many a silence kept quiet.")
    told_times = serializers.IntegerField()
    told_at = optional_time()
    due_at = optional_time(help_text="When something is told next.")
    resolved_at = optional_time()
    subject_count = serializers.SerializerMethodField(
        help_text="In lists these three are there where `fields` says so."
    )
    open_subject_count = serializers.SerializerMethodField()
    silenced_subject_count = serializers.SerializerMethodField()

    def get_subject_count(self, alert: Alert) -> int:
        return int(self.context["members"][alert.pk].total)

    def get_open_subject_count(self, alert: Alert) -> int:
        return int(self.context["members"][alert.pk].open)

    def get_silenced_subject_count(self, alert: Alert) -> int:
        return int(self.context["members"][alert.pk].silenced)


class AlertFilters(Filters):
    status = any_of("status", Alert.Status)
    event_type = any_of("event_type", EventType)
    rule_id = ApiFilter(IntegerField(required=False, from_text=True, min_value=1), exactly("rule"))


def _counts(_view: Any, rows: Sequence[Alert], wanted: Sequence[str]) -> Mapping[str, Any]:
    return {"members": member_counts(rows) if not wanted or COUNTS & set(wanted) else {}}


ALERTS: Collection[Alert] = Collection(
    name="alerts",
    item=AlertSerializer,
    filters=AlertFilters,
    orderings={"opened_at": ("opened_at", "id")},
    default="-opened_at",
    wide={},
    on_demand=COUNTS,
    context_of=_counts,
)


class AlertMemberSerializer(SparseSerializer):
    subject = serializers.CharField(help_text="`instance:…`, `task:…`, `command:…` or `portal:…`.")
    service_name = serializers.CharField(source="service.name", default=None, allow_null=True)
    environment = serializers.CharField(source="service.environment", default=None, allow_null=True)
    instance_id = serializers.UUIDField(allow_null=True)
    node_name = serializers.CharField(source="instance.node_name", default=None, allow_null=True)
    task_name = optional_text()
    event_count = serializers.IntegerField()
    first_at = TimestampField()
    last_at = TimestampField()
    ended_at = optional_time()
    silence_id = serializers.IntegerField(allow_null=True)
    told = ObjectField(help_text="What messages say of its newest event.")


class AlertMemberFilters(Filters):
    state = ApiFilter(
        serializers.ChoiceField(choices=("open", "ended"), required=False),
        lambda state: OPEN if state == "open" else ~OPEN,
    )
    instance_id = ApiFilter(IdField(required=False), exactly("instance"))


MEMBERS: Collection[AlertMember] = Collection(
    name="alert-members",
    item=AlertMemberSerializer,
    filters=AlertMemberFilters,
    orderings={"id": ("id",)},
    default="id",
    wide={"told": "told"},
)


class AlertsView(NotificationView):
    @endpoint("Alerts, newest first", query=ALERTS.query, responds=ALERTS.page, tagged=True)
    def get(self) -> HttpResponseBase:
        return ALERTS.answer(self, alerts().defer("recent"))


class AlertView(NotificationView):
    @endpoint("One alert", query=detail_query(AlertSerializer), responds=AlertSerializer, refusals=(404,), tagged=True)
    def get(self) -> HttpResponseBase:
        alert = get_alert(self.params["alert_id"])
        return detail(self, AlertSerializer, alert, _counts(self, [alert], self.query.get("fields", ())))


class AlertMembersView(NotificationView):
    @endpoint("Whom an alert is about", query=MEMBERS.query, responds=MEMBERS.page, refusals=(404,), tagged=True)
    def get(self) -> HttpResponseBase:
        return MEMBERS.answer(self, members_of(get_alert(self.params["alert_id"])))
