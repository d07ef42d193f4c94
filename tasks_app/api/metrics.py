"""Figures over any stretch of time and any group of instances."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.response import Response

from agents.api.fleet import FleetView
from agents.api.queries import name
from agents.selectors.services import get_service
from controlplane.common.rest.fields import IdField, IntegerField, QuerySerializer, TimestampField
from controlplane.common.rest.views import endpoint
from tasks_app.selectors.durations import (
    BUCKET_WIDTHS_S,
    BUCKETS_MAX,
    OUTCOMES,
    Group,
    duration_series,
    durations,
)

STRETCH_DEFAULT = timedelta(hours=1)
STRETCH_MAX = timedelta(days=400)
INSTANCES_MAX = 200


class DurationsQuery(QuerySerializer):
    """Whose deliveries, and when; without times the last hour."""

    service = name(help_text="Exact name of a service; needs `environment`.")
    environment = name(help_text="Exact name of the environment.")
    task_name = name()
    instance_id = serializers.ListField(
        child=IdField(), required=False, max_length=INSTANCES_MAX, help_text="May be repeated: any group of instances."
    )
    outcome = serializers.ListField(
        child=serializers.ChoiceField(choices=tuple(OUTCOMES)),
        required=False,
        help_text="May be repeated; without it all.",
    )
    started_at = TimestampField(
        required=False, help_text="From then on, included; an hour before `ended_at` unless given."
    )
    ended_at = TimestampField(required=False, help_text="Until then, excluded; now unless given.")

    default_error_messages = {
        "environment_missing": "A service is known by name and environment",
        "stretch": "started_at must be before ended_at, by 400 days at most",
    }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "service" in attrs and "environment" not in attrs:
            self._refuse("environment", "environment_missing")
        ended_at = attrs.get("ended_at") or timezone.now()
        started_at = attrs.get("started_at") or ended_at - STRETCH_DEFAULT
        if not timedelta(0) < ended_at - started_at <= STRETCH_MAX:
            self._refuse("started_at", "stretch")
        return {**attrs, "started_at": started_at, "ended_at": ended_at}

    def _refuse(self, field: str, code: str) -> None:
        raise serializers.ValidationError(
            {field: [serializers.ErrorDetail(str(self.error_messages[code]), "value_error")]}
        )


class DurationSeriesQuery(DurationsQuery):
    bucket_s = IntegerField(
        from_text=True,
        required=False,
        min_value=1,
        max_value=86400 * 7,
        help_text=f"Width of a bucket in seconds; one of {', '.join(map(str, BUCKET_WIDTHS_S))} unless given. "
        f"At most {BUCKETS_MAX} buckets.",
    )


class DurationsSerializer(serializers.Serializer[Any]):
    """`durations` as fields of its own, in milliseconds; null where no delivery ended."""

    started_at = TimestampField()
    ended_at = TimestampField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        fields: dict[str, serializers.Field[Any, Any, Any, Any]] = super().get_fields()
        told = "Deliveries that ended and told how long they took."
        fields["count"] = serializers.IntegerField(source="durations.count", help_text=told)
        for field in ("min_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms"):
            fields[field] = serializers.IntegerField(source=f"durations.{field}", allow_null=True)
        return fields


class DurationBucketSerializer(DurationsSerializer):
    is_gap = serializers.BooleanField(help_text="Nothing ended here: break the line.")


class DurationSeriesSerializer(serializers.Serializer[Any]):
    started_at = TimestampField()
    ended_at = TimestampField()
    bucket_s = serializers.IntegerField()
    points = DurationBucketSerializer(many=True)


class _OfGroupView(FleetView):
    def group(self) -> Group:
        """The group that the query names; NotFound for a service that is not."""
        query = self.query
        service = None
        if "service" in query:
            service = get_service(query["service"], query["environment"], environments=self.environments)
        return Group(
            started_at=query["started_at"],
            ended_at=query["ended_at"],
            service=service,
            environment=query.get("environment"),
            task_name=query.get("task_name"),
            instance_ids=query.get("instance_id", ()),
            outcomes=query.get("outcome", tuple(OUTCOMES)),
            environments=self.environments,
        )


class DurationsView(_OfGroupView):
    """Nearest-rank percentiles of single deliveries, never averages of averages."""

    @endpoint("Percentiles of task durations", query=DurationsQuery, responds=DurationsSerializer, refusals=(404,))
    def get(self) -> Response:
        group = self.group()
        body = {"started_at": group.started_at, "ended_at": group.ended_at, "durations": durations(group)}
        return Response(DurationsSerializer(body).data)


class DurationSeriesView(_OfGroupView):
    """The same per bucket of time, ready for a chart. Buckets in which nothing ended are there and are marked."""

    @endpoint(
        "Percentiles of task durations over time",
        query=DurationSeriesQuery,
        responds=DurationSeriesSerializer,
        refusals=(404,),
    )
    def get(self) -> Response:
        group = self.group()
        width_s, buckets = duration_series(group, width_s=self.query.get("bucket_s"))
        body = {"started_at": group.started_at, "ended_at": group.ended_at, "bucket_s": width_s, "points": buckets}
        return Response(DurationSeriesSerializer(body).data)
