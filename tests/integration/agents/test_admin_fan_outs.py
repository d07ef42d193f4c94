"""Sending to selectors and groups on the console, what became of it, groups and the selector lab."""

import re
import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agents.models import Command, Event, FanOut, Group, Instance, InstanceLabels
from tests.factories import (
    CommandFactory,
    EventFactory,
    GroupFactory,
    InstanceFactory,
    InstanceLabelsFactory,
    ServiceFactory,
    SessionFactory,
    TaskFactory,
)
from tests.integration.console import carried, console_as, said, text_of, url

pytestmark = pytest.mark.django_db
SEND = "/admin/fan-outs/send/"
LAB = "/admin/selectors/"


def connected(env="prod", **fields):
    session = SessionFactory(instance=InstanceFactory(service=ServiceFactory(), online=True), **fields)
    InstanceLabelsFactory(instance=session.instance, labels={"env": env})
    return session.instance


def asked(client, **fields):
    return client.post(SEND, {"selector": "env=prod", "kind": "ping", "timeout_s": 10, **fields})


# Sending.


@pytest.mark.parametrize("way", [{"selector": " env = prod"}, {"group": "production"}])
def test_an_order_is_typed_looked_at_and_sent(way):
    GroupFactory(name="production")
    able = connected()
    connected(accepted_capabilities=[])
    InstanceLabelsFactory(instance=InstanceFactory(offline=True, inflight_tasks=3), labels={"env": "prod"})
    client = console_as("operator")

    form = client.get(SEND, way)
    confirm = client.post(SEND, way | {"kind": "ping", "timeout_s": 10, "reason": "look"})
    page = client.post(SEND, carried(confirm), follow=True)

    assert "For 3 instances" in text_of(form)
    reach = confirm.context["reach"]
    assert (reach.matching, reach.online, reach.offline, reach.lacking_capability, reach.busy) == (3, 2, 1, 1, 1)
    assert reach.connected == 2
    assert "Send this command to 3 instances?" in text_of(confirm)
    assert "1 command will be made." in text_of(confirm)
    kept = FanOut.objects.get()
    assert page.redirect_chain == [(url("agents_fanout_change", kept.pk), 302)]
    assert (kept.selector, kept.group_name, kept.reason) == ("env=prod", way.get("group", ""), "look")
    assert Command.objects.get().instance == able
    assert said(page) == ["Ping: 1 command made."]


def test_nothing_is_sent_before_it_was_looked_at():
    connected()

    asked(console_as("operator"))

    assert (Command.objects.count(), FanOut.objects.count()) == (0, 0)


def test_a_second_click_sends_nothing_more():
    connected()
    client = console_as("operator")
    fields = carried(asked(client))

    first, second = client.post(SEND, fields), client.post(SEND, fields)

    assert first.url == second.url == url("agents_fanout_change", FanOut.objects.get().pk)
    assert Command.objects.count() == 1


def test_a_fleet_that_changed_is_shown_anew():
    connected()
    client = console_as("operator")
    fields = carried(asked(client))
    connected()

    again = client.post(SEND, fields)

    assert Command.objects.count() == 0
    assert said(again) == ["The fleet changed meanwhile: these instances are meant now."]
    assert again.context["reach"].matching == 2
    client.post(SEND, carried(again))
    assert Command.objects.count() == 2


def test_an_order_for_a_task_offers_the_tasks_of_who_is_meant():
    instance = connected()
    TaskFactory(service=instance.service, name="report")
    TaskFactory(name="elsewhere")

    form = console_as("operator").get(SEND, {"selector": "env=prod"}).context["form"]

    assert form.choices.task_names == ["report"]


def test_what_is_wrong_with_an_order_is_said_and_loses_nothing():
    connected()

    page = asked(console_as("operator"), kind="pause_task", timeout_s=7)

    assert page.status_code == 422
    assert page.context["form"]["timeout_s"].value() == "7"
    assert page.context["carried"] == [("selector", "env=prod")]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "Say whom it is for"),
        ({"selector": "a", "group": "b"}, "Say whom it is for"),
        ({"selector": "a=("}, "Character 3"),
        ({"group": "ghost"}, "group ghost was not found"),
        ({"instance": "ghost"}, "is no id"),
        ({"retry": "ghost"}, "is no id"),
    ],
)
def test_an_order_for_nobody_in_particular_leads_to_the_lab(query, message):
    page = console_as("operator").get(SEND, query, follow=True)

    assert page.redirect_chain[0][0] == reverse("selector_lab")
    assert message in said(page)[0]


