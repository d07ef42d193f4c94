"""Alerts, deliveries and silences over the API."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from agents.models import Event
from notifications.models import Silence
from tests.factories import (
    AlertFactory,
    AlertMemberFactory,
    AttemptFactory,
    ChannelFactory,
    DeliveryFactory,
    EventFactory,
    InstanceFactory,
    RuleFactory,
    ServiceFactory,
    SilenceFactory,
)
from tests.integration.api_client import api_as

pytestmark = pytest.mark.django_db


@pytest.fixture
def api():
    return api_as("operator")


def problems(response):
    assert response.status_code == 422, response.content
    return [(problem["type"], problem["loc"]) for problem in response.json()["detail"]]


def ids(response):
    return [item["id"] for item in response.json()["items"]]


# Alerts.


def test_an_alert_is_answered_with_whom_it_is_about(api):
    instance = InstanceFactory()
    alert = AlertFactory(rule__name="away", event_type="instance_offline", event_count=3, told_count=2)
    AlertMemberFactory(alert=alert, instance=instance, service=instance.service, subject=f"instance:{instance.pk}")
    AlertMemberFactory(alert=alert, ended_at=timezone.now())
    AlertMemberFactory(alert=alert, silence=SilenceFactory())

    body = api.get(f"alerts/{alert.pk}").json()

    assert (body["rule_name"], body["event_type"], body["status"]) == ("away", "instance_offline", "firing")
    assert (body["subject_count"], body["open_subject_count"], body["silenced_subject_count"]) == (3, 2, 1)
    assert (body["event_count"], body["told_count"]) == (3, 2)
    members = api.get(f"alerts/{alert.pk}/members", {"state": "open"}).json()["items"]
    assert [member["node_name"] for member in members] == [instance.node_name, None]
    assert (members[0]["environment"], members[0]["instance_id"]) == (instance.service.environment, str(instance.pk))
    assert len(ids_of_members(api, alert)) == 3


def ids_of_members(api, alert):
    return [item["subject"] for item in api.get(f"alerts/{alert.pk}/members").json()["items"]]


def test_alerts_are_newest_first_narrowed_and_paged(api):
    now = timezone.now()
    old, new, other = (
        AlertFactory(opened_at=now - timedelta(hours=2)),
        AlertFactory(opened_at=now, status="resolved"),
        AlertFactory(opened_at=now - timedelta(hours=1), event_type="instance_offline"),
    )

    first = api.get("alerts", {"limit": 2})
    second = api.get("alerts", {"limit": 2, "cursor": first.json()["next_cursor"]})

    assert (ids(first), ids(second), second.json()["next_cursor"]) == ([new.pk, other.pk], [old.pk], None)
    assert ids(api.get("alerts", {"status": "firing,waiting"})) == [other.pk, old.pk]
    assert ids(api.get("alerts", {"event_type": "instance_offline"})) == [other.pk]
    assert ids(api.get("alerts", {"rule_id": old.rule_id})) == [old.pk]
    assert problems(api.get("alerts", {"status": "loud"})) == [("enum", ["query", "status"])]


def test_subjects_are_counted_in_lists_where_they_are_asked_for(api):
    AlertMemberFactory()

    assert "subject_count" not in api.get("alerts").json()["items"][0]
    assert api.get("alerts", {"fields": "subject_count"}).json()["items"] == [{"subject_count": 1}]


@pytest.mark.parametrize("count", [1, 3])
def test_lists_take_as_many_queries_for_many(api, count, django_assert_num_queries):
    for _ in range(count):
        alert = AlertMemberFactory().alert
        instance = InstanceFactory()
        AlertMemberFactory(alert=alert, instance=instance, service=instance.service)
        DeliveryFactory(alert=alert, rule=alert.rule)
        SilenceFactory()
    api.get("alerts")

    for path, expected in (("alerts?fields=id,rule_name,subject_count", 3), ("deliveries", 2), ("silences", 2)):
        with django_assert_num_queries(expected):
            api.get(path)
    with django_assert_num_queries(3):
        api.get(f"alerts/{alert.pk}/members")


# Deliveries.


def test_a_delivery_is_answered_with_its_attempts_and_without_its_target(api):
    channel = ChannelFactory(name="night")
    delivery = DeliveryFactory(failed=True, channel=channel, target="encrypted")
    AttemptFactory(delivery=delivery, succeeded=False, error="sign match fail")

    body = api.get(f"deliveries/{delivery.pk}").json()

    assert (body["channel_id"], body["channel_name"], body["status"]) == (channel.pk, "night", "failed")
    assert (body["provider_code"], body["error"], body["card"]["tone"]) == ("19021", "sign match fail", "bad")
    assert [(each["succeeded"], each["error"]) for each in body["attempts"]] == [(False, "sign match fail")]
    assert "encrypted" not in json.dumps(body)


def test_deliveries_are_narrowed(api):
    failed, waiting = DeliveryFactory(failed=True), DeliveryFactory(kind="digest", title="Digest of 12")
    rule, alert = RuleFactory(), AlertFactory()
    of_rule = DeliveryFactory(rule=rule, alert=alert, status="folded", folded_into=waiting)

    def found(**query):
        return set(ids(api.get("deliveries", query)))

    assert found() == {str(failed.pk), str(waiting.pk), str(of_rule.pk)}
    assert found(status="failed,folded") == {str(failed.pk), str(of_rule.pk)}
    assert found(kind="digest") == {str(waiting.pk)}
    assert found(channel_id=failed.channel_id) == {str(failed.pk)}
    assert found(rule_id=rule.pk) == found(alert_id=alert.pk) == found(folded_into=waiting.pk) == {str(of_rule.pk)}
    assert found(q="of 12") == {str(waiting.pk)}
    assert found(created_after="2999-01-01T00:00:00Z") == set()
    assert "card" not in api.get("deliveries").json()["items"][0]
    assert api.get("deliveries", {"format": "csv"}).status_code == 200


def test_what_was_given_up_is_sent_again_once(api):
    delivery = DeliveryFactory(failed=True)

    answers = [api.post(f"deliveries/{delivery.pk}/retry") for _ in range(2)]

    delivery.refresh_from_db()
    assert [each.status_code for each in answers] == [200, 409]
    assert answers[0].json()["status"] == "pending"
    assert (delivery.status, delivery.attempt_count, delivery.finished_at) == ("pending", 0, None)
    # Due at once.
    assert delivery.next_attempt_at is None
    assert Event.objects.filter(subject=f"notifications.delivery:{delivery.pk}").count() == 1


def test_what_nobody_knows_where_to_send_is_not_sent_again(api):
    gone, kept = DeliveryFactory(failed=True, channel=None), DeliveryFactory(failed=True, channel=None, target="x")

    answers = [api.post(f"deliveries/{each.pk}/retry") for each in (gone, kept)]

    assert [each.status_code for each in answers] == [409, 200]
    assert "deleted" in answers[0].json()["detail"]


def test_viewers_look_and_send_nothing_again():
    delivery = DeliveryFactory(failed=True)
    viewer = api_as("viewer")

    assert viewer.get(f"deliveries/{delivery.pk}").status_code == 200
    assert viewer.post(f"deliveries/{delivery.pk}/retry").status_code == 403
    assert viewer.post("silences", {"reason": "r", "ends_at": "2099-01-01T00:00:00Z"}).status_code == 403


# Silences.


def test_a_silence_is_in_force_from_when_it_is_made(api):
    body = api.post(
        "silences",
        {
            "reason": "the database moves",
            "ends_at": "2099-01-01T00:00:00Z",
            "selector": "rack = 7",
            "event_types": ["task_failed"],
        },
    ).json()

    silence = Silence.objects.get()
    assert (body["state"], body["selector"], body["event_types"]) == ("active", "rack=7", ["task_failed"])
    assert (body["round_ends_at"], body["start_time"]) == ("2099-01-01T00:00:00+00:00", None)
    assert silence.starts_at <= timezone.now()
    assert (silence.created_by_name, body["created_by"]) == (silence.created_by.username,) * 2


def test_a_maintenance_window_recurs_in_its_zone(api):
    window = {"reason": "w", "weekdays": [6], "start_time": "02:30", "duration_min": 90, "time_zone": "Europe/Berlin"}

    body = api.post("silences", {**window, "starts_at": "2099-03-23T00:00:00Z"}).json()

    # On this Sunday the clocks of Berlin go from 2 to 3 o'clock.
    begins, ends = (datetime.fromisoformat(body[f"round_{name}_at"]) for name in ("begins", "ends"))
    assert body["state"] == "upcoming"
    assert begins == datetime(2099, 3, 29, 1, 0, tzinfo=UTC)
    assert ends - begins == timedelta(minutes=90)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"reason": " "}, ("string_too_short", ["body", "reason"])),
        ({"ends_at": None}, ("value_error", ["body", "ends_at"])),
        ({"ends_at": "2000-01-01T00:00:00Z"}, ("value_error", ["body", "ends_at"])),
        ({"start_time": "02:00", "duration_min": 5}, ("value_error", ["body", "weekdays"])),
        ({"start_time": "02:00", "weekdays": [1]}, ("value_error", ["body", "duration_min"])),
        ({"duration_min": 10081}, ("less_than_equal", ["body", "duration_min"])),
        ({"selector": "="}, ("selector", ["body", "selector"])),
        ({"colour": "red"}, ("extra_forbidden", ["body", "colour"])),
    ],
)
def test_a_silence_that_cannot_be_is_refused(api, change, problem):
    assert problems(api.post("silences", {"reason": "r", "ends_at": "2099-01-01T00:00:00Z"} | change)) == [problem]
    assert Silence.objects.count() == 0


def test_a_silence_is_ended_once(api):
    silence = SilenceFactory()

    answers = [api.post(f"silences/{silence.pk}/end") for _ in range(2)]

    assert [each.status_code for each in answers] == [200, 409]
    assert answers[0].json()["state"] == "cancelled"
    assert Event.objects.filter(subject=f"notifications.silence:{silence.pk}", kind="object.changed").count() == 1


def test_silences_are_narrowed_to_those_that_live_and_those_that_recur(api):
    live = SilenceFactory()
    over = SilenceFactory(starts_at=timezone.now() - timedelta(days=1))
    weekly = SilenceFactory(ends_at=None, start_time="02:00", duration_min=60, weekdays=[0])

    def found(**query):
        return set(ids(api.get("silences", query)))

    assert (found(live="true"), found(live="false")) == ({live.pk, weekly.pk}, {over.pk})
    assert (found(recurs="true"), found(recurs="false")) == ({weekly.pk}, {live.pk, over.pk})


def test_a_draft_is_run_over_the_past_beside_the_rules_that_are_on_and_stored_nowhere():
    viewer, now = api_as("viewer"), timezone.now()
    for environment, hours in (("dev", 1), ("prod", 2), ("dev", 24 * 9)):
        service = ServiceFactory(environment=environment)
        at = now - timedelta(hours=hours)
        EventFactory(kind="task.failed", occurred_at=at, service=service, instance__service=service)
    RuleFactory(event_types=["task_failed"], group_by="event", wait_s=0)
    RuleFactory(event_types=["task_failed"], enabled=False)

    body = viewer.post("silences/replay", {"silence": {"environments": ["dev"]}, "days": 7}).json()
    every_day = {"weekdays": list(range(7)), "start_time": "00:00", "duration_min": 24 * 60}
    weekly = viewer.post("silences/replay", {"silence": every_day, "days": 7}).json()

    assert (body["event_count"], body["silenced_count"]) == (2, 1)
    assert (body["message_count"], body["messages_without"], body["stopped_at"]) == (1, 2, None)
    assert (weekly["silenced_count"], weekly["message_count"]) == (2, 0)
    assert Silence.objects.count() == 0


@pytest.mark.parametrize(
    ("silence", "problem"),
    [
        (None, ("missing", ["body", "silence"])),
        ({"selector": "="}, ("selector", ["body", "silence", "selector"])),
        ({"start_time": "02:00"}, ("value_error", ["body", "silence", "weekdays"])),
        ({"reason": "why"}, ("extra_forbidden", ["body", "silence", "reason"])),
    ],
)
def test_a_draft_that_cannot_be_is_refused(api, silence, problem):
    assert problems(api.post("silences/replay", {"silence": silence} if silence else {})) == [problem]


@pytest.mark.parametrize(
    "path", ["alerts/999999", "alerts/999999/members", "silences/999999", f"deliveries/{'0' * 32}"]
)
def test_what_is_not_there_is_not_found(api, path):
    assert api.get(path).status_code == 404
