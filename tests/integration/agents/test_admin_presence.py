"""What the console says of instances that are drained, ended or silent: never that they are well when nobody knows."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from agents.models import Session
from agents.selectors.presence import presence
from tests.factories import (
    CommandFactory,
    EventFactory,
    InstanceFactory,
    ServiceFactory,
    SessionFactory,
    TaskControlsFactory,
    TaskFactory,
    task_control,
)
from tests.integration.console import carried, console_as, text_of, url

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def connected(**fields):
    """An instance whose process started an hour ago, connected, with one task."""
    started_at = timezone.now() - timedelta(hours=1)
    instance = InstanceFactory(online=True, started_at=started_at, **fields)
    SessionFactory(instance=instance, runtime_pid=7, runtime_started_at=started_at, connected_at=started_at)
    TaskControlsFactory(instance=instance, controls=[task_control("report")])
    return instance


def obeyed(instance, kind, **fields):
    """A command of that kind that succeeded on the session of the instance."""
    fields.setdefault("finished_at", timezone.now() - MINUTE)
    return CommandFactory(
        instance=instance,
        session=instance.sessions.order_by("-connected_at").first(),
        kind=kind,
        status="succeeded",
        created_by_name="olga",
        reason="deploy",
        **fields,
    )


def drained(instance, **fields):
    return obeyed(instance, "drain", result={"drained": True, "accepting_new_work": False}, **fields)


def left(instance):
    """End the active session of the instance now; nothing else is known yet."""
    instance.sessions.update(status=Session.Status.DISCONNECTED, disconnected_at=timezone.now())


def pages_with(instance):
    client = console_as("admin")
    return {
        "page": text_of(client.get(url("agents_instance_change", instance.pk))),
        "live": text_of(client.get(url("agents_instance_live", instance.pk))),
        "list": text_of(client.get(url("agents_instance_changelist"))),
        "service": text_of(client.get(url("agents_service_change", instance.service_id))),
    }


def test_drained_instance_says_so_everywhere():
    instance = connected()
    drained(instance)

    pages = pages_with(instance)

    for name, page in pages.items():
        assert 'data-state="drain"' in page, name
    assert "Drained since" in pages["page"]
    assert "by olga; restart it to take work again" in pages["page"]
    assert 'data-state="drained"' in pages["live"]
    assert 'data-state="running"' not in pages["live"]


@pytest.mark.parametrize("result", [None, {}, {"drained": False, "accepting_new_work": True}])
def test_drain_that_did_not_drain_is_no_drain(result):
    instance = connected()
    obeyed(instance, "drain", result=result)

    assert presence(instance).drain is None


def test_new_process_is_not_drained():
    instance = connected()
    drained(instance)
    left(instance)
    SessionFactory(instance=instance, runtime_pid=8, runtime_started_at=timezone.now())

    assert presence(instance).drain is None


def test_process_that_started_after_the_drain_is_not_drained():
    instance = connected()
    drained(instance, finished_at=instance.started_at - MINUTE)

    assert presence(instance).drain is None


def test_process_that_connects_again_is_still_drained():
    instance = connected()
    command = drained(instance)
    left(instance)
    SessionFactory(instance=instance, runtime_pid=7, runtime_started_at=instance.started_at)

    assert presence(instance).drain == command


@pytest.mark.parametrize(("kind", "words"), [("shutdown", "Shut down by olga"), ("restart", "Restart ordered by olga")])
def test_ended_instance_is_not_shown_as_well_and_says_who_ended_it(kind, words):
    instance = connected()
    obeyed(instance, kind)
    left(instance)

    pages = pages_with(instance)

    for name, page in pages.items():
        assert 'data-state="unconnected"' in page, name
        assert "Online, not connected" in page, name
        assert words in page, name
        assert '<span class="c-badge c-mute" data-state="ok" title="When last seen">' in page, name
    assert "not connected since" in pages["live"]
    assert '<span class="c-badge c-mute" data-state="running" title="When last seen">' in pages["live"]


def test_instance_that_came_back_was_not_ended():
    instance = connected()
    obeyed(instance, "restart")
    left(instance)
    SessionFactory(instance=instance)
    left(instance)

    assert presence(instance).stop is None


def test_connected_instance_is_online_and_its_health_is_news():
    instance = connected()

    pages = pages_with(instance)

    for name, page in pages.items():
        assert '<span class="c-badge c-good" data-state="online"' in page, name
        assert '<span class="c-badge c-good" data-state="ok"' in page, name
        assert "When last seen" not in page, name


def test_fan_out_form_counts_the_connected():
    instance = connected()
    InstanceFactory(online=True, service=instance.service)

    page = text_of(console_as("operator").get(url("agents_service_change", instance.service_id)))

    assert "All that are online (2 online, 1 connected)" in page


def test_last_seen_counts_every_message():
    instance = connected()
    instance.last_seen_at = timezone.now() - MINUTE
    heard_at = timezone.now()
    instance.sessions.update(last_message_at=heard_at)

    assert presence(instance).last_heard_at == heard_at


def test_front_page_tells_of_degraded_only_what_is_known():
    instance = connected(health="degraded", connectivity_changed_at=timezone.now() - timedelta(days=3))

    home = text_of(console_as().get(url("index")))
    page = text_of(console_as(username="two").get(url("agents_instance_change", instance.pk)))

    assert "1 of 1 unwell" in home
    assert "3 d ago" not in home
    assert "since its heartbeat before" in home
    assert "since its heartbeat before" in page


def test_front_page_words_and_services():
    instance = InstanceFactory()
    EventFactory(kind="task.failed", instance=instance, task_name="broken")
    EventFactory(kind="task.dead_lettered", instance=instance, task_name="broken")
    CommandFactory(status="failed", instance=InstanceFactory(service=ServiceFactory(name="billing")))

    page = text_of(console_as().get(url("index")))
    wrong = page.partition('id="wrong-title"')[2].partition('id="recent-title"')[0]

    assert "1 dead-lettered in 15 min" in wrong
    assert "dev/billing" in wrong


@pytest.mark.parametrize(
    ("minutes", "told", "not_told"),
    [
        (1, "Two live processes claim this identity", "claimed this identity until"),
        (3, "Two processes claimed this identity until", "Two live processes claim"),
        (11, "", "this identity"),
    ],
)
def test_identity_conflict_ends(minutes, told, not_told):
    instance = connected(conflict_seen_at=timezone.now() - minutes * MINUTE)

    page = text_of(console_as().get(url("agents_instance_change", instance.pk)))

    assert told in page
    assert not_told not in page


def test_form_of_an_unconnected_instance_proposes_to_wait_long_enough():
    instance = connected()
    client = console_as("operator")
    now = client.get(url("agents_instance_change", instance.pk)).context["form"]
    left(instance)

    later = client.get(url("agents_instance_change", instance.pk)).context["form"]

    assert (now["hold"].value(), now["timeout_s"].value()) == (None, 10)
    assert (later["hold"].value(), later["timeout_s"].value()) == (True, 3600)


def test_confirmation_says_how_many_can_take_it():
    able, away = connected(), InstanceFactory(offline=True)
    unable = InstanceFactory(online=True)
    SessionFactory(instance=unable, accepted_capabilities=[])
    chosen = {"action": "send_ping", "_selected_action": [able.pk, away.pk, unable.pk]}

    page = text_of(console_as("operator").post(url("agents_instance_changelist"), chosen))

    assert "Send this command to 3 instances?" in page
    assert "1 of them is connected and can take it." in page


def test_fan_out_result_names_the_service():
    instance = connected(service=ServiceFactory(name="billing"))
    client = console_as("operator")

    confirm = client.post(url("agents_service_send", instance.service_id), {"kind": "ping", "timeout_s": 9})
    page = client.post(reverse("fan_out_send"), carried(confirm), follow=True)

    assert "dev/billing" in text_of(page)
    assert "Ping: 1 command made" in text_of(page)


def test_cells_of_the_task_table_carry_their_labels():
    instance = connected()
    TaskFactory(service=instance.service, name="report")

    page = text_of(console_as().get(url("agents_instance_live", instance.pk)))

    assert "c-fold" in page
    assert '<td data-label="State">' in page


def task_page_of(instance):
    task = TaskFactory(service=instance.service, name="report")
    return text_of(console_as("admin").get(url("tasks_app_task_change", task.pk)))


def test_task_page_shows_a_drained_instance_as_such():
    instance = connected()
    drained(instance)

    assert 'data-state="drained"' in task_page_of(instance)


def test_task_page_shows_an_instance_that_left_as_not_connected():
    instance = connected()
    left(instance)

    page = task_page_of(instance)

    assert 'data-state="unconnected"' in page
    assert 'title="When last seen"' in page