def test_who_may_send_what_from_the_console():
    connected()
    drain = {"kind": "drain", "reason": "r"}

    assert console_as("viewer").get(SEND, {"selector": "env=prod"}).status_code == 403
    assert asked(console_as("viewer")).status_code == 403
    assert asked(console_as("operator"), **drain).status_code == 422
    late = asked(console_as("admin", logged_in_s_ago=10**6), **drain)
    assert late.url.startswith("/admin/login-again/?next=%2Fadmin%2Ffan-outs%2Fsend")
    assert asked(console_as("admin"), **drain).context["destructive"]
    assert Command.objects.count() == 0


def test_a_confirmed_order_is_not_sent_by_an_old_login():
    connected()
    fields = carried(asked(console_as("admin"), kind="drain", reason="r"))

    answer = console_as("admin", logged_in_s_ago=10**6).post(SEND, fields)

    assert answer.url.startswith("/admin/login-again/")
    assert Command.objects.count() == 0


def test_list_actions_are_one_fan_out():
    able, away = connected(), InstanceFactory(offline=True)

    page = console_as("operator").post(
        url("agents_instance_changelist"),
        {"action": "send_ping", "_selected_action": [able.pk, away.pk], "confirm": 1, "timeout_s": 10},
        follow=True,
    )

    kept = FanOut.objects.get()
    assert page.redirect_chain == [(url("agents_fanout_change", kept.pk), 302)]
    assert (kept.target_mode, kept.dispatched, kept.skipped) == ("selected_instances", 1, 1)


# What became of it.


def sent(client, **fields):
    client.post(SEND, carried(asked(client, **fields)))
    return FanOut.objects.latest("created_at")


def test_the_page_shows_each_target_as_it_was_and_as_it_is():
    client = console_as("operator")
    done, failed, unable = connected(), connected(), connected(accepted_capabilities=[])
    kept = sent(client)
    Command.objects.filter(instance=done).update(status="succeeded")
    Command.objects.filter(instance=failed).update(status="failed", error_code="boom", error_message="It broke.")
    InstanceLabels.objects.update(effective={})

    page = client.get(url("agents_fanout_change", kept.pk))

    shown = {
        target.instance: (target.outcome, target.command and target.command.status)
        for target in page.context["targets"]
    }
    assert shown == {done: ("dispatched", "succeeded"), failed: ("dispatched", "failed"), unable: ("rejected", None)}
    assert "It broke." in text_of(page)
    assert "Its session did not offer this command." in text_of(page)
    assert "Again for the 2 without success" in text_of(page)


@pytest.mark.parametrize(("show", "count"), [("", 3), ("open", 1), ("failed", 1), ("done", 1), ("nonsense", 3)])
def test_targets_are_narrowed_by_how_they_fare(show, count):
    client = console_as("operator")
    for _ in range(3):
        connected()
    kept = sent(client)
    first, second, _third = Command.objects.all()
    Command.objects.filter(pk=first.pk).update(status="succeeded")
    Command.objects.filter(pk=second.pk).update(status="timeout")

    assert client.get(url("agents_fanout_change", kept.pk), {"show": show}).context["targets"].paginator.count == count


def test_the_live_part_ends_with_the_last_command():
    client = console_as("operator")
    connected()
    kept = sent(client)

    under_way = client.get(url("agents_fanout_live", kept.pk)).status_code
    Command.objects.update(status="succeeded")

    assert (under_way, client.get(url("agents_fanout_live", kept.pk)).status_code) == (200, 286)


def test_a_repetition_is_for_those_that_failed_alone():
    client = console_as("operator")
    done, failed, unable = connected(), connected(), connected(accepted_capabilities=[])
    kept = sent(client, reason="first")
    Command.objects.filter(instance=done).update(status="succeeded")
    Command.objects.filter(instance=failed).update(status="expired")

    confirm = client.get(SEND, {"retry": str(kept.pk)})
    client.post(SEND, carried(confirm))

    again = FanOut.objects.get(retry_of=kept)
    assert (again.kind, again.reason, again.dispatched, again.rejected) == ("ping", "first", 1, 1)
    assert {target.instance for target in again.targets.all()} == {failed, unable}
    assert str(again.public_id)[:13] in text_of(client.get(url("agents_fanout_change", kept.pk)))


