"""Deliveries: what was told to whom, what became of it, and each try."""

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework import serializers

from agents.api.serializers import optional_text, optional_time
from controlplane.access.actors import actor_of
from controlplane.common.rest.collections import Collection, detail, detail_query
from controlplane.common.rest.fields import IdField, IntegerField, ObjectField, TextField, TimestampField
from controlplane.common.rest.filters import ApiFilter, Filters, any_of, exactly
from controlplane.common.rest.sparse import SparseSerializer
from controlplane.common.rest.views import endpoint
from notifications.api.base import NotificationView
from notifications.models import Delivery, EventType, Provider
from notifications.selectors.deliveries import attempts_of, get_delivery
from notifications.services.resending import send_one_again

TEXT_MAX = 255


class DeliverySerializer(SparseSerializer):
    id = serializers.UUIDField()
    channel_id = serializers.IntegerField(allow_null=True, help_text="Null where the channel was deleted.")
    channel_name = serializers.CharField()
    provider = serializers.ChoiceField(choices=Provider.choices)
    rule_id = serializers.IntegerField(allow_null=True)
    alert_id = serializers.IntegerField(allow_null=True)
    kind = serializers.ChoiceField(choices=Delivery.Kind.choices)
    event_type = optional_text()
    event_count = serializers.IntegerField()
    title = serializers.CharField()
    status = serializers.ChoiceField(choices=Delivery.Status.choices)
    folded_into = serializers.UUIDField(source="folded_into_id", allow_null=True, help_text="The digest that has it.")
    attempt_count = serializers.IntegerField()
    next_attempt_at = optional_time()
    event_at = optional_time()
    created_at = TimestampField()
    finished_at = optional_time()
    status_code = serializers.IntegerField(allow_null=True, help_text="Of the last attempt, as the next three.")
    provider_code = optional_text()
    response = optional_text()
    error = optional_text()
    card = ObjectField(help_text="The message as it was written, before the provider had it in its own way.")


class AttemptSerializer(serializers.Serializer[Any]):
    started_at = TimestampField()
    finished_at = optional_time()
    succeeded = serializers.BooleanField(allow_null=True)
    status_code = serializers.IntegerField(allow_null=True)
    provider_code = optional_text()
    response = optional_text()
    error = optional_text()


class DeliveryDetailSerializer(DeliverySerializer):
    attempts = serializers.SerializerMethodField()

    def get_attempts(self, delivery: Delivery) -> list[dict[str, Any]]:
        return [dict(each) for each in AttemptSerializer(attempts_of(delivery), many=True).data]


class DeliveryFilters(Filters):
    status = any_of("status", Delivery.Status)
    kind = any_of("kind", Delivery.Kind)
    provider = any_of("provider", Provider)
    event_type = any_of("event_type", EventType)
    channel_id = ApiFilter(IntegerField(required=False, from_text=True, min_value=1), exactly("channel"))
    rule_id = ApiFilter(IntegerField(required=False, from_text=True, min_value=1), exactly("rule"))
    alert_id = ApiFilter(IntegerField(required=False, from_text=True, min_value=1), exactly("alert"))
    folded_into = ApiFilter(IdField(required=False), exactly("folded_into"))
    created_after = ApiFilter(TimestampField(required=False, help_text="Inclusive."), exactly("created_at__gte"))
    created_before = ApiFilter(TimestampField(required=False, help_text="Inclusive."), exactly("created_at__lte"))
    q = ApiFilter(
        TextField(required=False, allow_blank=True, max_length=TEXT_MAX, help_text="Sought in titles, in any case."),
        exactly("title__icontains"),
    )


DELIVERIES: Collection[Delivery] = Collection(
    name="deliveries",
    item=DeliverySerializer,
    filters=DeliveryFilters,
    orderings={"created_at": ("created_at", "id")},
    default="-created_at",
    wide={"card": "card", "response": "response"},
    on_demand=frozenset({"card", "response"}),
)


class DeliveriesView(NotificationView):
    """`card` and `response` are there where `fields` names them."""

    @endpoint("Deliveries, newest first", query=DELIVERIES.query, responds=DELIVERIES.page, tagged=True)
    def get(self) -> HttpResponseBase:
        return DELIVERIES.answer(self, Delivery.objects.defer("target", "dedupe_key"))


class DeliveryView(NotificationView):
    @endpoint(
        "One delivery with its attempts",
        query=detail_query(DeliveryDetailSerializer),
        responds=DeliveryDetailSerializer,
        refusals=(404,),
        tagged=True,
    )
    def get(self) -> HttpResponseBase:
        return detail(self, DeliveryDetailSerializer, get_delivery(self.params["delivery_id"]))


class DeliveryRetryView(NotificationView):
    @endpoint("Send again what was given up", responds=DeliveryDetailSerializer, refusals=(404, 409))
    def post(self) -> HttpResponseBase:
        """It keeps its id, by which a far side may know it again. 409 where it was not given up."""
        delivery = get_delivery(self.params["delivery_id"])
        send_one_again(delivery, actor=actor_of(self.request))
        return detail(self, DeliveryDetailSerializer, get_delivery(delivery.pk))
