"""Sending and cancelling commands from the console: who may, what is offered, what is said when it is refused."""

import re

import pytest
from django.urls import reverse

from agents.models import Command, FanOut, Session
from tests.factories import (
    ONESTEP_CAPABILITIES,
    CommandFactory,
    InstanceFactory,
    ServiceFactory,
    SessionFactory,
    TaskControlsFactory,
    TaskFactory,
    task_control,
)
from tests.integration.console import carried, console_as, said, text_of, url

pytestmark = pytest.mark.django_db
OLD_LOGIN_S = 3600


def connected(*, tasks=(), capabilities=ONESTEP_CAPABILITIES, **fields):
    """An instance with an active session and controls of the named tasks."""
    instance = InstanceFactory(online=True, **fields)
    SessionFactory(instance=instance, accepted_capabilities=list(capabilities))
    TaskControlsFactory(instance=instance, controls=[task_control(name) for name in tasks])
    return instance


def send(client, instance, kind, **fields):
    data = {"kind": kind, "timeout_s": 10, **fields}
    return client.post(url("agents_instance_send", instance.pk), data)


def test_operator_sends_a_ping():
    instance = connected()
    client = console_as("operator")

    answer = send(client, instance, "ping")

    command = Command.objects.get()
    assert answer["Location"] == url("agents_instance_change", instance.pk)
    assert (command.kind, command.created_by_name, command.created_by, command.source_surface) == (
        "ping",
        client.person.username,
        client.person,
        "instance_detail",
    )


def test_run_task_once_carries_its_payload():
    instance = connected(tasks=["report"])

    send(console_as("operator"), instance, "run_task_once", task_name="report", payload='{"day": 1}', reason="late")

    command = Command.objects.get()
    assert command.args == {"task_name": "report", "payload": {"day": 1}}
    assert command.reason == "late"


@pytest.mark.parametrize(
    ("kind", "fields", "field", "message"),
    [
        ("pause_task", {"task_name": "report"}, "reason", "This command needs a reason."),
        ("pause_task", {"reason": "why"}, "task_name", "Choose the task."),
        ("run_task_once", {"task_name": "report", "reason": "r", "payload": "{"}, "payload", "This is not JSON"),
        ("run_task_once", {"task_name": "report", "reason": "r", "payload": "[1]"}, "payload", "must be a JSON object"),
        ("run_task_once", {"task_name": "report", "reason": "r", "payload": "[" * 9000}, "payload", "This is n"),
        ("run_task_once", {"task_name": "report", "reason": "r", "payload": '{"a": NaN}'}, None, "cannot be stored"),
        ("replay_dead_letters", {"task_name": "report", "reason": "r", "limit": 0}, "limit", "greater than or equal"),
        ("ping", {"timeout_s": 0}, "timeout_s", "greater than or equal to 1"),
        ("ping", {"timeout_s": 10**12}, "timeout_s", "less than or equal"),
        ("nonsense", {}, "kind", "Select a valid choice"),
        ("", {}, "kind", "This field is required."),
    ],
)
def test_refused_order_says_why_and_loses_nothing(kind, fields, field, message):
    instance = connected(tasks=["report"])

    page = send(console_as("operator"), instance, kind, **fields)

    form = page.context["form"]
    assert page.status_code == 422
    assert message in " ".join(form.errors[field or "__all__"])
    assert Command.objects.count() == 0
    for name, value in fields.items():
        assert str(form[name].value()) == str(value)


def test_form_offers_only_what_the_session_accepted():
    instance = connected(tasks=["report"], capabilities=["command.ping", "command.pause_task"])
    TaskFactory(service=instance.service, name="not reported")

    form = console_as("admin").get(url("agents_instance_change", instance.pk)).context["form"]

    assert form.choices.kinds == ("ping", "pause_task")
    assert form.choices.tasks == {"pause_task": ("report",)}


def test_form_offers_only_what_each_task_supports():
    instance = connected()
    instance.task_controls.controls = [
        task_control("one", supported_commands=["pause_task"]),
        task_control("two", supported_commands=["run_task_once"]),
    ]
    instance.task_controls.save()

    form = console_as("operator").get(url("agents_instance_change", instance.pk)).context["form"]

    assert form.choices.tasks == {"pause_task": ("one",), "run_task_once": ("two",)}


