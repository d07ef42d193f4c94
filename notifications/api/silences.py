"""Silences: made, looked at and ended."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Q
from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework import serializers
from rest_framework.response import Response

from agents.api.serializers import optional_text, optional_time
from controlplane.access.actors import actor_of
from controlplane.common.rest.collections import Collection, detail, detail_query
from controlplane.common.rest.fields import FlagField, TextField, TimestampField
from controlplane.common.rest.filters import ApiFilter, Filters
from controlplane.common.rest.sparse import SparseSerializer
from controlplane.common.rest.views import endpoint
from notifications.api.base import (
    NotificationView,
    ServiceScopeSerializer,
    scoped_environments,
    scoped_selector,
    scoped_tasks,
    told_types,
)
from notifications.api.bodies import ScopeBody, WallTimeField, ZoneField, event_types, model_values, seconds, weekdays
from notifications.api.replaying import ReplayBody, ReplaySerializer, replayed, told_of
from notifications.models import Silence
from notifications.selectors.silences import get_silence, live_q, silences, standing_of
from notifications.services.silences import check_silence, create_silence, end_silence
from notifications.silencing import always

REASON_MAX = 2000
WEEK_MIN = 7 * 24 * 60
STATES = ("active", "between", "upcoming", "over", "cancelled")


class SilenceSerializer(SparseSerializer):
    id = serializers.IntegerField()
    reason = serializers.CharField()
    state = serializers.SerializerMethodField(help_text=f"{', '.join(STATES)}; `between` two rounds.")
    round_begins_at = serializers.SerializerMethodField(help_text="Of the round in force, else of the next one.")
    round_ends_at = serializers.SerializerMethodField()
    event_types = told_types()
    service_scopes = ServiceScopeSerializer(many=True)
    environments = scoped_environments()
    selector = scoped_selector()
    task_pattern = scoped_tasks()
    starts_at = TimestampField()
    ends_at = optional_time()
    weekdays = serializers.ListField(child=serializers.IntegerField(), help_text="0 is Monday.")
    start_time = WallTimeField(help_text="Set where it recurs.")
    duration_min = serializers.IntegerField(allow_null=True)
    time_zone = optional_text()
    cancelled_at = optional_time()
    created_by = optional_text(source="created_by_name")
    created_at = TimestampField()
    updated_at = TimestampField()

    def get_state(self, silence: Silence) -> str:
        return standing_of(silence, now=timezone.now()).state

    def get_round_begins_at(self, silence: Silence) -> str | None:
        found = standing_of(silence, now=timezone.now()).round
        return TimestampField().to_representation(found.begins) if found else None

    def get_round_ends_at(self, silence: Silence) -> str | None:
        found = standing_of(silence, now=timezone.now()).round
        return TimestampField().to_representation(found.ends) if found and found.ends else None


class SilenceFilters(Filters):
    live = ApiFilter(
        FlagField(help_text="Those that are in force or may be again, or those that are over."),
        lambda live: live_q(timezone.now()) if live else ~live_q(timezone.now()),
    )
    recurs = ApiFilter(
        FlagField(help_text="Maintenance windows, or silences for once."),
        lambda recurs: Q(start_time__isnull=not recurs),
    )


SILENCES: Collection[Silence] = Collection(
    name="silences",
    item=SilenceSerializer,
    filters=SilenceFilters,
    orderings={"starts_at": ("starts_at", "id")},
    default="-starts_at",
)


class SilenceDraftBody(ScopeBody):
    """Each week where `start_time` is given, else all the time."""

    event_types = event_types(required=False, help_text="Empty silences all.")
    weekdays = weekdays("On which a round begins.", required=False)
    start_time = WallTimeField(required=False)
    duration_min = seconds(required=False, allow_null=True, min_value=1, max_value=WEEK_MIN)
    time_zone = ZoneField(required=False)


class SilenceBody(SilenceDraftBody):
    """For once, or each week where `start_time` is given."""

    reason = TextField(max_length=REASON_MAX)
    starts_at = TimestampField(required=False, help_text="Now unless said.")
    ends_at = TimestampField(required=False, allow_null=True, help_text="Of a recurring one: after it no round begins.")


class SilenceReplayBody(ReplayBody):
    silence = SilenceDraftBody(help_text="A draft; nothing of it is stored.")


def values_of(body: Mapping[str, Any]) -> dict[str, Any]:
    values = model_values(body)
    values.setdefault("starts_at", timezone.now())
    return values


class SilencesView(NotificationView):
    @endpoint("Silences", query=SILENCES.query, responds=SILENCES.page, tagged=True)
    def get(self) -> HttpResponseBase:
        return SILENCES.answer(self, silences())

    @endpoint(
        "Silence something",
        body=SilenceBody,
        responds=SilenceSerializer,
        example={
            "reason": "the database moves",
            "service_scopes": [{"name": "web/shop", "environment": "prod"}],
            "weekdays": [6],
            "start_time": "02:00",
            "duration_min": 120,
            "time_zone": "Europe/Berlin",
        },
    )
    def post(self) -> HttpResponseBase:
        """What is in its scope is counted and not told. At the end one summary tells what is still broken."""
        made = create_silence(values_of(self.body), actor=actor_of(self.request))
        return detail(self, SilenceSerializer, get_silence(made.pk))


class SilenceReplayView(NotificationView):
    @endpoint(
        "What would have been told beside a silence",
        body=SilenceReplayBody,
        responds=ReplaySerializer,
        example={"days": 7, "silence": {"environments": ["dev"], "event_types": ["task_failed"]}},
    )
    def post(self) -> HttpResponseBase:
        """Runs all rules that are on over the stored events of the last `days`, as if the silence had been in force all
        the time, or in each of its rounds. Nothing is stored or sent."""
        days = self.body["days"]
        draft = always(Silence(reason="draft", **model_values(self.body["silence"])), days=days, now=timezone.now())
        with told_of("silence"):
            check_silence(draft)
        return replayed(draft, days=days)


class SilenceView(NotificationView):
    @endpoint(
        "One silence", query=detail_query(SilenceSerializer), responds=SilenceSerializer, refusals=(404,), tagged=True
    )
    def get(self) -> HttpResponseBase:
        return detail(self, SilenceSerializer, get_silence(self.params["silence_id"]))


class SilenceEndView(NotificationView):
    @endpoint("End a silence", responds=SilenceSerializer, refusals=(404, 409))
    def post(self) -> HttpResponseBase:
        """At once and for ever. 409 where it is over."""
        ended = end_silence(get_silence(self.params["silence_id"]), actor=actor_of(self.request))
        return Response(SilenceSerializer(get_silence(ended.pk)).data)
