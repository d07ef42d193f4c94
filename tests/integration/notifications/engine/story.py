"""Events that happen at given seconds, and evaluations at given seconds, after one fixed moment."""

from datetime import UTC, datetime, timedelta

from agents.models import Event
from notifications.models import Delivery
from notifications.services.evaluate import evaluate
from tests.factories import EventFactory

BEGIN = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)  # a Monday


def at(seconds):
    return BEGIN + timedelta(seconds=seconds)


def begin():
    """The first look, which begins at the end of what there is."""
    evaluate(BEGIN)


def look(seconds):
    """What an evaluation at that second told, as (kind, event type, events, channel), in the order of the outbox."""
    known = set(Delivery.objects.values_list("pk", flat=True))
    evaluate(at(seconds))
    fresh = Delivery.objects.exclude(pk__in=known).order_by("channel_name")
    return [(row.kind, row.event_type, row.event_count, row.channel_name) for row in fresh]


def happen(kind, seconds, instance, **fields):
    """An event of an instance that was received at once."""
    return EventFactory(kind=kind, occurred_at=at(seconds), instance=instance, **fields)


def happen_to_all(kind, seconds, instances, **fields):
    """The same of many, in one statement."""
    rows = [
        Event(
            event_id=f"{kind}-{seconds}-{instance.pk}",
            kind=kind,
            occurred_at=at(seconds),
            received_at=at(seconds),
            instance=instance,
            service_id=instance.service_id,
            **fields,
        )
        for instance in instances
    ]
    Event.objects.bulk_create(rows)
    return rows
