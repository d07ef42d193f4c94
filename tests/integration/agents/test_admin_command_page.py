"""The page of a command and the panel that orders one: what was sent, why it waits, the same again, and as curl."""

import json
import os
import shlex
import shutil
import subprocess
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from agents.admin.command_page import CURL_MAX_CHARS, curl_of, moves
from agents.models import Command
from agents.models.event import EventKind
from agents.services.commands import cancel_command
from agents.services.delivery import claim_waiting
from agents.services.orders import Order
from controlplane.access.models import ApiToken
from controlplane.common.actors import Actor
from tasks_app.services.commands import order_command
from tests.factories import ApiTokenFactory, CommandFactory, EventFactory, InstanceFactory, SessionFactory
from tests.integration.agents.test_admin_commands import OLD_LOGIN_S, connected
from tests.integration.api_client import user_in
from tests.integration.console import console_as, text_of, url

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
NASTY = {"quote": 'it\'s "here"', "dollar": "$(touch /tmp/never) `id` $HOME \\ !", "zh": "实例\n@x"}


def panel(client, instance, kind, **fields):
    data = {"kind": kind, "timeout_s": 10, **fields}
    return client.post(url("agents_instance_send", instance.pk), data, headers=HTMX)


def test_panel_answers_with_itself_and_the_command_in_it():
    instance = connected()
    client = console_as("operator")

    page = panel(client, instance, "ping")

    command = Command.objects.get()
    assert page.status_code == 200
    assert text_of(page).lstrip().startswith('<details id="send"')
    assert f'hx-get="{url("agents_command_sent", command.pk)}"' in text_of(page)
    assert "the command is about to be sent" in text_of(page)


def test_panel_asks_no_more_once_the_command_is_finished_and_shows_the_answer():
    command = CommandFactory(status="succeeded", result={"pong": True}, finished_at=timezone.now())
    failed = CommandFactory(status="failed", error_code="bad", error_message="there is no month 13")
    client = console_as()

    answer = text_of(client.get(url("agents_command_sent", command.pk)))
    error = text_of(client.get(url("agents_command_sent", failed.pk)))

    assert "hx-get" not in answer
    assert "pong" in answer
    assert "there is no month 13" in error


def test_refused_order_is_shown_in_the_panel():
    instance = connected(tasks=["report"])

    page = panel(
        console_as("operator"), instance, "run_task_once", task_name="report", reason="r", payload='{"a":\n 1,}'
    )

    # A browser logs other answers as errors of the page.
    assert page.status_code == 200
    assert "<html" not in text_of(page)
    assert "This is not JSON: line 2, character" in text_of(page)
    assert 'value="run_task_once" checked' in text_of(page)


def test_panel_leads_to_the_login_where_that_is_too_old():
    instance = connected()

    answer = panel(console_as("admin", logged_in_s_ago=OLD_LOGIN_S), instance, "drain", reason="deploy")

    assert answer.status_code == 204
    assert answer["HX-Redirect"].startswith("/admin/login-again/")
    assert Command.objects.count() == 0


def test_panel_offers_a_button_for_each_kind_that_the_session_accepted():
    instance = connected(capabilities=["command.ping", "command.sync_now"])

    page = text_of(console_as("admin").get(url("agents_instance_change", instance.pk)))

    assert page.count('type="radio" name="kind"') == 2


def test_page_tells_each_transition_with_session_process_and_attempt():
    session = SessionFactory()
    command = order_command(session.instance_id, Order(kind="ping", timeout_s=60), actor=Actor("ann"))
    claim_waiting([session.pk])
    again = SessionFactory(instance=InstanceFactory(), service=session.service)
    EventFactory(
        kind=EventKind.COMMAND_DISPATCHED,
        instance=session.instance,
        command_id=command.pk,
        occurred_at=timezone.now() + timedelta(seconds=1),
        meta={"session_id": again.public_id},
    )
    EventFactory(
        kind=EventKind.COMMAND_DISPATCHED,
        instance=session.instance,
        command_id=command.pk,
        occurred_at=timezone.now() + timedelta(seconds=2),
        meta={"session_id": "sess_nonsense"},
    )

    told = [(move.event.kind, move.event.actor, move.session, move.attempt) for move in moves(command)]
    page = text_of(console_as().get(url("agents_command_change", command.pk)))

    assert told == [
        ("command.queued", "ann", None, 0),
        ("command.dispatched", "", session, 1),
        ("command.dispatched", "", again, 2),
        ("command.dispatched", "", None, 3),
    ]
    assert str(session.replica) in page
    assert "attempt 2" in page


