"""The front page: what is wrong by cause, where its links lead, and what it costs."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agents.models import NodesFile
from agents.selectors import overview
from controlplane.console.shared import Shared
from tests.factories import (
    AlertMemberFactory,
    ChannelFactory,
    CommandFactory,
    EventFactory,
    InstanceFactory,
    InstanceLabelsFactory,
    ReplicaFactory,
    ServiceFactory,
    SessionFactory,
    TaskFactory,
)
from tests.integration.console import console_as, text_of, url

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def home(client=None):
    return text_of((client or console_as()).get(reverse("home_live")))


def link_with(page, text):
    """Where the link of the line leads that says `text`."""
    line = next(part for part in page.split("<li>") if text in part)
    return unescape(re.search(r'href="([^"]+)"', line)[1])


def listed(client, path):
    return list(client.get(path).context["cl"].result_list)


def test_offline_is_told_by_service_and_leads_to_just_those():
    client = console_as()
    service = ServiceFactory(name="web/shop", environment="prod")
    gone = InstanceFactory.create_batch(2, offline=True, service=service, hostname="db-7")
    InstanceFactory(online=True, service=service, hostname="db-8")
    long_ago = timezone.now() - timedelta(days=30)
    InstanceFactory(offline=True, service=service, last_seen_at=long_ago)
    InstanceFactory(offline=True)

    page = home(client)

    assert "2 of 3 offline" in page
    assert "all on host db-7" in page
    assert set(listed(client, link_with(page, "2 of 3 offline"))) == set(gone)


def test_the_one_that_is_offline_is_named_and_leads_to_its_page():
    client = console_as()
    service = ServiceFactory(name="web", environment="prod")
    gone = InstanceFactory(offline=True, service=service, node_name="web-3")
    InstanceFactory(online=True, service=service)

    page = home(client)

    assert f'href="{url("agents_instance_change", gone.pk)}">web-3</a> <span class="c-soft">prod/web</span>' in page


def test_a_label_that_the_others_have_too_covers_nothing():
    service = ServiceFactory()
    for state in ({"offline": True}, {"offline": True}, {"online": True}):
        here = InstanceFactory(service=service, **state)
        zone = "a" if state.get("offline") else "b"
        InstanceLabelsFactory(instance=here, labels={"zone": zone, "team": "x"})

    page = home()

    assert "all with label zone=a" in page
    assert "team=x" not in page


def test_the_replica_that_held_all_that_are_gone_is_named():
    service = ServiceFactory()
    lost, other = ReplicaFactory.create_batch(2)
    for _ in range(2):
        SessionFactory(instance=InstanceFactory(offline=True, service=service), replica=lost, status="disconnected")
    SessionFactory(instance=InstanceFactory(online=True, service=service), replica=other)

    assert f"all held by {lost}" in home()


def test_commands_say_why_they_wait_and_lead_to_just_those():
    client = console_as()
    old = timezone.now() - 5 * MINUTE
    waiting = CommandFactory(created_at=old, deadline_at=timezone.now() + MINUTE)
    CommandFactory()
    CommandFactory(status="failed", error_code="boom", kind="sync_now")

    page = home(client)

    assert "the instance is not connected" in page
    assert listed(client, link_with(page, "the instance is not connected")) == [waiting]
    assert "boom" in page


def test_failing_tasks_say_since_when_and_by_what():
    service = ServiceFactory(name="web")
    instance = InstanceFactory(service=service, online=True)
    for minutes in (9, 1):
        EventFactory(
            kind="task.failed",
            instance=instance,
            task_name="ship",
            exception_type="CarrierGone",
            occurred_at=timezone.now() - minutes * MINUTE,
        )

    page = home()

    assert "2 failures" in page
    assert "CarrierGone" in page
    assert re.search(r"since <time[^>]*>9 min ago</time></span><span>last <time[^>]*>1 min ago", page)


def test_failures_lead_to_just_the_events_that_were_counted():
    client = console_as()
    instance = InstanceFactory(online=True)
    failed = {"kind": "task.failed", "instance": instance}
    counted = EventFactory(**failed, task_name="ship")
    EventFactory(**failed, task_name="ship", occurred_at=timezone.now() - 20 * MINUTE)
    EventFactory(**failed, task_name="ship_again", message="ship")
    EventFactory(**failed | {"instance": InstanceFactory(online=True)}, task_name="ship")

    lines = home(client).split("<li>")
    path = link_with("<li>".join(line for line in lines if ">ship<" in line), str(counted.service))

    assert [event.pk for event in client.get(path).context["events"]] == [counted.pk]


def test_a_failing_task_leads_to_its_page_where_it_has_one():
    task = TaskFactory(name="ship")
    instance = InstanceFactory(service=task.service, online=True)
    for name in ("ship", "gone"):
        EventFactory(kind="task.failed", instance=instance, task_name=name)

    lines = home().split("<li>")

    shown, gone = (next(line for line in lines if f">{name}<" in line) for name in ("ship", "gone"))
    assert f'href="{url("tasks_app_task_change", task.pk)}">Task<' in shown
    assert ">Task<" not in gone


def test_unwell_says_since_when():
    service = ServiceFactory(name="racks")
    now = timezone.now()
    InstanceFactory(online=True, service=service, health="error", health_changed_at=now - 9 * MINUTE)
    InstanceFactory(online=True, service=service, health="degraded", health_changed_at=now - 4 * MINUTE)
    InstanceFactory(online=True, service=service, health="ok", health_changed_at=now - 50 * MINUTE)

    assert re.search(r"2 of 3 unwell.*?since <time[^>]*>9 min ago", home(), re.DOTALL)


def test_drift_says_when_the_topology_changed_last():
    service = ServiceFactory(name="twin")
    for topology in ("sha256:a", "sha256:b"):
        last = InstanceFactory(online=True, service=service, last_topology_hash=topology)
    for minutes in (40, 6):
        when = timezone.now() - minutes * MINUTE
        EventFactory(kind="service.topology_changed", instance=last, occurred_at=when)

    assert re.search(r"its 2 online instances.*?since <time[^>]*>6 min ago", home(), re.DOTALL)


def test_a_conflict_says_since_when_and_when_it_was_seen_last():
    now = timezone.now()
    instance = InstanceFactory(online=True, conflict_seen_at=now - MINUTE)
    for minutes in (30, 5, 2):
        EventFactory(kind="instance.conflict", instance=instance, occurred_at=now - minutes * MINUTE)

    page = home()

    assert re.search(r"1 identity is.*?since <time[^>]*>5 min ago.*?last <time[^>]*>1 min ago", page, re.DOTALL)


def test_open_commands_lead_to_just_those():
    client = console_as()
    waiting = CommandFactory(deadline_at=timezone.now() + MINUTE)
    CommandFactory(status="succeeded")

    path = re.search(r'href="([^"]*/command/[^"]*)"', home(client))[1]

    assert listed(client, path) == [waiting]


def test_drift_and_conflicts_and_the_portals_own_lag_are_told():
    service = ServiceFactory(name="twin")
    for topology in ("sha256:a", "sha256:b"):
        InstanceFactory(online=True, service=service, last_topology_hash=topology)
    InstanceFactory(online=True, conflict_seen_at=timezone.now())
    ReplicaFactory(last_seen_at=timezone.now() - timedelta(hours=1))
    counts = dict.fromkeys(("written", "poisoned", "retries"), 0)
    queue = {"waiting": 7, "oldest_s": 12.0, "last_lag_s": 0.0, "failing_since": None, **counts}
    ReplicaFactory(ingest={"queues": {"telemetry": queue}})
    NodesFile.objects.create(path="/x", failing_since=timezone.now(), error="No space left.")

    page = home()

    assert "its 2 online instances run different topologies" in page
    assert "1 identity is claimed by two processes" in page
    assert "7 records wait in telemetry, the oldest for 12.0 s" in page
    assert "Silent" in page
    assert "No space left." in page
    assert page.index("The portal itself") < page.index("Identity conflicts") < page.index("Topologies that differ")


def test_alerts_that_go_on_and_channels_that_fail_are_told():
    client = console_as()
    alert = AlertMemberFactory(alert__rule__name="prod is away", alert__event_type="instance_offline").alert
    AlertMemberFactory(alert__status="resolved", alert__rule__name="is over")
    channel = ChannelFactory(name="night", failing_since=timezone.now() - MINUTE, last_error="sign match fail")
    ChannelFactory(name="nobody asks", enabled=False, failing_since=timezone.now())

    page = home(client)

    for text in ("Alerts going on", "prod is away", "1 instance", "sign match fail", "Channels that do not deliver"):
        assert text in page
    assert "is over" not in page
    assert "nobody asks" not in page
    assert link_with(page, "prod is away") == url("notifications_alert_change", alert.pk)
    assert link_with(page, "sign match fail") == url("notifications_channel_change", channel.pk)


def test_where_no_alert_goes_on_none_is_spoken_of():
    assert "Alerts going on" not in home()


def test_well_is_said_and_the_fleet_is_told_by_dialect_and_environment():
    InstanceFactory(online=True, service__environment="prod")

    page = home()

    assert "Nothing. Every instance" in page
    assert "service__environment=prod" in page


def test_lines_are_bounded():
    for _ in range(8):
        InstanceFactory(offline=True)

    assert "and 2 more" in home()


def fill(count):
    for _ in range(count):
        InstanceFactory(offline=True)
        InstanceFactory(online=True, health="error", conflict_seen_at=timezone.now())
        EventFactory(kind="task.failed")
        CommandFactory(status="failed")
        CommandFactory(created_at=timezone.now() - MINUTE, deadline_at=timezone.now() + MINUTE)
        ReplicaFactory(last_seen_at=timezone.now() - timedelta(hours=1))
        AlertMemberFactory()
        ChannelFactory(failing_since=timezone.now())


def test_home_costs_the_same_at_one_row_and_at_three():
    client = console_as("admin")
    costs = []
    for count in (1, 2):
        fill(count)
        with CaptureQueriesContext(connection) as captured:
            client.get(reverse("home_live"))
        costs.append(len(captured))

    assert costs == [27, 27]


def test_what_was_read_a_moment_ago_is_shown_to_the_next(settings):
    settings.HOME_SNAPSHOT_S = 60
    shared = Shared()
    made = []

    first = shared.get(lambda now: made.append(now) or len(made), ttl_s=60)
    again = shared.get(lambda now: made.append(now) or len(made), ttl_s=60)
    anew = shared.get(lambda now: made.append(now) or len(made), ttl_s=0)

    assert (first.value, again.value, anew.value) == (1, 1, 2)
    assert again.at == first.at


def test_an_empty_portal_offers_a_command_to_who_may_make_tokens():
    admin, viewer = (text_of(console_as(role).get(url("index"))) for role in ("admin", "viewer"))

    assert "Get the command" in admin
    assert "jkstack" not in admin
    assert "Get the command" not in viewer
    assert "An administrator connects the first one here." in viewer


def test_failures_are_counted_among_the_newest_alone(monkeypatch):
    monkeypatch.setattr(overview, "FAILURES_MAX", 3)
    instance = InstanceFactory()
    for task, minutes in (("old", 9), ("new", 3), ("new", 2), ("new", 1)):
        EventFactory(
            kind="task.failed", instance=instance, task_name=task, occurred_at=timezone.now() - minutes * MINUTE
        )

    [found] = overview.failing_tasks(now=timezone.now())

    assert (found.task_name, found.failed) == ("new", 3)


@pytest.mark.parametrize(("role", "offered"), [("admin", True), ("operator", False)])
def test_the_list_of_instances_leads_to_connecting_one_more(role, offered):
    page = text_of(console_as(role).get(url("agents_instance_changelist")))

    assert (f'<a class="c-button" href="{reverse("connect")}"' in page) == offered