def test_whom_the_portal_hears_by_another_way_is_connected_all_the_same():
    instance = connected()
    instance.connectivity = "offline"
    instance.save()

    confirm = asked(console_as("operator"))

    reach = confirm.context["reach"]
    assert (reach.online, reach.offline, reach.connected, confirm.context["takes"]) == (0, 1, 1, 1)
    assert re.search(r">Connected now</dt><dd>1</dd>", text_of(confirm))


def test_a_repetition_leaves_out_where_it_can_never_work():
    client = console_as("operator")
    node = InstanceFactory(dialect="argus")
    InstanceLabelsFactory(instance=node, labels={"env": "prod"})
    archived, leaving, failed = connected(), connected(), connected()
    kept = sent(client)
    Command.objects.update(status="failed")
    Instance.objects.filter(pk=archived.pk).update(archived_at=timezone.now())
    Instance.objects.filter(pk=leaving.pk).update(forget_requested_at=timezone.now())
    page = url("agents_fanout_change", kept.pk)

    assert "Again for the 1 without success" in text_of(client.get(page))
    assert client.get(SEND, {"retry": str(kept.pk)}).context["reach"].matching == 1
    failed.delete()
    assert "without success" not in text_of(client.get(page))


def test_the_bar_tells_what_succeeded_from_what_did_not():
    client = console_as("operator")
    instances = [connected() for _ in range(4)]
    kept = sent(client)
    page = url("agents_fanout_change", kept.pk)
    Command.objects.update(status="expired")

    assert [(share.tone, share.start, share.count) for share in client.get(page).context["shares"]] == [("bad", 0, 4)]
    Command.objects.filter(instance=instances[0]).update(status="succeeded")
    Command.objects.filter(instance=instances[1]).update(status="accepted")
    told = client.get(page)
    shares = [(share.tone, share.start, share.count) for share in told.context["shares"]]
    assert shares == [("good", 0, 1), ("bad", 1, 2), ("open", 3, 1)]
    assert '<rect class="c-bar-bad" x="1" width="2" height="1"/>' in text_of(told)
    assert "Of 4 commands" in text_of(told)


def test_why_it_failed_is_told_to_the_end():
    client = console_as("operator")
    connected()
    kept = sent(client)
    told = "It broke. " * 40 + "The end."
    Command.objects.update(status="failed", error_code="boom", error_message=told)

    assert told in text_of(client.get(url("agents_fanout_change", kept.pk)))


def test_who_may_not_send_a_command_may_not_repeat_it():
    unable = connected(accepted_capabilities=[])
    admin, operator = console_as("admin"), console_as("operator")
    kept = sent(admin, kind="drain", reason="first")
    page = url("agents_fanout_change", kept.pk)

    assert kept.targets.get().instance == unable
    assert ("Again for" in text_of(admin.get(page)), "Again for" in text_of(operator.get(page))) == (True, False)
    assert operator.get(SEND, {"retry": str(kept.pk)}).status_code == 403
    assert operator.post(SEND, carried(admin.get(SEND, {"retry": str(kept.pk)}))).status_code == 403
    assert FanOut.objects.count() == 1


@pytest.mark.parametrize("method", ["get", "post"])
def test_an_instance_that_is_gone_is_said(method):
    response = getattr(console_as("operator"), method)(
        SEND, {"instance": str(uuid.uuid4()), "kind": "ping"}, follow=True
    )

    assert response.redirect_chain == [(LAB, 302)]
    assert "was not found" in " ".join(said(response))


@pytest.mark.parametrize("method", ["get", "post"])
def test_more_instances_than_one_order_goes_to_are_said(monkeypatch, method):
    monkeypatch.setattr("tasks_app.services.fan_outs.TARGETS_MAX", 1)
    connected(), connected()

    response = getattr(console_as("operator"), method)(SEND, {"selector": "env=prod", "kind": "ping"}, follow=True)

    assert response.redirect_chain == [(LAB, 302)]
    assert "One order goes to 1 instances at most" in " ".join(said(response))


def test_pages_take_as_many_queries_for_many_targets_as_for_few():
    client = console_as("operator")
    statements = []
    for count in (2, 20):
        for _ in range(count):
            connected()
        kept = sent(client)
        page, live = url("agents_fanout_change", kept.pk), url("agents_fanout_live", kept.pk)
        each = []
        for path in (f"{SEND}?selector=env%3Dprod", SEND, page, live, url("agents_fanout_changelist")):
            for _ in range(2):
                with CaptureQueriesContext(connection) as queries:
                    answer = asked(client) if path == SEND else client.get(path)
            assert answer.status_code in {200, 286}
            each.append(len(queries))
        statements.append(each)

    assert statements[0] == statements[1]
    assert max(statements[0]) <= 20


