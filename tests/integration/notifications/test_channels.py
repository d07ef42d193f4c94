"""Channels as they are made, changed, tried and deleted, and what history is told of it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import Event
from controlplane.common.actors import Actor
from controlplane.common.changes import subject_of
from controlplane.common.errors import Invalid
from notifications.errors import ChannelBusy, ChannelNameTaken, ChannelUnknown
from notifications.models import Attempt, Channel, Delivery, DeliveryTotals, Rule
from notifications.providers.base import Target
from notifications.secrets import decrypt, encrypt
from notifications.selectors.channels import state_of, uses_of
from notifications.selectors.deliveries import Lane, due_lanes
from notifications.selectors.targets import target_of, thawed_route
from notifications.services.bell import bell
from notifications.services.channels import (
    WAS_OFF,
    create_channel,
    delete_channel,
    send_test,
    set_enabled,
    update_channel,
)
from notifications.services.claims import claim
from notifications.services.outcomes import record
from tests.factories import AttemptFactory, ChannelFactory, DeliveryFactory, RuleFactory
from tests.integration.notifications.outbox import AT, GOOD, REFUSED, SILENT, far, go, lane_of, statuses, told

pytestmark = pytest.mark.django_db
__all__ = ["far"]

ANN = Actor("ann", via="console")
URL = "https://hooks.example.com/services/s3cr3tpart"
VALUES = {"name": "on call", "provider": "custom", "address": URL}
OPTIONS = {
    "method": "POST",
    "query_params": [{"key": "token", "value": "t0ken"}, {"key": "task", "value": "{{ task_name }}"}],
    "headers": [{"key": "Authorization", "value": "Bearer abc"}, {"key": "X-Team", "value": "ops"}],
}


def make(**changes):
    return create_channel(VALUES | changes, actor=ANN)


def history():
    return list(Event.objects.filter(subject__startswith="notifications.channel").order_by("id"))


def secrets_are_withheld(*secrets):
    told_of = " ".join(f"{event.message} {event.meta}" for event in Event.objects.all())
    return not any(secret in told_of for secret in secrets)


def test_what_is_secret_is_stored_encrypted_and_read_again(far):
    channel = make(secret="s1gn", options=OPTIONS)

    stored = Channel.objects.get()
    raw = f"{stored.address} {stored.secret} {stored.options} {stored.address_masked}"
    assert not any(secret in raw for secret in (URL, "s3cr3tpart", "s1gn", "Bearer abc"))
    assert stored.address_masked == "...part"
    assert target_of(channel) == Target(provider="custom", address=URL, secret="s1gn", options=OPTIONS, language="en")


def test_headers_that_are_encrypted_already_are_not_encrypted_twice(far):
    headers = [{"key": "Authorization", "value": encrypt("Bearer abc")}]

    channel = make(options={"headers": headers})
    update_channel(channel, {"options": channel.options | {"method": "GET"}}, actor=ANN)

    stored = Channel.objects.get()
    assert decrypt(stored.options["headers"][0]["value"]) == "Bearer abc"
    assert stored.options["headers"][0]["value"] == headers[0]["value"]


def test_a_channel_that_its_provider_cannot_work_with_is_not_made(far, monkeypatch):
    def check(target):
        raise Invalid("no such host", field="address")

    monkeypatch.setattr(far, "check", check)
    with pytest.raises(Invalid):
        make()

    assert not Channel.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "),
        ("name", "x" * 256),
        ("provider", "pigeon"),
        ("language", "xx"),
        ("time_zone", "Mars/Olympus"),
        ("per_minute", 0),
        ("per_second", -1),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_field(far, field, value):
    with pytest.raises(Invalid) as refused:
        make(**{field: value})

    assert refused.value.field == field
    channel = make()
    with pytest.raises(Invalid):
        update_channel(channel, {field: value}, actor=ANN)
    assert not any(value == getattr(each, field) for each in Channel.objects.all())


def test_a_name_is_taken_once(far):
    make()
    other = make(name="b")

    with pytest.raises(ChannelNameTaken, match="notification channel name already exists"):
        make()
    with pytest.raises(ChannelNameTaken):
        update_channel(other, {"name": "on call"}, actor=ANN)

    assert sorted(Channel.objects.values_list("name", flat=True)) == ["b", "on call"]


def test_a_change_leaves_secrets_that_it_does_not_name(far):
    channel = make(secret="s1gn")

    changed = update_channel(channel, {"name": "night", "time_zone": "Asia/Shanghai"}, actor=ANN)

    assert (changed.name, changed.time_zone) == ("night", "Asia/Shanghai")
    assert (target_of(changed).address, target_of(changed).secret) == (URL, "s1gn")
    again = update_channel(changed, {"secret": ""}, actor=ANN)
    assert (target_of(again).address, target_of(again).secret) == (URL, "")


def test_a_change_keeps_what_happened_meanwhile(far):
    channel = make()
    now = timezone.now()
    Channel.objects.update(last_success_at=now, per_minute=7)

    update_channel(channel, {"name": "night"}, actor=ANN)

    stored = Channel.objects.get()
    assert (stored.name, stored.last_success_at, stored.per_minute) == ("night", now, 7)


def test_a_change_of_a_channel_that_is_gone(far):
    channel = make()
    Channel.objects.all().delete()

    for change in (lambda: set_enabled(channel, False, actor=ANN), lambda: delete_channel(channel, actor=ANN)):
        with pytest.raises(ChannelUnknown):
            change()
    with pytest.raises(ChannelUnknown):
        send_test(channel)


def test_secrets_whose_key_is_gone_are_asked_for_again(far):
    channel = make(secret="s1gn")
    Channel.objects.update(address="x", secret="y")
    channel.refresh_from_db()

    with pytest.raises(Invalid) as refused:
        update_channel(channel, {"options": {}}, actor=ANN)
    changed = update_channel(channel, {"address": URL, "secret": ""}, actor=ANN)

    assert refused.value.field == "address"
    assert target_of(changed).address == URL
    assert secrets_are_withheld(URL, "s1gn")


# --- history


def test_history_tells_who_did_what_and_no_secret(far):
    channel = make(secret="s1gn", options=OPTIONS)
    update_channel(channel, {"name": "night", "address": f"{URL}2", "secret": "other"}, actor=ANN)
    delete_channel(channel, actor=ANN)

    made, changed, gone = history()
    assert [each.kind for each in (made, changed, gone)] == ["object.created", "object.changed", "object.deleted"]
    assert {(each.actor, each.subject, each.meta["via"]) for each in (made, changed, gone)} == {
        ("ann", made.subject, "console")
    }
    assert made.meta["after"]["name"] == "on call"
    assert made.meta["after"]["options"]["query_params"] == {"token": "…", "task": "{{ task_name }}"}
    assert made.meta["after"]["options"]["headers"] == ["Authorization", "X-Team"]
    assert {"address", "secret"} <= set(made.meta["withheld"])
    assert (changed.meta["before"], changed.meta["after"]) == ({"name": "on call"}, {"name": "night"})
    assert sorted(changed.meta["withheld"]) == ["address", "secret"]
    assert secrets_are_withheld("s3cr3tpart", "s1gn", "other", "t0ken", "Bearer abc", "'ops'", "gAAAA")


@pytest.mark.parametrize(
    ("options", "withheld"),
    [
        (OPTIONS | {"headers": [{"key": "Authorization", "value": "Bearer xyz"}]}, ["options.secret_headers"]),
        (OPTIONS | {"query_params": [{"key": "token", "value": "new"}]}, ["options.query_params.token"]),
    ],
    ids=["headers", "a token"],
)
def test_a_secret_of_the_options_is_told_to_have_changed(far, options, withheld):
    channel = make(options=OPTIONS)

    update_channel(channel, {"options": options}, actor=ANN)

    assert history()[-1].meta["withheld"] == withheld
    assert secrets_are_withheld("xyz", "'new'")


def test_a_change_that_changes_nothing_is_no_change(far):
    channel = make(secret="s1gn", options=OPTIONS)
    before = Channel.objects.get().updated_at

    update_channel(channel, {"address": URL, "secret": "s1gn", "options": OPTIONS, "name": "on call"}, actor=ANN)
    set_enabled(channel, True, actor=ANN)

    assert len(history()) == 1
    assert Channel.objects.get().updated_at == before


def test_an_error_after_a_change_leaves_no_trace(far, monkeypatch):
    channel = make()

    def broken(_changes):
        raise ZeroDivisionError

    monkeypatch.setattr("notifications.services.channels.record_changes", broken)
    changes = [
        lambda: make(name="b"),
        lambda: update_channel(channel, {"name": "c"}, actor=ANN),
        lambda: delete_channel(channel, actor=ANN),
    ]
    for change in changes:
        with pytest.raises(ZeroDivisionError):
            change()

    assert list(Channel.objects.values_list("name", flat=True)) == ["on call"]


# --- off, and on again


def test_what_waits_for_a_channel_that_is_off_goes_out_when_it_is_on_again(far, django_capture_on_commit_callbacks):
    channel = make()
    told(channel, 2)
    set_enabled(channel, False, actor=ANN)
    assert (go(lane_of(channel)), due_lanes(timezone.now())) == (0, [])
    assert state_of(Channel.objects.get()) == "off"
    bell.clear()

    with django_capture_on_commit_callbacks(execute=True):
        set_enabled(channel, True, actor=ANN)

    assert bell.is_set()
    assert due_lanes(timezone.now()) == [lane_of(channel)]
    assert go(lane_of(channel)) == 2


@pytest.mark.parametrize(
    ("change", "at_once"),
    [({"address": URL + "2"}, True), ({"options": {"method": "GET"}}, True), ({"name": "b"}, False)],
)
def test_a_change_that_may_help_is_tried_at_once(far, change, at_once):
    channel = make()
    far.verdict = SILENT
    told(channel, 2)
    go(lane_of(channel))
    assert go(lane_of(channel)) == 0

    update_channel(channel, change, actor=ANN)

    assert (lane_of(channel) in due_lanes(AT)) is at_once
    assert bool(go(lane_of(channel))) is at_once


# --- deleted


def test_what_is_queued_for_a_deleted_channel_still_goes_out_as_it_would_have(far):
    channel = make(secret="s1gn", options=OPTIONS, per_minute=9, time_zone="Asia/Shanghai", language="zh-hans")
    told(channel, 3)
    go(lane_of(channel), times=1)

    delete_channel(channel, actor=ANN)

    waiting = Delivery.objects.filter(status="pending")
    assert waiting.count() == 2
    for row in waiting:
        assert URL not in row.target
        route = thawed_route(row.target)
        assert (route.budget.per_minute, route.time_zone) == (9, "Asia/Shanghai")
        assert route.target == far.sent[0].target
    assert Delivery.objects.get(status="delivered").target == ""
    assert go(Lane(None, "on call")) == 2
    assert {each.target.address for each in far.sent} == {URL}


def test_what_is_under_way_while_its_channel_is_deleted_ends_as_it_would_have(far):
    channel = make()
    told(channel, 2)
    one = claim(lane_of(channel))
    delete_channel(channel, actor=ANN)

    assert claim(Lane(None, "on call")) is None
    record(one, SILENT)

    row = Delivery.objects.get(pk=one.delivery.pk)
    assert (row.status, bool(row.target), row.channel) == ("pending", True, None)
    assert go(Lane(None, "on call"), now=row.next_attempt_at) == 2


def test_what_waited_for_a_channel_that_was_off_is_given_up_with_it(far):
    channel = make()
    told(channel, 2)
    set_enabled(channel, False, actor=ANN)

    delete_channel(channel, actor=ANN)

    assert set(Delivery.objects.values_list("status", "error", "target")) == {("failed", WAS_OFF, "")}
    assert list(DeliveryTotals.objects.values_list("status", "count")) == [("failed", 2)]


def test_the_rule_of_its_own_goes_with_it_and_others_stay(far):
    channel = make()
    RuleFactory(name="own", own_of=channel, channels=[channel])
    RuleFactory(name="shared", channels=[channel])

    delete_channel(channel, actor=ANN)

    assert list(Rule.objects.values_list("name", flat=True)) == ["shared"]


# --- tried


def test_a_test_is_sent_and_in_the_ledger(far):
    channel = make(language="zh-hans")

    verdict = send_test(channel, "Does this arrive?")

    assert verdict == GOOD
    assert far.titles == ["[测试]"]
    row = Delivery.objects.get()
    assert (row.kind, row.status, row.channel, row.attempt_count, row.title) == (
        "test",
        "delivered",
        channel,
        1,
        "[测试]",
    )
    assert Attempt.objects.get().succeeded is True
    assert far.sent[0].delivery_id == str(row.pk)


def test_a_test_that_fails_is_told_to_who_tests_and_not_tried_again(far):
    channel = make()
    far.verdict = SILENT

    verdict = send_test(channel)

    assert verdict == SILENT
    row = Delivery.objects.get()
    assert (row.status, row.attempt_count, row.error) == ("failed", 1, "timed out")
    stored = Channel.objects.get()
    assert (stored.failing_since, stored.held_until, stored.last_error) == (None, None, "timed out")
    assert not Event.objects.filter(kind="channel.failing").exists()


def test_a_test_that_arrives_is_a_recovery(far):
    channel = make()
    told(channel)
    far.verdict = REFUSED
    go(lane_of(channel))
    far.verdict = GOOD

    send_test(channel)

    assert Channel.objects.get().failing_since is None
    assert Event.objects.filter(kind="channel.recovered", subject=subject_of(channel)).count() == 1


@pytest.mark.parametrize("changes", [{"enabled": False}, {"held_until": timezone.now() + timedelta(hours=1)}])
def test_a_test_goes_out_where_others_wait(far, changes):
    channel = ChannelFactory(**changes)

    assert send_test(channel).ok


def test_a_test_does_not_wait_for_what_is_under_way(far):
    channel = ChannelFactory()
    told(channel, 2)
    under_way = claim(lane_of(channel))

    assert send_test(channel).ok

    record(under_way, GOOD)
    assert statuses() == {"delivered": 2, "pending": 1}


def test_a_test_counts_against_the_budget_and_is_refused_without_one(far):
    channel = make(per_second=5, per_minute=2)
    send_test(channel)
    send_test(channel)
    told(channel)

    with pytest.raises(ChannelBusy) as refused:
        send_test(channel)

    assert 55 <= refused.value.retry_after_s <= 60
    assert (len(far.sent), claim(lane_of(channel))) == (2, None)


def test_when_to_test_again_is_when_the_budget_has_a_place(far):
    channel = make(per_second=5, per_minute=2)
    delivery = DeliveryFactory(channel=channel, status="delivered")
    for ago_s in (50, 30, 10):
        AttemptFactory(delivery=delivery, started_at=timezone.now() - timedelta(seconds=ago_s))

    with pytest.raises(ChannelBusy) as refused:
        send_test(channel)

    assert 28 <= refused.value.retry_after_s <= 30


def test_what_a_channel_used_is_what_its_budget_counts(far):
    channel = make(per_second=5, per_minute=9)
    send_test(channel)
    far.verdict = SILENT
    send_test(channel)

    use = uses_of([channel], now=timezone.now())[channel.pk]

    assert (use.second, use.minute, use.share) == (2, 2, 22)
