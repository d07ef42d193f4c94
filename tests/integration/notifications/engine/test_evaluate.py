"""From events to the outbox, step by step."""

import pytest

from notifications.models import Alert, AlertMember, Delivery, RuleCursor
from tests.factories import ChannelFactory, EventFactory, InstanceFactory, RuleFactory
from tests.integration.notifications.engine.story import at, begin, happen, happen_to_all, look

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def channel():
    return ChannelFactory(name="ops")


def rule(channel, *event_types, **fields):
    return RuleFactory(event_types=list(event_types), channels=[channel], **fields)


def test_what_happened_before_the_first_look_is_not_told(channel):
    rule(channel, "task_failed", wait_s=0)
    EventFactory(kind="task.failed", occurred_at=at(-10))

    begin()

    assert look(5) == []


def test_an_event_is_told_at_once_where_nothing_is_waited_for(channel):
    rule(channel, "task_failed", wait_s=0)
    begin()
    happen("task.failed", 1, InstanceFactory())

    assert look(1) == [("alert", "task_failed", 1, "ops")]
    assert look(2) == []


def test_events_of_one_group_are_waited_for_and_told_as_one(channel):
    rule(channel, "task_failed", wait_s=10)
    begin()
    instances = InstanceFactory.create_batch(3)
    happen("task.failed", 1, instances[0])
    assert look(2) == []
    happen("task.failed", 5, instances[1])
    happen("task.failed", 9, instances[2])

    assert look(10) == []
    assert look(11) == [("alert", "task_failed", 3, "ops")]


def test_trouble_that_ends_is_told_to_be_over(channel):
    rule(channel, "instance_offline", wait_s=0)
    begin()
    instances = InstanceFactory.create_batch(2)
    happen_to_all("instance.offline", 1, instances)
    assert look(1) == [("alert", "instance_offline", 2, "ops")]
    happen("instance.online", 20, instances[0])
    assert look(20) == []
    happen("instance.online", 30, instances[1])

    assert look(30) == [("resolved", "instance_offline", 2, "ops")]
    alert = Alert.objects.get()
    assert (alert.status, alert.resolved_at, alert.told_times) == ("resolved", at(30), 2)
    assert set(AlertMember.objects.values_list("ended_at", flat=True)) == {at(20), at(30)}


def test_a_success_ends_the_trouble_of_its_task(channel):
    rule(channel, "task_failed", wait_s=0)
    begin()
    instance = InstanceFactory()
    happen("task.failed", 1, instance, task_name="sync")
    look(1)
    happen("task.succeeded", 2, instance, task_name="other")
    assert look(2) == []
    happen("task.succeeded", 3, instance, task_name="sync")

    assert look(3) == [("resolved", "task_failed", 1, "ops")]


def test_the_cursor_stays_where_a_look_was_rolled_back(channel, monkeypatch):
    rule(channel, "task_failed", wait_s=0)
    begin()
    happen("task.failed", 1, InstanceFactory())
    before = RuleCursor.objects.values().get()

    def fail(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("notifications.services.evaluate.hand_over", fail)
        with pytest.raises(KeyboardInterrupt):
            look(1)

    assert RuleCursor.objects.values().get() == before
    assert not Alert.objects.exists()
    assert look(2) == [("alert", "task_failed", 1, "ops")]
    assert Delivery.objects.count() == 1