def test_the_list_tells_for_whom_and_how_it_fares():
    client = console_as("operator")
    connected()
    sent(client)

    page = text_of(client.get(url("agents_fanout_changelist"), {"q": "env=prod"}))

    assert "env=prod" in page
    assert "1 Queued" in page


def test_a_command_leads_to_its_fan_out():
    client = console_as("operator")
    connected()
    kept = sent(client)

    assert url("agents_fanout_change", kept.pk) in text_of(
        client.get(url("agents_command_change", Command.objects.get().pk))
    )


# Groups.


def test_a_group_is_made_changed_and_deleted_on_the_console():
    client = console_as("operator")

    client.post(url("agents_group_add"), {"name": " canary ", "selector": "canary , env=prod", "description": ""})
    group = Group.objects.get()
    client.post(url("agents_group_change", group.pk), {"name": "canary", "selector": "env=dev", "description": "d"})
    client.post(url("agents_group_delete", group.pk), {"post": "yes"})

    assert group.selector == "env=prod,canary"
    told = Event.objects.filter(subject=f"agents.group:{group.pk}").order_by("id")
    assert [
        (event.kind, event.meta.get("before", {}).get("selector"), event.meta.get("after", {}).get("selector"))
        for event in told
    ] == [
        ("object.created", None, "env=prod,canary"),
        ("object.changed", "env=prod,canary", "env=dev"),
        ("object.deleted", "env=dev", None),
    ]
    assert not Group.objects.exists()


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"selector": "a=("}, "selector", "Character 3"),
        ({"selector": " "}, "selector", "This field is required."),
        ({"name": "a/b"}, "name", "holds no “/”"),
        ({"name": "taken"}, "name", "already exists"),
    ],
)
def test_a_group_that_cannot_be_says_why(fields, field, message):
    GroupFactory(name="taken")

    page = console_as("operator").post(url("agents_group_add"), {"name": "x", "selector": "a"} | fields)

    assert message in str(page.context["adminform"].form.errors[field])
    assert Group.objects.count() == 1


