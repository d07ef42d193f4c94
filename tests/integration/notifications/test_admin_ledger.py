"""Alerts, deliveries and silences on the console."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import Event
from notifications.models import Delivery, Silence
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
from tests.integration.console import console_as, said, text_of, url

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator():
    return console_as("operator")


def away(alert, service, *, offline=True, **fields):
    instance = InstanceFactory(service=service, offline=offline, online=not offline)
    told = {"message": "no heartbeat"}
    subject = f"instance:{instance.pk}"
    return AlertMemberFactory(alert=alert, instance=instance, service=service, subject=subject, told=told, **fields)


@pytest.fixture
def outage():
    """Two of three instances of a service are away, one of them silenced, and one came back."""
    alert = AlertFactory(event_type="instance_offline", rule__name="prod is away", event_count=4, silenced_count=1)
    service = ServiceFactory(name="billing", environment="prod")
    away(alert, service)
    away(alert, service, silence=SilenceFactory(reason="rack moves"))
    away(alert, service, ended_at=timezone.now(), offline=False)
    DeliveryFactory(alert=alert, rule=alert.rule, title="[Instance offline] 2 of 3 in billing")
    return alert


# Alerts.


def test_an_alert_says_whom_it_is_about_and_what_was_told(outage):
    page = console_as().get(url("notifications_alert_change", outage.pk))

    shown = text_of(page)
    for text in ("3 instances", "2 of 3 instances", "prod/billing", "no heartbeat", "rack moves", "1 silenced"):
        assert text in shown
    assert "[Instance offline] 2 of 3 in billing" in shown
    assert "Silence this" not in shown


@pytest.mark.parametrize(("shown", "count"), [("", 3), ("open", 2), ("silenced", 1), ("ended", 1), ("nonsense", 3)])
def test_its_subjects_are_narrowed_by_state(outage, shown, count):
    page = console_as().get(url("notifications_alert_live", outage.pk), {"show": shown})

    assert page.context["members"].paginator.count == count


def test_its_page_costs_the_same_for_many(outage, django_assert_max_num_queries):
    service = ServiceFactory()
    for _ in range(60):
        away(outage, service)
    client = console_as()
    client.get(url("notifications_alert_change", outage.pk))

    with django_assert_max_num_queries(20):
        page = client.get(url("notifications_alert_change", outage.pk))
    assert (len(page.context["members"]), page.context["members"].paginator.count) == (50, 63)


def test_an_alert_is_silenced_in_two_clicks(operator, outage):
    page = operator.post(url("notifications_alert_silence", outage.pk), {"hours": "4"}, follow=True)

    silence = Silence.objects.get(created_by_name=operator.person.username)
    assert silence.event_types == ["instance_offline"]
    assert silence.service_scopes == [{"name": "billing", "environment": "prod"}]
    assert silence.ends_at - silence.starts_at == timedelta(hours=4)
    assert silence.reason == "Known: Instance offline · prod is away"
    assert said(page) == ["Silenced; until then such events are counted and not told."]
    assert 'name="hours" value="4"' in text_of(operator.get(url("notifications_alert_change", outage.pk)))


def test_a_silence_of_an_alert_of_one_task_means_that_task(operator):
    service = ServiceFactory(name="billing", environment="prod")
    alert = AlertFactory()
    AlertMemberFactory(alert=alert, service=service, task_name="sync")

    operator.post(url("notifications_alert_silence", alert.pk), {"hours": "1", "reason": "on it"})

    silence = Silence.objects.get()
    assert (silence.task_pattern, silence.reason) == ("sync", "on it")


def test_a_silence_of_an_alert_of_one_instance_means_that_instance(operator):
    alert = AlertFactory(event_type="instance_offline")
    member = away(alert, ServiceFactory())

    operator.post(url("notifications_alert_silence", alert.pk), {"hours": "1"})

    assert Silence.objects.get().selector == f"portal/node={member.instance.node_name}"


def test_a_silence_of_an_alert_without_a_service_means_what_its_rule_does(operator):
    alert = AlertFactory(event_type="portal_lagging", rule__environments=["prod"])
    AlertMemberFactory(alert=alert)

    operator.post(url("notifications_alert_silence", alert.pk), {"hours": "nonsense"})

    silence = Silence.objects.get()
    assert (silence.service_scopes, silence.environments) == ([], ["prod"])
    assert silence.ends_at - silence.starts_at == timedelta(hours=1)


def test_alerts_are_narrowed_to_what_goes_on(operator):
    on, over = AlertFactory(), AlertFactory(status="resolved")
    waiting = AlertFactory(status="waiting", event_type="instance_offline")

    def found(**query):
        page = operator.get(url("notifications_alert_changelist"), query)
        return {row.pk for row in page.context["cl"].result_list}

    assert found() == {on.pk, over.pk, waiting.pk}
    assert (found(state="open"), found(state="resolved")) == ({on.pk, waiting.pk}, {over.pk})
    assert found(event_type__exact="instance_offline") == {waiting.pk}
    assert found(rule=on.rule_id) == {on.pk}


# Deliveries.


def test_a_delivery_shows_its_message_and_each_attempt(operator):
    digest = DeliveryFactory(kind="digest", title="Digest of 7")
    delivery = DeliveryFactory(
        failed=True, card={"title": "Down", "tone": "bad", "lines": [{"name": "Service", "value": "web/shop"}]}
    )
    AttemptFactory(delivery=delivery, succeeded=False, provider_code="19021", response='{"code": 19021}')
    AttemptFactory(delivery=delivery, succeeded=None, finished_at=None)
    folded = DeliveryFactory(status="folded", folded_into=digest)

    shown = text_of(operator.get(url("notifications_delivery_change", delivery.pk)))

    for text in ("sign match fail", "19021", "web/shop", "Send it again", "Nobody knows"):
        assert text in shown
    assert "Digest of 7" in text_of(operator.get(url("notifications_delivery_change", folded.pk)))
    assert str(folded.pk) in text_of(operator.get(url("notifications_delivery_change", digest.pk)))


@pytest.mark.parametrize("card", [{}, {"title": "x", "tone": "loud"}, {"title": "x", "lines": 7}, []])
def test_a_message_that_this_version_cannot_read_is_told_by_its_title(card):
    delivery = DeliveryFactory(card=card, title="Down again")

    page = console_as().get(url("notifications_delivery_change", delivery.pk))

    assert page.context["card"].title == "Down again"


def test_its_live_part_stops_where_nothing_moves_any_more():
    client = console_as()

    statuses = [
        client.get(url("notifications_delivery_live", each.pk)).status_code
        for each in (DeliveryFactory(), DeliveryFactory(failed=True))
    ]

    assert statuses == [200, 286]


def test_what_was_given_up_is_sent_again(operator):
    delivery = DeliveryFactory(failed=True)

    first = operator.post(url("notifications_delivery_retry", delivery.pk), follow=True)
    second = operator.post(url("notifications_delivery_retry", delivery.pk), follow=True)

    delivery.refresh_from_db()
    assert (said(first), delivery.status) == (["It is sent again."], "pending")
    assert said(second) == ["Only what was given up can be sent again."]


def test_several_are_sent_again_and_the_others_counted(operator):
    rows = [DeliveryFactory(failed=True), DeliveryFactory(failed=True), DeliveryFactory(status="delivered")]
    data = {"action": "send_again_selected", "_selected_action": [row.pk for row in rows]}

    page = operator.post(url("notifications_delivery_changelist"), data, follow=True)

    assert said(page) == [
        "2 deliveries are sent again.",
        "1 delivery left as it is: it was not given up, or its channel is gone.",
    ]
    assert Event.objects.filter(kind="object.changed").count() == 2


def test_a_viewer_sends_nothing_again():
    delivery, viewer = DeliveryFactory(failed=True), console_as("viewer")

    viewer.post(
        url("notifications_delivery_changelist"), {"action": "send_again_selected", "_selected_action": delivery.pk}
    )

    assert viewer.post(url("notifications_delivery_retry", delivery.pk)).status_code == 403
    assert Delivery.objects.get().status == "failed"
    assert "Send it again" not in text_of(viewer.get(url("notifications_delivery_change", delivery.pk)))


def test_the_ledger_is_narrowed_and_exported_so(operator):
    channel, rule = ChannelFactory(), RuleFactory()
    mine = DeliveryFactory(channel=channel, rule=rule, failed=True)
    DeliveryFactory(kind="digest", event_type="instance_offline")

    def found(**query):
        page = operator.get(url("notifications_delivery_changelist"), query)
        return {row.pk for row in page.context["cl"].result_list}, page.context["csv_url"]

    for query in ({"channel": channel.pk}, {"rule": rule.pk}, {"status__exact": "failed"}, {"type": "task_failed"}):
        rows, file_url = found(**query)
        # What makes a file of it makes a page as well.
        items = operator.get(file_url.replace("format=csv", "format=json")).json()["items"]
        assert (rows, [item["id"] for item in items]) == ({mine.pk}, [str(mine.pk)])
    assert "created_after" in found(since="1d")[1]
    assert len(found(kind__exact="digest")[0]) == 1


# Silences.

ONCE = {"reason": "rack moves", "when": "once", "lasts": "4"}
WEEKLY = {
    "reason": "backup",
    "when": "weekly",
    "weekdays": ["5", "6"],
    "start_time": "02:00",
    "duration_min": "90",
    "time_zone": "Europe/Berlin",
}


def silence(client, **fields):
    return client.post(url("notifications_silence_add"), fields, follow=True)


def test_a_silence_is_made_for_once(operator):
    silence(operator, **ONCE, service_scopes="prod/billing", types_tasks=["task_failed"])

    made = Silence.objects.get()
    assert (made.ends_at - made.starts_at, made.recurs) == (timedelta(hours=4), False)
    assert (made.event_types, made.service_scopes) == (
        ["task_failed"],
        [{"name": "billing", "environment": "prod"}],
    )
    assert (made.created_by, made.created_by_name) == (operator.person, operator.person.username)


def test_a_maintenance_window_recurs(operator):
    page = silence(operator, **WEEKLY)

    made = Silence.objects.get()
    assert (made.weekdays, f"{made.start_time:%H:%M}", made.duration_min, made.ends_at) == ([5, 6], "02:00", 90, None)
    assert "Sat, Sun from 02:00 for 1 h 30 min (Europe/Berlin)" in text_of(page)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        (ONCE | {"reason": " "}, "reason"),
        (ONCE | {"lasts": ""}, "lasts"),
        (ONCE | {"lasts": "", "ends_at_0": "2020-01-01", "ends_at_1": "00:00:00"}, "lasts"),
        (WEEKLY | {"weekdays": []}, "weekdays"),
        (WEEKLY | {"start_time": ""}, "start_time"),
        (WEEKLY | {"duration_min": ""}, "duration_min"),
        (WEEKLY | {"selector": "="}, "selector"),
    ],
)
def test_a_silence_that_cannot_be_is_told_at_its_field(operator, fields, place):
    page = silence(operator, **fields)

    assert list(page.context["adminform"].form.errors) == [place]
    assert Silence.objects.count() == 0


def test_a_form_takes_what_its_address_says(operator, outage):
    service = ServiceFactory(name="shop", environment="dev")
    path = url("notifications_silence_add")

    def given(**query):
        return operator.get(path, query).context["adminform"].form.initial

    of_service = given(service=service.pk, task_pattern="sync", about="sync")
    of_alert = given(alert=outage.pk)

    assert of_service["service_scopes"] == [{"name": "shop", "environment": "dev"}]
    assert (of_service["task_pattern"], of_service["reason"]) == ("sync", "Maintenance of sync")
    assert of_alert["service_scopes"] == [{"name": "billing", "environment": "prod"}]
    assert of_alert["types_instances"] == ["instance_offline"]
    assert "reason" not in given(alert="nonsense", service="x")


def test_a_silence_says_what_it_keeps_quiet_now(outage):
    quiet = Silence.objects.get()
    InstanceFactory()

    page = console_as().get(url("notifications_silence_change", quiet.pk))

    assert (page.context["quiet_count"], page.context["meant_count"]) == (1, 4)
    assert [row.pk for row in page.context["alerts"]] == [outage.pk]
    assert "End it now" not in text_of(page)


def test_a_silence_is_changed_and_ended_at_once(operator):
    row = SilenceFactory()
    path = url("notifications_silence_edit", row.pk)
    operator.post(path, ONCE | {"reason": "other", "lasts": "24"})
    row.refresh_from_db()
    changed = (row.reason, row.ends_at - row.starts_at)

    first = operator.post(url("notifications_silence_end", row.pk), follow=True)
    second = operator.post(url("notifications_silence_end", row.pk), follow=True)

    assert changed == ("other", timedelta(hours=24))
    assert said(first)[-1:] == ["The silence has ended; what is still broken is told."]
    assert said(second) == ["It has ended already."]
    assert "Edit" not in text_of(second)


def test_the_list_has_a_calendar_and_tells_states_apart(operator):
    now = timezone.now()
    SilenceFactory(reason="in force")
    SilenceFactory(reason="to come", starts_at=now + timedelta(days=1))
    SilenceFactory(reason="over", starts_at=now - timedelta(days=1))
    SilenceFactory(reason="weekly", ends_at=None, start_time="02:00", duration_min=1, weekdays=list(range(7)))

    page = operator.get(url("notifications_silence_changelist"))
    live = operator.get(url("notifications_silence_changelist"), {"state": "live"})

    states = {row.reason: row.standing.state for row in page.context["cl"].result_list}
    assert (states["in force"], states["to come"], states["over"]) == ("active", "upcoming", "over")
    assert states["weekly"] in {"active", "between"}
    reasons = [row.reason for _round, row in page.context["ahead"]]
    assert ("over" in reasons, reasons.count("weekly") >= 6) == (False, True)
    assert {row.reason for row in live.context["cl"].result_list} == {"in force", "to come", "weekly"}


def test_a_draft_says_what_would_have_been_told_beside_it():
    now, service = timezone.now(), ServiceFactory(name="billing", environment="prod")
    for hours in (1, 2):
        at = now - timedelta(hours=hours)
        EventFactory(kind="task.failed", occurred_at=at, service=service, instance__service=service)
    RuleFactory(event_types=["task_failed"], group_by="event", wait_s=0)
    client, path = console_as(), "/admin/notifications/silence-replay/"

    page = client.post(path, {"when": "once", "lasts": "1", "days": "7", "environments": ["prod"]})
    weekly = client.post(path, {"when": "weekly", "days": "7"})

    assert (page.context["message_count"], page.context["replay"].silenced_count) == (0, 2)
    assert "Without it, 2 messages." in text_of(page)
    assert weekly.context["problems"] == ["Each begins at: Say when each round begins."]
    assert (client.get(path).status_code, console_as(None).post(path).status_code) == (405, 403)
    assert Silence.objects.count() == 0


def test_viewers_silence_nothing(outage):
    row, viewer = SilenceFactory(), console_as("viewer")

    assert viewer.post(url("notifications_alert_silence", outage.pk), {"hours": "1"}).status_code == 403
    assert viewer.post(url("notifications_silence_end", row.pk)).status_code == 403
    assert silence(viewer, **ONCE).status_code == 403
    assert Silence.objects.count() == 2
