"""Rules on the console: a form with a live count, and what a rule would have told."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import Event
from notifications.models import Rule
from tests.factories import (
    AlertFactory,
    ChannelFactory,
    EventFactory,
    InstanceFactory,
    InstanceLabelsFactory,
    RuleFactory,
    ServiceFactory,
    TaskFactory,
)
from tests.integration.console import console_as, said, text_of, url

pytestmark = pytest.mark.django_db

RULE = {
    "name": "away",
    "enabled": "on",
    "types_instances": ["instance_offline"],
    "types_tasks": ["task_failed"],
    "group_by": "service",
    "wait_s": "10",
    "update_s": "300",
    "tells_resolved": "on",
    "threshold_count": "1",
    "threshold_window_s": "300",
    "missed_start_grace_s": "300",
}


@pytest.fixture
def operator():
    return console_as("operator")


def add(client, **fields):
    return client.post(url("notifications_rule_add"), RULE | fields, follow=True)


def errors(page):
    return {name: list(found) for name, found in page.context["adminform"].form.errors.items()}


def test_a_rule_is_made_of_its_form(operator):
    channel = ChannelFactory()

    page = add(
        operator,
        channels=[channel.pk],
        service_scopes="prod/billing\r\nprod/billing\r\ndev/web/shop\r\n",
        environments=["prod"],
        selector=" b , a = 1 ",
        task_pattern="sync-*",
        repeat_s="3600",
        quiet_from="22:00",
        quiet_until="06:30",
        quiet_weekdays=["5", "6"],
        quiet_time_zone="Europe/Berlin",
    )

    rule = Rule.objects.get()
    assert said(page) == ["away was made."]
    assert rule.event_types == ["task_failed", "instance_offline"]
    assert rule.service_scopes == [
        {"name": "billing", "environment": "prod"},
        {"name": "web/shop", "environment": "dev"},
    ]
    assert (rule.environments, rule.selector, rule.task_pattern) == (["prod"], "a=1,b", "sync-*")
    assert (rule.repeat_s, rule.quiet_weekdays, rule.quiet_time_zone) == (3600, [5, 6], "Europe/Berlin")
    assert list(rule.channels.all()) == [channel]
    assert Event.objects.filter(kind="object.created", subject=f"notifications.rule:{rule.pk}").count() == 1


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"name": ""}, "name"),
        ({"types_instances": [], "types_tasks": []}, "types_tasks"),
        ({"service_scopes": "billing"}, "service_scopes"),
        ({"selector": "a=b,="}, "selector"),
        ({"channels": ["999"]}, "channels"),
        ({"quiet_from": "22:00"}, "quiet_until"),
        ({"wait_s": "-1"}, "wait_s"),
        ({"threshold_count": "0"}, "threshold_count"),
        ({"environments": ["mars"]}, "environments"),
    ],
)
def test_what_cannot_be_is_told_at_its_field_with_what_was_typed(operator, fields, place):
    page = add(operator, **{"task_pattern": "sync-*", **fields})

    assert list(errors(page)) == [place]
    assert page.context["adminform"].form["task_pattern"].value() == "sync-*"
    assert Rule.objects.count() == 0


def test_a_rule_is_shown_in_its_form_and_changed_by_it(operator):
    channel = ChannelFactory()
    rule = RuleFactory(
        name="away",
        channels=[channel],
        event_types=["instance_offline"],
        service_scopes=[{"name": "gone", "environment": "prod"}],
        environments=["strange"],
    )
    path = url("notifications_rule_edit", rule.pk)

    form = operator.get(path).context["adminform"].form
    page = operator.post(path, RULE | {"name": "night", "environments": ["strange"]}, follow=True)

    rule.refresh_from_db()
    assert (form["service_scopes"].value(), form["types_instances"].value()) == ("prod/gone", ["instance_offline"])
    assert said(page) == ["night was changed."]
    assert (rule.name, rule.service_scopes, rule.environments, list(rule.channels.all())) == (
        "night",
        [],
        ["strange"],
        [],
    )


def test_a_new_rule_takes_what_its_address_says(operator):
    service = ServiceFactory(name="billing", environment="prod")

    form = (
        operator.get(
            url("notifications_rule_add"),
            {"service": service.pk, "event_types": "task_failed,task_retried", "task_pattern": "sync"},
        )
        .context["adminform"]
        .form
    )

    assert form.initial["service_scopes"] == [{"name": "billing", "environment": "prod"}]
    assert form.initial["types_tasks"] == ["task_failed", "task_retried"]
    assert form.initial["task_pattern"] == "sync"


def test_while_one_types_the_form_says_whom_it_means():
    billing = ServiceFactory(name="billing", environment="prod")
    for rack in ("7", "7", "8"):
        InstanceLabelsFactory(instance=InstanceFactory(service=billing, online=True), labels={"rack": rack})
    InstanceFactory(online=True)
    TaskFactory(service=billing, name="sync-a")
    TaskFactory(service=billing, name="report")
    client = console_as()

    def meant(**query):
        return client.get("/admin/notifications/scope/", query).context

    assert (meant()["count"], meant()["narrows"], meant()["sample"]) == (4, False, [])
    assert meant(service_scopes="prod/billing")["count"] == 3
    narrowed = meant(service_scopes="prod/billing", selector="rack=7", task_pattern="sync-*")
    assert (narrowed["count"], len(narrowed["sample"]), narrowed["task_count"]) == (2, 2, 1)
    assert meant(environments="dev")["count"] == 1
    assert "selector=rack" in meant(selector="rack=7")["lab_url"]
    assert "Character 1" in meant(selector="=")["problems"][0]
    unknown = meant(service_scopes="prod/bill")
    assert [(each.typed, each.near) for each in unknown["suggestions"]] == [("prod/bill", ["prod/billing"])]
    assert meant(service_scopes="prod/biling")["suggestions"][0].near == ["prod/billing"]


def test_whom_a_form_means_is_told_to_those_with_a_role():
    assert console_as(None).get("/admin/notifications/scope/").status_code == 403


@pytest.fixture
def past():
    now, service = timezone.now(), ServiceFactory(name="billing", environment="prod")
    for hours in (1, 2, 50):
        EventFactory(
            kind="task.failed",
            occurred_at=now - timedelta(hours=hours),
            service=service,
            instance__service=service,
            message="boom",
        )
    return service


def test_a_rule_is_run_over_the_past_with_bars_by_day(past):
    rule = RuleFactory(group_by="event")
    client = console_as()

    week = client.get(url("notifications_rule_replay", rule.pk))
    day = client.get(url("notifications_rule_replay", rule.pk), {"days": "1"})

    assert (week.context["days"], week.context["message_count"], len(week.context["bars"])) == (7, 3, 8)
    assert sum(bar.count for bar in week.context["bars"]) == 3
    assert max(bar.share for bar in week.context["bars"]) == 100
    assert (day.context["days"], day.context["message_count"]) == (1, 2)
    assert "3 messages" in text_of(week)


def test_a_draft_is_run_over_the_past_and_stored_nowhere(past):
    client = console_as()
    draft = {**RULE, "name": "", "group_by": "event", "days": "7", "service_scopes": "prod/billing"}

    page = client.post("/admin/notifications/replay/", draft)
    wrong = client.post("/admin/notifications/replay/", draft | {"selector": "=", "types_tasks": []})

    assert (page.context["message_count"], Rule.objects.count()) == (3, 0)
    assert "Character 1" in "".join(wrong.context["problems"])
    assert client.post("/admin/notifications/replay/", {"days": "7"}).context["problems"]
    assert client.get("/admin/notifications/replay/").status_code == 405


def test_a_page_says_in_words_what_a_rule_does():
    rule = RuleFactory(
        event_types=["instance_offline"],
        environments=["prod"],
        group_by="service",
        repeat_s=3600,
        threshold_count=3,
        quiet_from="22:00",
        quiet_until="06:00",
        channels=[ChannelFactory(name="night")],
    )
    AlertFactory(rule=rule, event_type="instance_offline")
    InstanceFactory(service=ServiceFactory(environment="prod"))

    page = console_as().get(url("notifications_rule_change", rule.pk))

    shown = text_of(page)
    for text in ("By service, after 10 s, what is new every 5 min, again every 1 h", "from 3 events within 5 min on"):
        assert text in shown
    assert "every day from 22:00 to 06:00 (UTC)" in shown
    assert (page.context["meant_count"], len(page.context["alerts"])) == (1, 1)
    assert "Edit" not in shown


def test_the_rule_of_a_channel_s_own_is_not_deleted_by_itself(operator):
    rule = RuleFactory(own_of=ChannelFactory(name="night"))

    page = text_of(operator.get(url("notifications_rule_change", rule.pk)))
    operator.post(url("notifications_rule_delete", rule.pk), {"post": "yes"})
    data = {"action": "delete_selected", "_selected_action": [rule.pk], "post": "yes"}
    operator.post(url("notifications_rule_changelist"), data)

    assert "rule of the channel night" in page
    assert Rule.objects.count() == 1


def test_a_rule_with_many_alerts_is_deleted_without_reading_them(operator, django_assert_max_num_queries):
    rule = RuleFactory()
    for _ in range(5):
        AlertFactory(rule=rule)

    with django_assert_max_num_queries(12):
        operator.get(url("notifications_rule_delete", rule.pk))
    operator.post(url("notifications_rule_delete", rule.pk), {"post": "yes"})

    assert Rule.objects.count() == 0


def test_rules_are_turned_off_and_on(operator):
    rule = RuleFactory()

    operator.post(url("notifications_rule_turn", rule.pk))
    rule.refresh_from_db()
    off = rule.enabled
    data = {"action": "enable_selected", "_selected_action": [rule.pk]}
    page = operator.post(url("notifications_rule_changelist"), data, follow=True)

    assert (off, said(page)) == (False, ["1 rule turned on."])


def test_the_list_says_whom_each_means_now_and_is_narrowed(operator):
    channel = ChannelFactory()
    InstanceFactory.create_batch(2, service=ServiceFactory(environment="prod"))
    mine = RuleFactory(environments=["prod"], channels=[channel], event_types=["task_failed"])
    RuleFactory(environments=["dev"], event_types=["instance_offline"])

    def found(**query):
        return {
            row.pk: row.meant
            for row in operator.get(url("notifications_rule_changelist"), query).context["cl"].result_list
        }

    assert sorted(found().values()) == [0, 2]
    assert found(channel=channel.pk) == found(type="task_failed") == {mine.pk: 2}


def test_viewers_change_nothing():
    rule, viewer = RuleFactory(), console_as("viewer")

    assert viewer.get(url("notifications_rule_edit", rule.pk)).status_code == 403
    assert viewer.post(url("notifications_rule_turn", rule.pk)).status_code == 403
    assert add(viewer).status_code == 403
    assert Rule.objects.count() == 1