def test_cancelled_command_says_by_whom():
    command = CommandFactory()
    cancel_command(command.pk, actor=Actor("bob"))

    assert [(move.event.kind, move.event.actor) for move in moves(command)] == [("command.cancelled", "bob")]


def test_page_lists_the_same_of_this_instance_alone():
    command = CommandFactory(kind="pause_task", task_name="a")
    same = CommandFactory(instance=command.instance, kind="pause_task", task_name="a")
    CommandFactory(instance=command.instance, kind="pause_task", task_name="b")
    CommandFactory(instance=command.instance, kind="ping")
    CommandFactory(kind="pause_task", task_name="a")

    page = console_as().get(url("agents_command_change", command.pk))

    assert list(page.context["same"]) == [same]


def test_order_is_filled_in_again():
    instance = connected(tasks=["report"])
    args = {"task_name": "report", "payload": {"day": 1}}
    command = CommandFactory(instance=instance, kind="run_task_once", task_name="report", args=args, reason="late")
    operator = console_as("operator")

    again = operator.get(url("agents_command_change", command.pk)).context["again_url"]
    form = operator.get(again.partition("#")[0]).context["form"]

    assert {name: form[name].value() for name in ("kind", "task_name", "reason", "payload")} == {
        "kind": "run_task_once",
        "task_name": "report",
        "reason": "late",
        "payload": '{"day": 1}',
    }
    assert console_as("viewer").get(url("agents_command_change", command.pk)).context["again_url"] == ""


def test_arguments_that_are_too_long_are_no_command_line():
    command = CommandFactory(kind="run_task_once", args={"payload": {"a": "x" * CURL_MAX_CHARS}})

    assert curl_of(command, portal_url="https://portal") == ""
    assert "too long for a command line" in text_of(console_as().get(url("agents_command_change", command.pk)))


def test_command_line_quotes_what_a_shell_would_read():
    command = CommandFactory(args=NASTY, reason="it's $HOME")

    words = shlex.split(curl_of(command, portal_url="https://portal/$(id)").replace("\\\n", " "))

    assert words[3] == f"https://portal/$(id)/api/v1/instances/{command.instance_id}/commands"
    assert json.loads(words[-1]) == {"kind": "ping", "timeout_s": 10, "args": NASTY, "reason": "it's $HOME"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_command_line_orders_the_same_when_it_is_run(live_server, tmp_path):
    instance = connected(tasks=["report"])
    args = {"task_name": "report", "payload": NASTY}
    command = CommandFactory(
        instance=instance, kind="run_task_once", task_name="report", args=args, reason="it's late", timeout_s=77
    )
    secret = f"opt_{uuid.uuid4().hex}"
    ApiTokenFactory(secret=secret, user=user_in("operator"), scope=ApiToken.Scope.COMMAND)
    line = curl_of(command, portal_url=live_server.url)

    subprocess.run(
        ["/bin/sh", "-c", line], env={"PATH": os.environ["PATH"], "TOKEN": secret}, cwd=tmp_path, check=True, timeout=30
    )

    made = Command.objects.exclude(pk=command.pk).get()
    assert (made.instance, made.kind, made.args, made.reason, made.timeout_s) == (
        instance,
        "run_task_once",
        args,
        "it's late",
        77,
    )


def test_list_says_why_a_command_waits_and_costs_the_same():
    CommandFactory(instance=InstanceFactory(offline=True), timeout_s=600)

    page = text_of(console_as().get(url("agents_command_changelist")))

    assert "The instance is not connected" in page


def test_list_is_narrowed_by_time_and_by_whom():
    CommandFactory(created_at=timezone.now() - timedelta(days=3), created_by_name="ann")
    lately = CommandFactory(created_by_name="ann")
    CommandFactory(created_by_name="bob")
    client = console_as()

    page = client.get(url("agents_command_changelist"), {"since": "1d", "who": "ann"})

    assert list(page.context["cl"].result_list) == [lately]
