"""Deliveries: the ledger."""

from uuid import UUID

from django.db.models import QuerySet

from notifications.errors import DeliveryUnknown
from notifications.models import Attempt, Delivery


def deliveries() -> QuerySet[Delivery]:
    """All with their channel and rule, newest first."""
    return Delivery.objects.select_related("channel", "rule").order_by("-created_at", "-id")


def get_delivery(delivery_id: UUID) -> Delivery:
    """Raises DeliveryUnknown."""
    delivery = deliveries().filter(pk=delivery_id).first()
    if delivery is None:
        raise DeliveryUnknown(f"delivery {delivery_id} was not found")
    return delivery


def attempts_of(delivery: Delivery) -> QuerySet[Attempt]:
    """The tries, first one first."""
    return Attempt.objects.filter(delivery=delivery).order_by("started_at", "id")


def may_go_again(delivery: Delivery) -> bool:
    """Whether it was given up, and somebody knows where it goes."""
    return delivery.status == Delivery.Status.FAILED and (delivery.channel_id is not None or bool(delivery.target))
