"""What is put into the outbox: once, in the language of the channel, in the transaction that decides it."""

import uuid
from datetime import timedelta

import pytest
from django.db import transaction

from controlplane.common.changes import subject_of
from notifications.models import Delivery
from notifications.services.bell import bell
from notifications.services.ledger import next_delivery_id
from notifications.services.outbox import KEY_MAX_CHARS, enqueue, event_key
from tests.factories import AlertFactory, ChannelFactory, RuleFactory
from tests.integration.notifications.outbox import AT, fact, telling, told

pytestmark = pytest.mark.django_db


def put(channels, of=None, *, key="e1", rule=None, alert=None):
    return enqueue(channels, of or telling(), rule=rule, alert=alert, dedupe_key=key, now=AT)


def test_each_channel_has_a_delivery_of_its_own():
    one, other = ChannelFactory(name="a"), ChannelFactory(name="b", provider="feishu")
    rule, alert = RuleFactory(), AlertFactory()

    made = put([one, other], telling(event_count=7), rule=rule, alert=alert)

    assert sorted(Delivery.objects.values_list("channel_name", "provider", "dedupe_key", "status", "kind")) == [
        ("a", "custom", f"{one.pk}:e1", "pending", "alert"),
        ("b", "feishu", f"{other.pk}:e1", "pending", "alert"),
    ]
    assert {each.pk for each in made} == set(Delivery.objects.values_list("pk", flat=True))
    row = Delivery.objects.get(channel=one)
    assert (row.rule, row.alert, row.event_type, row.event_count) == (rule, alert, "task_failed", 7)
    assert (row.event_at, row.created_at, row.attempt_count, row.target) == (AT, AT, 0, "")


def test_a_card_is_frozen_in_the_language_and_zone_of_the_channel():
    put(
        [
            ChannelFactory(name="en"),
            ChannelFactory(name="zh", language="zh-hans", time_zone="Asia/Shanghai"),
        ]
    )

    english, chinese = Delivery.objects.order_by("channel_name")
    assert english.card["title"] == english.title
    assert "10:00:00" in str(english.card)
    assert "18:00:00" in str(chinese.card)


def test_the_same_key_is_told_once_a_channel():
    channel, other = ChannelFactory(), ChannelFactory()
    first = put([channel])

    again = put([channel, other])

    assert ([each.channel for each in first], [each.channel for each in again]) == ([channel], [other])
    assert Delivery.objects.count() == 2


def test_a_channel_that_is_off_is_not_told():
    assert put([ChannelFactory(enabled=False)]) == []
    assert not Delivery.objects.exists()


def test_a_channel_is_not_told_of_its_own_failure():
    failing, other = ChannelFactory(), ChannelFactory()
    about = fact(event_type="channel_failing", portal_subject=subject_of(failing), task_name="")

    made = put([failing, other], telling(event_type="channel_failing", facts=(about,)))

    assert [each.channel for each in made] == [other]


def test_nobody_to_tell_is_nothing_to_do(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert put([]) == []


@pytest.mark.parametrize("count", [1, 3])
def test_many_channels_are_two_statements(django_assert_num_queries, count):
    channels = ChannelFactory.create_batch(count)

    with django_assert_num_queries(2):
        put(channels)


def test_a_transaction_that_ends_in_an_error_leaves_nothing():
    channel = ChannelFactory()

    def decide():
        with transaction.atomic():
            put([channel])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        decide()

    assert not Delivery.objects.exists()


def test_the_bell_rings_when_it_is_committed(django_capture_on_commit_callbacks):
    channel = ChannelFactory()
    bell.clear()

    with django_capture_on_commit_callbacks(execute=True):
        put([channel])
        assert not bell.is_set()

    assert bell.is_set()
    bell.clear()
    with django_capture_on_commit_callbacks(execute=True):
        put([channel])
    assert not bell.is_set()


def test_what_no_database_stores_is_cleaned():
    channel = ChannelFactory()

    put([channel], telling(facts=(fact(message="a\x00b\ud800"),)), key="k\x00")

    assert "a\ufffdb\ufffd" in str(Delivery.objects.get().card)


def test_keys_that_are_too_long_are_still_told_apart():
    channel = ChannelFactory()
    keys = ["x" * 2000 + end for end in "aab"]

    made = [len(put([channel], key=key)) for key in keys]

    assert made == [1, 0, 1]
    assert {len(key) for key in Delivery.objects.values_list("dedupe_key", flat=True)} == {KEY_MAX_CHARS}


def test_what_comes_at_once_stays_in_order():
    channel = ChannelFactory()

    made = told(channel, 50)

    assert list(Delivery.objects.order_by("created_at", "id")) == made


def test_ids_are_of_version_7():
    ids = [next_delivery_id() for _ in range(5000)]

    assert {(each.version, each.variant) for each in ids} == {(7, uuid.RFC_4122)}
    assert ids == sorted(ids)
    assert len(set(ids)) == 5000


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, "e1"),
        ({"event_type": "instance_offline"}, "e1"),
        (
            {"event_type": "task_missed_start", "scheduled_at": AT + timedelta(minutes=1)},
            "prod:shop:sync:2026-03-02T10:01:00+00:00:task_missed_start",
        ),
        (
            {"event_type": "instance_offline", "instance_id": uuid.UUID(int=7), "task_name": ""},
            "prod:shop:00000000-0000-0000-0000-000000000007:2026-03-02T10:00:00+00:00:instance_offline",
        ),
        ({"event_type": "instance_health_changed", "instance_id": uuid.UUID(int=7)}, "e1"),
    ],
)
def test_keys_are_those_of_the_contract(changes, key):
    assert event_key(fact(**changes)) == key