def test_viewers_look_at_groups_and_change_none():
    group = GroupFactory()
    viewer = console_as("viewer")

    assert viewer.get(url("agents_group_change", group.pk)).status_code == 200
    assert viewer.get(url("agents_group_add")).status_code == 403
    assert viewer.post(url("agents_group_change", group.pk), {"name": "x", "selector": "a"}).status_code == 403
    assert viewer.post(url("agents_group_delete", group.pk), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("count", [1, 3])
def test_the_list_of_groups_counts_them_in_one_query(count, django_assert_max_num_queries):
    connected()
    GroupFactory.create_batch(count)
    client = console_as("viewer")
    client.get(url("agents_group_changelist"))

    with django_assert_max_num_queries(9):
        page = client.get(url("agents_group_changelist"))

    assert [row.member_count for row in page.context["cl"].result_list] == [1] * count


# The lab.


def test_the_lab_shows_whom_a_selector_means_and_where_it_leads():
    here = connected()
    connected("dev")

    client = console_as("operator")
    page = client.get(f"{LAB}matches/", {"selector": "env=prod"})

    text = text_of(page)
    assert "1 of 2 instances match" in text
    assert url("agents_instance_change", here.pk) in text
    for link in (
        "/admin/agents/instance/?selector=env%3Dprod",
        f"{SEND}?selector=env%3Dprod",
        "/admin/agents/group/add/?selector=env%3Dprod",
    ):
        assert link in text
    known_keys = client.get(f"{LAB}known/").context["known_keys"]
    assert {known.key for known in known_keys} >= {"env", "portal/environment", "portal/node"}


def test_the_lab_shows_what_the_label_of_a_near_miss_is_instead():
    other, without = connected("dev"), connected("prod")
    InstanceLabels.objects.filter(pk=without.pk).update(effective={}, agent={})

    text = text_of(console_as("viewer").get(f"{LAB}matches/", {"selector": "env=prod"}))

    for instance, label in ((other, "<code>env=dev</code>"), (without, "<code>env</code> is missing")):
        name = re.escape(instance.node_name)
        assert re.search(rf">{name} <span [^>]*>{instance.external_id[:8]}</span></a> {label}</li>", text)


def test_instances_of_the_same_name_are_told_apart():
    client = console_as("operator")
    instances = [connected(), connected()]
    Instance.objects.update(node_name="twin")
    kept = sent(client)

    pages = [
        client.get(f"{LAB}matches/", {"selector": "env=prod"}),
        client.get(SEND, {"selector": "env=prod"}),
        asked(client),
        client.get(url("agents_fanout_change", kept.pk)),
        client.post(
            url("agents_instance_changelist"),
            {"action": "set_labels", "_selected_action": [instance.pk for instance in instances]},
        ),
    ]

    for page in pages:
        for instance in instances:
            assert re.search(rf"twin <span [^>]*>{instance.external_id[:8]}</span>", text_of(page))
    listed = text_of(client.get(url("agents_instance_changelist")))
    assert all(f'title="{instance.external_id}"' in listed for instance in instances)


def test_the_lab_shows_a_slip_at_its_place():
    text = text_of(console_as("viewer").get(LAB, {"selector": "a=b,=<x"}))

    assert re.search(r"a=b,<mark>=</mark>&lt;x", text)
    assert "Character 5" in text


def test_the_part_that_changes_while_typing_moves_the_address_along():
    client = console_as("viewer")

    page = client.get(
        f"{LAB}matches/", {"selector": "env=prod"}, headers={"HX-Current-URL": "http://testserver/admin/selectors/"}
    )

    assert page["HX-Replace-Url"] == "/admin/selectors/?selector=env%3Dprod"
    assert "<html" not in text_of(page)
    assert SEND not in text_of(page)


@pytest.mark.parametrize("path", [LAB, f"{LAB}matches/", f"{LAB}known/"])
def test_the_lab_is_for_those_with_a_role(path):
    client = console_as("superuser")
    client.person.is_superuser = False
    client.person.save()

    assert client.get(path).status_code == 403


def test_the_page_of_the_lab_reads_no_instance_and_asks_for_its_parts():
    connected()
    client = console_as("viewer")

    with CaptureQueriesContext(connection) as queries:
        asked_for = text_of(client.get(LAB, {"selector": "env=prod"}))
    empty = text_of(client.get(LAB))

    assert not any("agents_instance" in query["sql"] for query in queries.captured_queries)
    assert f'hx-get="{LAB}known/" hx-trigger="load"' in asked_for
    assert 'hx-trigger="load, submit,' in asked_for
    assert 'hx-trigger="submit,' in empty


@pytest.mark.parametrize("path", [f"{LAB}matches/", f"{LAB}known/"])
def test_the_parts_of_the_lab_take_a_fixed_number_of_queries(path):
    client = console_as("viewer")
    counts = []
    for number in (1, 5):
        for _ in range(number):
            connected()
        with CaptureQueriesContext(connection) as queries:
            client.get(path, {"selector": "env=dev,region=eu"})
        counts.append(len(queries))

    assert counts[0] == counts[1] <= 20


# Lists.


def test_lists_are_narrowed_by_group_and_selector():
    here, there = connected(), connected("dev")
    GroupFactory(name="production")
    for instance in (here, there):
        CommandFactory(instance=instance)
        EventFactory(instance=instance, kind="task.failed")
    client = console_as("viewer")

    def rows(view, **query):
        return list(client.get(url(view), query).context["cl"].result_list)

    assert rows("agents_instance_changelist", group="production") == [here]
    assert rows("agents_instance_changelist", selector="env!=dev,portal/dialect") == [here]
    assert rows("agents_instance_changelist", group="production", selector="env=dev") == []
    for view in ("agents_session_changelist", "agents_command_changelist", "agents_event_changelist"):
        for query in ({"group": "production"}, {"selector": "env in (prod)"}):
            assert [row.instance for row in rows(view, **query)] == [here]
        assert rows(view, group="production", selector="env=dev") == []


@pytest.mark.parametrize("view", ["instance", "session", "event"])
@pytest.mark.parametrize(("query", "message"), [({"selector": "a=("}, "Character 3"), ({"group": "ghost"}, "ghost")])
def test_a_list_says_what_is_wrong_with_its_filter(query, message, view):
    connected()

    page = console_as("operator").get(url(f"agents_{view}_changelist"), query)

    assert list(page.context["cl"].result_list) == []
    assert message in said(page)[0]
    assert SEND not in text_of(page)


def test_a_narrowed_list_leads_to_the_order():
    connected()
    path = url("agents_instance_changelist")

    assert f"{SEND}?selector=env%3Dprod" in text_of(console_as("operator").get(path, {"selector": "env=prod"}))
    assert SEND not in text_of(console_as("viewer").get(path, {"selector": "env=prod"}))