def test_unconnected_instance_is_offered_only_what_may_be_held():
    instance = InstanceFactory(offline=True)
    SessionFactory(instance=instance, status=Session.Status.DISCONNECTED)
    client = console_as("admin")

    form = client.get(url("agents_instance_change", instance.pk)).context["form"]
    send(client, instance, "sync_now", hold="on")

    assert form.choices.kinds == ("ping", "sync_now", "flush_metrics", "flush_events")
    assert form["hold"].initial is True
    assert Command.objects.get().delivery_mode == "queue_until_reconnect"


def test_command_that_cannot_be_sent_now_says_so_next_to_the_form():
    instance = InstanceFactory(offline=True)
    SessionFactory(instance=instance, status=Session.Status.DISCONNECTED)

    page = send(console_as("operator"), instance, "ping")

    assert page.status_code == 409
    assert page.context["form"].non_field_errors() == ["There is no active control session for this instance."]


def test_instance_without_any_session_offers_nothing():
    instance = InstanceFactory()

    page = text_of(console_as("operator").get(url("agents_instance_change", instance.pk)))

    assert "There is nothing to offer" in page


def test_button_of_a_task_leads_to_the_form_filled_in():
    instance = connected(tasks=["report"])
    client = console_as("operator")
    path = url("agents_instance_change", instance.pk)
    (row,) = client.get(path).context["tasks"]

    form = client.get(row["actions"][0].url.partition("#")[0]).context["form"]

    assert [str(button.label) for button in row["actions"]] == ["Pause", "Restart", "Run once", "Replay", "Discard"]
    assert (form["kind"].value(), form["task_name"].value()) == ("pause_task", "report")


def test_live_part_of_an_instance_offers_the_same_buttons_as_the_page():
    instance = connected(tasks=["report"])
    operator, viewer = console_as("operator"), console_as("viewer")
    button = "kind=run_task_once&amp;task_name=report#send"

    for view in ("agents_instance_change", "agents_instance_live"):
        assert button in text_of(operator.get(url(view, instance.pk)))
        assert button not in text_of(viewer.get(url(view, instance.pk)))


def test_viewer_sees_no_way_to_send_and_is_refused_by_hand():
    instance = connected(tasks=["report"])
    pending = CommandFactory(instance=instance)
    viewer = console_as("viewer")

    pages = [
        text_of(viewer.get(url("agents_instance_change", instance.pk))),
        text_of(viewer.get(url("agents_service_change", instance.service_id))),
        text_of(viewer.get(url("agents_command_change", pending.pk))),
        text_of(viewer.get(url("agents_instance_changelist"))),
        text_of(viewer.get(url("agents_command_changelist"))),
    ]

    assert not any(mark in page for page in pages for mark in ("data-order", "Cancel this command", 'name="action"'))
    assert send(viewer, instance, "ping").status_code == 403
    fan_out = viewer.post(url("agents_service_send", instance.service_id), {"kind": "ping", "timeout_s": 10})
    assert fan_out.status_code == 403
    viewer.post(url("agents_command_cancel", pending.pk))
    for action, path in (("send_ping", "agents_instance"), ("cancel_selected", "agents_command")):
        row = instance if action == "send_ping" else pending
        viewer.post(url(f"{path}_changelist"), {"action": action, "_selected_action": row.pk, "confirm": 1})
    assert Command.objects.get() == pending
    pending.refresh_from_db()
    assert pending.status == "pending"


@pytest.mark.parametrize("kind", ["drain", "restart", "shutdown"])
def test_operator_may_not_stop_an_instance(kind):
    instance = connected()
    operator = console_as("operator")

    page = operator.get(url("agents_instance_change", instance.pk))
    answer = send(operator, instance, kind, reason="because")
    listed = operator.post(
        url("agents_instance_changelist"),
        {"action": f"send_{kind}", "_selected_action": instance.pk, "confirm": 1, "reason": "r", "timeout_s": 9},
    )

    assert kind not in page.context["form"].choices.kinds
    assert answer.status_code == 403
    assert "Your role does not allow this command." in text_of(answer)
    assert listed.status_code in {200, 302}
    assert Command.objects.count() == 0


def test_admin_stops_an_instance_after_a_recent_login():
    instance = connected()

    send(console_as("admin"), instance, "drain", reason="deploy")

    assert Command.objects.get().kind == "drain"


