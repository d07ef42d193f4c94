"""Rules over the API: made, changed, tried on the past."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import Event
from notifications.models import Rule
from tests.factories import ChannelFactory, EventFactory, RuleFactory, ServiceFactory
from tests.integration.api_client import api_as

pytestmark = pytest.mark.django_db
RULE = {"name": "away", "event_types": ["instance_offline"]}


@pytest.fixture
def api():
    return api_as("operator")


def delete(api, path):
    return api.client.delete(f"/api/v1/{path}", headers=api.headers)


def problems(response):
    assert response.status_code == 422, response.content
    return [(problem["type"], problem["loc"]) for problem in response.json()["detail"]]


def test_a_rule_is_answered_with_its_defaults_and_its_selector_in_canonical_form(api):
    channel = ChannelFactory(name="night")

    body = api.post("rules", {**RULE, "selector": " b , a = 1 ", "channel_ids": [channel.pk]}).json()

    assert {name: value for name, value in body.items() if name not in {"id", "created_at", "updated_at"}} == {
        "name": "away",
        "enabled": True,
        "channels": [{"id": channel.pk, "name": "night"}],
        "own_of": None,
        "event_types": ["instance_offline"],
        "service_scopes": [],
        "environments": [],
        "selector": "a=1,b",
        "task_pattern": None,
        "group_by": "type",
        "wait_s": 10,
        "update_s": 300,
        "repeat_s": None,
        "tells_resolved": True,
        "threshold_count": 1,
        "threshold_window_s": 300,
        "missed_start_grace_s": 300,
        "quiet_from": None,
        "quiet_until": None,
        "quiet_weekdays": [],
        "quiet_time_zone": None,
    }
    assert api.get(f"rules/{body['id']}").json() == body


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": " "}, ("string_too_short", ["body", "name"])),
        ({"event_types": ["nonsense"]}, ("enum", ["body", "event_types", 0])),
        ({"selector": "a=b,="}, ("selector", ["body", "selector"])),
        ({"channel_ids": [999]}, ("value_error", ["body", "channel_ids", "0"])),
        ({"channel_ids": ["x"]}, ("int_type", ["body", "channel_ids", 0])),
        ({"group_by": "colour"}, ("enum", ["body", "group_by"])),
        ({"wait_s": -1}, ("greater_than_equal", ["body", "wait_s"])),
        ({"threshold_count": 0}, ("greater_than_equal", ["body", "threshold_count"])),
        ({"quiet_from": "25:00"}, ("wall_time", ["body", "quiet_from"])),
        ({"quiet_from": "22:00"}, ("value_error", ["body", "quiet_until"])),
        ({"quiet_weekdays": [7]}, ("less_than_equal", ["body", "quiet_weekdays", 0])),
        ({"quiet_time_zone": "Mars/Olympus"}, ("zone", ["body", "quiet_time_zone"])),
        ({"environments": ["prod", "prod"]}, ("unique", ["body", "environments"])),
        ({"colour": "red"}, ("extra_forbidden", ["body", "colour"])),
    ],
)
def test_a_rule_that_cannot_be_is_refused(api, change, problem):
    assert problems(api.post("rules", RULE | change)) == [problem]
    assert Rule.objects.count() == 0


def test_a_name_is_taken_once(api):
    RuleFactory(name="away")

    refused = api.post("rules", RULE)

    assert (refused.status_code, "away" in refused.json()["detail"]) == (409, True)


def test_a_change_keeps_what_it_leaves_out_and_is_history(api):
    channel = ChannelFactory()
    rule = RuleFactory(name="away", channels=[channel], task_pattern="sync*")

    body = api.patch(f"rules/{rule.pk}", {"quiet_from": "22:00", "quiet_until": "06:30", "wait_s": 0}).json()

    assert (body["quiet_from"], body["quiet_until"], body["wait_s"]) == ("22:00", "06:30", 0)
    assert (body["task_pattern"], [each["id"] for each in body["channels"]]) == ("sync*", [channel.pk])
    (told,) = Event.objects.filter(subject=f"notifications.rule:{rule.pk}")
    assert told.meta["after"]["wait_s"] == 0


def test_the_rule_of_a_channel_s_own_changes_with_the_channel_alone(api):
    rule = RuleFactory(own_of=ChannelFactory())

    answers = [api.patch(f"rules/{rule.pk}", {"wait_s": 7}), delete(api, f"rules/{rule.pk}")]

    assert [each.status_code for each in answers] == [409, 409]
    assert Rule.objects.get().wait_s == 10


def test_a_rule_is_deleted_and_answers_what_it_was(api):
    rule = RuleFactory(name="away")

    gone = delete(api, f"rules/{rule.pk}")

    assert (gone.status_code, gone.json()["name"], Rule.objects.count()) == (200, "away", 0)
    assert api.get(f"rules/{rule.pk}").status_code == 404


def test_rules_are_narrowed(api):
    channel = ChannelFactory()
    RuleFactory(name="a", channels=[channel])
    RuleFactory(name="b", enabled=False)
    RuleFactory(name="c", own_of=ChannelFactory())

    def found(**query):
        return [item["name"] for item in api.get("rules", query).json()["items"]]

    assert (found(), found(ordering="-name")) == (["a", "b", "c"], ["c", "b", "a"])
    assert (found(enabled="false"), found(channel_id=channel.pk)) == (["b"], ["a"])
    assert (found(own="true"), found(own="false"), found(q="B")) == (["c"], ["a", "b"], ["b"])


@pytest.mark.parametrize("count", [1, 3])
def test_a_list_of_rules_takes_as_many_queries_for_many(api, count, django_assert_num_queries):
    for _ in range(count):
        RuleFactory(channels=[ChannelFactory()])
    api.get("rules")

    with django_assert_num_queries(3):
        api.get("rules")


def test_an_etag_spares_the_second_answer(api):
    first = api.get("rules")

    api.headers["If-None-Match"] = first["ETag"]

    assert api.get("rules").status_code == 304


def test_a_draft_is_run_over_the_past_and_stored_nowhere():
    viewer, now = api_as("viewer"), timezone.now()
    shop, other = ServiceFactory(name="shop", environment="prod"), ServiceFactory()
    for service, hours in ((shop, 1), (shop, 30), (other, 1), (shop, 24 * 9)):
        EventFactory(
            kind="task.failed", occurred_at=now - timedelta(hours=hours), service=service, instance__service=service
        )
    draft = {
        "event_types": ["task_failed"],
        "service_scopes": [{"name": "shop", "environment": "prod"}],
        "group_by": "event",
    }

    body = viewer.post("rules/replay", {"rule": draft, "days": 7}).json()

    assert (body["event_count"], body["message_count"], body["silenced_count"], body["is_cut"]) == (2, 2, 0, False)
    assert [message["event_count"] for message in body["messages"]] == [1, 1]
    assert body["messages"][0]["at"] > body["messages"][1]["at"]
    assert (body["stopped_at"], body["messages_without"]) == (None, None)
    assert Rule.objects.count() == 0
    half = draft | {"quiet_from": "22:00"}
    assert problems(viewer.post("rules/replay", {"rule": half})) == [("value_error", ["body", "rule", "quiet_until"])]
    assert problems(viewer.post("rules/replay", {"rule": draft, "days": 32})) == [("less_than_equal", ["body", "days"])]
    assert problems(viewer.post("rules/replay", {"rule": {}})) == [("missing", ["body", "rule", "event_types"])]
