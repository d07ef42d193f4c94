"""The pages of single rows and the front page: what they cost, what they tell, in both languages."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agents.admin.command_page import steps
from agents.models import Command
from agents.models.event import EventKind
from tests.factories import (
    AgentTokenFactory,
    BackgroundJobFactory,
    CommandFactory,
    EventFactory,
    InstanceFactory,
    MetricWindowFactory,
    ReplicaFactory,
    ServiceFactory,
    SessionFactory,
    TaskControlsFactory,
    TaskFactory,
    task_control,
)
from tests.integration.console import console_as, text_of, url

pytestmark = pytest.mark.django_db


def busy_service(rows):
    """A service with that many of everything; returns one row of each page."""
    service = ServiceFactory()
    tasks = TaskFactory.create_batch(rows, service=service)
    token = AgentTokenFactory()
    replica = ReplicaFactory()
    for _ in range(rows):
        instance = InstanceFactory(service=service, online=True)
        session = SessionFactory(instance=instance, token=token, replica=replica)
        TaskControlsFactory(instance=instance, controls=[task_control(task.name) for task in tasks])
        MetricWindowFactory(instance=instance, task_name=tasks[0].name)
        for _ in range(rows):
            command = CommandFactory(instance=instance, session=session, kind="pause_task", task_name=tasks[0].name)
            event = EventFactory(instance=instance, task_name=tasks[0].name, command_id=command.pk)
    return {
        "agents_service": service,
        "agents_instance": instance,
        "agents_session": session,
        "agents_command": command,
        "agents_event": event,
        "agents_agenttoken": token,
        "agents_replica": replica,
        "tasks_app_task": tasks[0],
    }


def cost(client, path):
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


MOST = {
    "agents_service": 18,
    "agents_instance": 17,
    "agents_session": 8,
    "agents_command": 11,
    "agents_event": 14,
    "agents_agenttoken": 8,
    "agents_replica": 7,
    "tasks_app_task": 31,
}


@pytest.mark.parametrize("name", MOST)
def test_page_costs_the_same_whatever_is_on_it(name):
    client = console_as("operator")
    one = cost(client, url(f"{name}_change", busy_service(1)[name].pk))

    three = cost(client, url(f"{name}_change", busy_service(3)[name].pk))

    assert three == one
    assert three <= MOST[name]


def test_front_page_costs_the_same_whatever_the_fleet():
    client = console_as("operator")
    busy_service(1)
    InstanceFactory(offline=True)
    # Of the first failing task on, their pages are looked up, all in one query.
    EventFactory(kind=EventKind.TASK_FAILED)
    one = cost(client, url("index"))
    for _ in range(3):
        for _ in range(3):
            EventFactory(kind=EventKind.TASK_FAILED)
        InstanceFactory(offline=True)
        CommandFactory(status="failed")
        ReplicaFactory(last_seen_at=timezone.now() - timedelta(hours=1))
        BackgroundJobFactory(last_failed_at=timezone.now())

    many = cost(client, url("index"))

    assert many == one
    assert many <= 23


@pytest.mark.parametrize("language", ["en", "zh-hans"])
@pytest.mark.parametrize("name", MOST)
def test_page_shows_in_both_languages(name, language):
    row = busy_service(1)[name]

    page = console_as("admin").get(url(f"{name}_change", row.pk), headers={"accept-language": language})

    assert page.status_code == 200
    assert ("总览" in text_of(page)) == (language == "zh-hans")


@pytest.mark.parametrize("name", ["agents_instance", "agents_service", "agents_command", "tasks_app_task"])
@pytest.mark.parametrize("bad", ["nonsense", "0", "99999999999999999999", "00000000-0000-0000-0000-000000000000"])
def test_page_of_nothing_is_not_found(name, bad):
    assert console_as().get(url(f"{name}_change", bad)).status_code == 404


def test_page_needs_a_role():
    instance = InstanceFactory()
    nobody = console_as("viewer")
    nobody.person.groups.clear()

    assert nobody.get(url("agents_instance_change", instance.pk)).status_code == 403
    assert nobody.get(url("agents_instance_live", instance.pk)).status_code == 403
    assert "Your account has no role yet" in text_of(nobody.get(url("index")))


def test_stranger_is_led_to_the_login(client):
    instance = InstanceFactory()

    for path in (url("agents_instance_live", instance.pk), reverse("home_live"), reverse("login_again")):
        assert client.get(path)["Location"].startswith("/admin/login/?next=")


def test_root_leads_to_the_console(client):
    assert client.get("/")["Location"] == "/admin/"


def test_empty_portal_tells_how_to_connect_the_first_agent():
    page = text_of(console_as("admin").get(url("index")))

    assert "Connect the first agent" in page
    assert reverse("connect") in page


def test_front_page_tells_what_is_wrong_now():
    InstanceFactory(online=True, conflict_seen_at=timezone.now())
    offline = InstanceFactory(offline=True)
    unwell = InstanceFactory(online=True, health="degraded")
    retired = InstanceFactory(offline=True, last_seen_at=timezone.now() - timedelta(days=30))
    EventFactory(kind=EventKind.TASK_DEAD_LETTERED, instance=unwell, task_name="broken")
    EventFactory(kind=EventKind.TASK_FAILED, instance=unwell, task_name="broken")

    page = console_as().get(url("index"))

    text = text_of(page)
    assert "identity" in text
    assert [each.service.name in text for each in (offline, unwell, retired)] == [True, True, False]
    assert "broken" in text
    assert len(page.context["causes"]) == 4


def test_identity_conflict_is_shown_for_ten_minutes():
    recent = InstanceFactory(online=True, conflict_seen_at=timezone.now() - timedelta(minutes=9))
    old = InstanceFactory(online=True, conflict_seen_at=timezone.now() - timedelta(minutes=11))
    client = console_as()

    assert "Two processes claimed this identity" in text_of(client.get(url("agents_instance_change", recent.pk)))
    assert "this identity" not in text_of(client.get(url("agents_instance_change", old.pk)))


def test_service_page_tells_drift_among_online_instances_only():
    service = ServiceFactory()
    InstanceFactory.create_batch(2, service=service, online=True, last_topology_hash="sha256:a")
    InstanceFactory(service=service, offline=True, last_topology_hash="sha256:b")
    client = console_as()
    alike = client.get(url("agents_service_change", service.pk))

    InstanceFactory(service=service, online=True, last_topology_hash="sha256:c")
    differing = client.get(url("agents_service_change", service.pk))

    assert not alike.context["drift"].is_drifted
    assert differing.context["drift"].is_drifted
    assert [each.online for each in differing.context["drift"].groups] == [2, 1, 0]


def test_live_part_of_a_command_says_when_to_stop_asking():
    command = CommandFactory()
    client = console_as()

    assert client.get(url("agents_command_live", command.pk)).status_code == 200
    Command.objects.filter(pk=command.pk).update(status="succeeded")
    assert client.get(url("agents_command_live", command.pk)).status_code == 286


def test_live_part_of_an_instance_is_no_whole_page():
    instance = InstanceFactory(online=True)

    page = text_of(console_as().get(url("agents_instance_live", instance.pk)))

    assert page.lstrip().startswith('<div id="live-head"')
    assert '<div id="live-body"' in page
    assert "<html" not in page


def test_event_page_folds_a_huge_traceback_and_escapes_it():
    event = EventFactory(
        kind=EventKind.TASK_FAILED,
        traceback="<script>alert(1)</script>\n" * 20_000,
        message="<img src=x onerror=alert(1)>",
        meta={"html": "</pre><script>alert(2)</script>", "deep": [[[["x"]]]]},
    )

    page = text_of(console_as().get(url("agents_event_change", event.pk)))

    assert '<details class="c-card" id="traceback">' in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page


@pytest.mark.parametrize(
    ("changes", "states"),
    [
        ({}, ["done", "now", "todo", "todo"]),
        ({"status": "dispatched", "dispatched_at": True}, ["done", "done", "now", "todo"]),
        ({"status": "accepted", "dispatched_at": True, "acked_at": True}, ["done", "done", "done", "now"]),
        (
            {"status": "succeeded", "dispatched_at": True, "acked_at": True, "finished_at": True},
            ["done", "done", "done", "done"],
        ),
        (
            {"status": "rejected", "ack_status": "rejected", "dispatched_at": True, "acked_at": True},
            ["done", "done", "bad", "bad"],
        ),
        ({"status": "expired", "finished_at": True}, ["done", "todo", "todo", "bad"]),
        ({"status": "cancelled", "finished_at": True}, ["done", "todo", "todo", "done"]),
    ],
)
def test_way_of_a_command(changes, states):
    now = timezone.now()
    command = CommandFactory(**{key: now if value is True else value for key, value in changes.items()})

    assert [step.state for step in steps(command)] == states


def test_dead_letter_command_that_achieved_nothing_says_so():
    command = CommandFactory(status="succeeded", kind="replay_dead_letters", result={"completion": "failed"})

    page = text_of(console_as().get(url("agents_command_change", command.pk)))

    assert "by its own account nothing was achieved" in page


def test_task_page_takes_sinks_of_old_agents():
    task = TaskFactory(emit={"kind": "http_sink", "name": "one", "config": {}})

    page = text_of(console_as().get(url("tasks_app_task_change", task.pk)))

    assert "http_sink" in page