def test_admin_with_an_old_login_proves_it_again_and_finds_the_form_as_it_was():
    instance = connected()
    client = console_as("admin", logged_in_s_ago=OLD_LOGIN_S)

    refused = send(client, instance, "drain", reason="deploy night")
    next_url = "{}?kind=drain&reason=deploy+night&timeout_s=10#send".format(url("agents_instance_change", instance.pk))
    page = client.get(refused["Location"])
    wrong = client.post(reverse("login_again"), {"password": "wrong", "next": page.context["next"]})
    right = client.post(reverse("login_again"), {"password": "password", "next": page.context["next"]})

    assert Command.objects.count() == 0
    assert page.context["next"] == next_url
    assert "This is not your password." in text_of(wrong)
    assert right["Location"] == next_url
    form = client.get(next_url.partition("#")[0]).context["form"]
    assert (form["kind"].value(), form["reason"].value()) == ("drain", "deploy night")
    assert send(client, instance, "drain", reason="deploy night").status_code == 302
    assert Command.objects.get().kind == "drain"


def test_old_login_stops_nothing_through_lists_and_services_either():
    instance = connected()
    client = console_as("admin", logged_in_s_ago=OLD_LOGIN_S)
    order = {"kind": "drain", "reason": "deploy", "timeout_s": 10}

    of_service = client.post(url("agents_service_send", instance.service_id), order)
    of_list = client.post(
        url("agents_instance_changelist"),
        {"action": "send_drain", "_selected_action": instance.pk, "confirm": 1, **order},
    )

    assert of_service["Location"].startswith(reverse("login_again"))
    assert of_list["Location"].startswith(reverse("login_again"))
    assert Command.objects.count() == 0


def test_login_again_leads_nowhere_else():
    client = console_as("admin")

    answer = client.post(reverse("login_again"), {"password": "password", "next": "https://evil.example/"})

    assert answer["Location"] == "/admin/"


def test_login_again_does_not_take_the_password_of_another():
    client = console_as("admin")
    console_as("superuser", username="root", password="root-password")

    answer = client.post(reverse("login_again"), {"username": "root", "password": "root-password"})

    assert "This is not your password." in text_of(answer)


def test_action_asks_again_before_it_sends():
    instances = [connected(), connected()]
    client = console_as("admin")
    chosen = {"action": "send_restart", "_selected_action": [instance.pk for instance in instances]}

    page = client.post(url("agents_instance_changelist"), chosen)

    assert page.templates[0].name == "admin/agents/instance/confirm.html"
    assert Command.objects.count() == 0
    without_reason = client.post(url("agents_instance_changelist"), {**chosen, "confirm": 1, "timeout_s": 10})
    assert "This field is required." in text_of(without_reason)
    reasoned = {**chosen, "confirm": 1, "timeout_s": 10, "reason": "deploy"}
    untyped = client.post(url("agents_instance_changelist"), reasoned)
    assert "Type the number to confirm" in text_of(untyped)
    assert Command.objects.count() == 0
    client.post(url("agents_instance_changelist"), reasoned | {"typed": "2"})
    assert Command.objects.filter(kind="restart", reason="deploy").count() == 2


def test_action_says_how_many_were_sent_and_why_the_rest_was_not():
    reachable = connected()
    unreachable = InstanceFactory(offline=True)
    incapable = connected(capabilities=["command.drain"])

    page = console_as("operator").post(
        url("agents_instance_changelist"),
        {
            "action": "send_ping",
            "_selected_action": [reachable.pk, unreachable.pk, incapable.pk],
            "confirm": 1,
            "timeout_s": 10,
        },
        follow=True,
    )

    assert said(page) == ["Ping: 1 command made."]
    assert {target.instance: (target.outcome, target.reason_code) for target in page.context["targets"]} == {
        reachable: ("dispatched", ""),
        unreachable: ("skipped", "no_active_session"),
        incapable: ("rejected", "missing_capability"),
    }


def test_action_on_too_many_is_refused(monkeypatch):
    monkeypatch.setattr("agents.admin.bulk.TARGETS_MAX", 1)
    instances = [connected(), connected()]

    page = console_as("operator").post(
        url("agents_instance_changelist"),
        {"action": "send_ping", "_selected_action": [each.pk for each in instances], "confirm": 1, "timeout_s": 10},
        follow=True,
    )

    assert said(page) == ["Select 1 instances at most, or send the command to a group, a selector or their service."]
    assert Command.objects.count() == 0


