"""Rows of `notifications`."""

from datetime import timedelta

import factory
from django.utils import timezone

from notifications.models import Alert, AlertMember, Attempt, Channel, Delivery, Rule, Silence


class ChannelFactory(factory.django.DjangoModelFactory):
    """A webhook; `ChannelFactory(url="http://127.0.0.1:1/x")` knows its address."""

    class Meta:
        model = Channel
        exclude = ("url",)

    url = "https://hooks.example.com/services/abcd"
    name = factory.Sequence(lambda n: f"channel-{n}")
    provider = "custom"
    address = factory.SelfAttribute("url")
    address_masked = "https://hooks.example.com/...abcd"
    options = factory.LazyFunction(lambda: {"method": "POST"})


class RuleFactory(factory.django.DjangoModelFactory):
    """Tells of failed tasks; `RuleFactory(channels=[channel])` tells that channel."""

    class Meta:
        model = Rule
        skip_postgeneration_save = True

    name = factory.Sequence(lambda n: f"rule-{n}")
    event_types = factory.LazyFunction(lambda: ["task_failed"])

    @factory.post_generation
    def channels(self, create, extracted, **_kwargs):
        if create and extracted:
            self.channels.set(extracted)


class SilenceFactory(factory.django.DjangoModelFactory):
    """Of everything, from now on, for an hour."""

    class Meta:
        model = Silence

    reason = "maintenance"
    starts_at = factory.LazyFunction(timezone.now)
    ends_at = factory.LazyAttribute(lambda row: row.starts_at + timedelta(hours=1))


class AlertFactory(factory.django.DjangoModelFactory):
    """Of failed tasks, told and going on since now, without members."""

    class Meta:
        model = Alert

    rule = factory.SubFactory(RuleFactory)
    event_type = "task_failed"
    key = factory.Sequence(lambda n: f"task_failed:{n}")
    status = Alert.Status.FIRING
    opened_at = factory.LazyFunction(timezone.now)
    last_at = factory.SelfAttribute("opened_at")
    event_count = 1


class AlertMemberFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = AlertMember

    alert = factory.SubFactory(AlertFactory)
    subject = factory.Sequence(lambda n: f"portal:{n}")
    first_at = factory.LazyFunction(timezone.now)
    last_at = factory.SelfAttribute("first_at")


class DeliveryFactory(factory.django.DjangoModelFactory):
    """One that waits to be sent; `DeliveryFactory(failed=True)` was given up."""

    class Meta:
        model = Delivery

    class Params:
        failed = factory.Trait(
            status=Delivery.Status.FAILED,
            attempt_count=5,
            finished_at=factory.LazyFunction(timezone.now),
            status_code=200,
            provider_code="19021",
            response='{"code": 19021}',
            error="sign match fail",
        )

    channel = factory.SubFactory(ChannelFactory)
    channel_name = factory.LazyAttribute(lambda row: row.channel.name if row.channel else "gone")
    provider = "custom"
    dedupe_key = factory.Sequence(lambda n: f"key-{n}")
    event_type = "task_failed"
    title = "[Task failed] prod/shop sync"
    card = factory.LazyFunction(lambda: {"title": "[Task failed] prod/shop sync", "tone": "bad"})
    created_at = factory.LazyFunction(timezone.now)


class AttemptFactory(factory.django.DjangoModelFactory):
    """One that was answered well just now."""

    class Meta:
        model = Attempt

    delivery = factory.SubFactory(DeliveryFactory)
    channel = factory.SelfAttribute("delivery.channel")
    started_at = factory.LazyFunction(timezone.now)
    finished_at = factory.SelfAttribute("started_at")
    succeeded = True
    status_code = 200