def test_fan_out_to_all_online_shows_a_table_that_reloads_without_sending_again():
    service = ServiceFactory()
    online = connected(service=service)
    InstanceFactory(service=service, offline=True)
    client = console_as("operator")

    confirm = client.post(url("agents_service_send", service.pk), {"kind": "ping", "timeout_s": 10})
    assert Command.objects.count() == 0
    answer = client.post(reverse("fan_out_send"), carried(confirm), follow=True)
    again = client.get(answer.redirect_chain[-1][0])

    assert Command.objects.get().instance == online
    assert [target.outcome for target in again.context["targets"]] == ["dispatched"]
    assert again.context["targets"][0].command == Command.objects.get()


def test_fan_out_to_chosen_instances_tells_of_each():
    service = ServiceFactory()
    online = connected(service=service)
    offline = InstanceFactory(service=service, offline=True)

    client = console_as("operator")
    confirm = client.post(
        url("agents_service_send", service.pk),
        {"kind": "ping", "timeout_s": 10, "target_mode": "selected", "target": [online.pk, offline.pk]},
    )
    page = client.post(reverse("fan_out_send"), carried(confirm), follow=True)

    outcomes = {target.instance: target.outcome for target in page.context["targets"]}
    assert outcomes == {online: "dispatched", offline: "skipped"}
    assert "There is no active control session for this instance." in text_of(page)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([], "Choose at least one instance"),
        (["nonsense"], "This is not the id of an instance."),
        (["00000000-0000-0000-0000-000000000000"], "was not found"),
    ],
)
def test_fan_out_to_nonsense_is_refused(targets, message):
    service = connected().service

    page = console_as("operator").post(
        url("agents_service_send", service.pk),
        {"kind": "ping", "timeout_s": 10, "target_mode": "selected", "target": targets},
    )

    assert message in text_of(page)
    assert page.status_code in {409, 422}
    assert Command.objects.count() == 0


def test_fan_out_without_anyone_online_says_so():
    service = InstanceFactory(offline=True).service

    page = text_of(
        console_as("operator").post(url("agents_service_send", service.pk), {"kind": "ping", "timeout_s": 10})
    )

    assert "0 commands will be made." in page
    assert "1 instance of the service is not online and is left out." in page
    assert not re.search(r">Send \d+ command", page)


def test_nobody_shuts_a_whole_service_down():
    service = connected().service

    form = console_as("admin").get(url("agents_service_change", service.pk)).context["form"]

    assert "shutdown" not in form.choices.kinds
    assert "restart" in form.choices.kinds


def test_pending_command_is_cancelled_once():
    command = CommandFactory()
    client = console_as("operator")

    first = client.post(url("agents_command_cancel", command.pk), follow=True)
    second = client.post(url("agents_command_cancel", command.pk), follow=True)

    assert said(first) == ["The command was cancelled; it was never sent."]
    assert said(second) == ["This command is Cancelled; only a pending command can be cancelled."]
    command.refresh_from_db()
    assert command.status == "cancelled"


def test_cancel_action_says_what_was_cancelled_and_what_was_not():
    pending, running = CommandFactory(), CommandFactory(status="accepted")
    client = console_as("operator")
    chosen = {"action": "cancel_selected", "_selected_action": [pending.pk, running.pk]}

    asked = client.post(url("agents_command_changelist"), chosen)
    done = client.post(url("agents_command_changelist"), {**chosen, "confirm": 1}, follow=True)

    assert asked.context["pending"] == 1
    assert said(done) == ["1 command cancelled.", "1 command left as it is: it was no longer pending."]


@pytest.mark.parametrize("view", ["agents_instance_send", "agents_service_send", "agents_command_cancel"])
def test_acts_take_posts_only(view):
    instance = connected()
    row = {"agents_instance_send": instance, "agents_service_send": instance.service}.get(view) or CommandFactory()

    assert console_as("admin").get(url(view, row.pk)).status_code == 405


def test_acts_need_a_csrf_token():
    instance = connected()
    client = console_as("operator")
    client.handler.enforce_csrf_checks = True

    assert send(client, instance, "ping").status_code == 403
    assert Command.objects.count() == 0


def test_a_second_click_on_a_list_action_shows_what_was_sent():
    client = console_as("admin")
    instances = [connected(), connected()]
    chosen = {"action": "send_restart", "_selected_action": [instance.pk for instance in instances]}
    page = client.post(url("agents_instance_changelist"), chosen)
    order = carried(page) | {"reason": "stuck", "timeout_s": 10}

    first = client.post(url("agents_instance_changelist"), order)
    second = client.post(url("agents_instance_changelist"), order | {"typed": "99"})

    assert first.status_code == second.status_code == 302
    assert first["Location"] == second["Location"]
    assert FanOut.objects.count() == 1
