"""The page of a service: how its instances are, what they run, and the order for many that is looked at first."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from agents.models import Command, FanOut, Service
from tests.factories import (
    AppSnapshotFactory,
    CommandFactory,
    EventFactory,
    FanOutFactory,
    InstanceFactory,
    ServiceFactory,
    SessionFactory,
    TaskFactory,
)
from tests.frames import task
from tests.integration.console import carried, console_as, said, text_of, url

pytestmark = pytest.mark.django_db


def page_of(service, client=None, view="change", **query):
    return (client or console_as("operator")).get(url(f"agents_service_{view}", service.pk), query)


def connected(service, **fields):
    return SessionFactory(instance=InstanceFactory(service=service, online=True, **fields)).instance


def listed(response):
    return [each.instance.node_name for each in response.context["presences"]]


# How it is.


def test_the_head_tells_how_the_instances_are():
    service = ServiceFactory()
    connected(service, inflight_tasks=3)
    InstanceFactory(service=service, online=True, health="degraded", inflight_tasks=2)
    InstanceFactory(service=service, offline=True, health="error", inflight_tasks=50)
    InstanceFactory(service=service)
    InstanceFactory(service=service, offline=True, archived_at="2026-01-01T00:00:00Z")

    condition = page_of(service).context["condition"]

    assert dict(condition.connectivity) == {"online": 2, "offline": 1, "never_reported": 1}
    assert dict(condition.health) == {"ok": 1, "degraded": 1}
    assert (condition.connected, condition.inflight, condition.unwell, condition.fleet_state) == (1, 5, 1, "some")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["new", "away", "ill", "well"]),
        ({"state": "online"}, ["ill", "well"]),
        ({"state": "unconnected"}, ["ill"]),
        ({"state": "unwell"}, ["ill"]),
        ({"state": "offline"}, ["away"]),
        ({"state": "never_reported"}, ["new"]),
        ({"state": "nonsense"}, ["new", "away", "ill", "well"]),
        ({"q": "WEL"}, ["well"]),
        ({"q": "2.0"}, ["ill"]),
        ({"topology": "sha256:b"}, ["ill"]),
        ({"state": "online", "q": "away"}, []),
        ({"q": "\x00"}, ["new", "away", "ill", "well"]),
    ],
)
def test_instances_are_narrowed(query, names):
    service = ServiceFactory()
    connected(service, node_name="well", last_topology_hash="sha256:a")
    InstanceFactory(
        service=service,
        online=True,
        health="error",
        node_name="ill",
        deployment_version="2.0",
        last_topology_hash="sha256:b",
    )
    InstanceFactory(service=service, offline=True, node_name="away")
    InstanceFactory(service=service, node_name="new")
    InstanceFactory(online=True, node_name="well of another")

    assert listed(page_of(service, **query)) == names


def test_instances_come_a_page_at_a_time(monkeypatch):
    monkeypatch.setattr("agents.admin.service_page.INSTANCES_SHOWN", 2)
    service = ServiceFactory()
    for number in range(5):
        InstanceFactory(service=service, online=True, node_name=f"n{number}")

    first, second, beyond = (page_of(service, p=number, q="n") for number in ("1", "2", "99"))

    assert [listed(page) for page in (first, second, beyond)] == [["n0", "n1"], ["n2", "n3"], ["n4"]]
    assert "1–2 / 5" in text_of(first)
    assert 'href="?q=n&amp;p=2#service-instances"' in text_of(first)
    assert listed(page_of(service, view="live", p="2")) == ["n2", "n3"]


def test_the_live_part_answers_with_the_parts_that_the_page_swaps():
    service = connected(ServiceFactory()).service
    client = console_as("viewer")

    page, live = text_of(page_of(service, client)), text_of(page_of(service, client, "live"))

    for part in ("live-service", "service-instance-list", "service-history"):
        assert page.count(f'id="{part}"') == live.count(f'id="{part}"') == 1
    assert "<html" not in live
    assert 'hx-target="#live-service"' in page
    assert 'hx-select-oob="#service-instance-list,#service-history"' in page
    watched = f'data-watch="channels=instances%2Ccommands%2Csessions%2Cservices%2Ctasks&amp;service={service.name}'
    assert watched in page


def test_history_is_of_this_service():
    service = connected(ServiceFactory()).service
    mine = CommandFactory(instance=service.instances.get())
    EventFactory(instance=service.instances.get(), kind="task.failed")
    CommandFactory(), EventFactory(kind="task.failed"), SessionFactory()

    context = page_of(service).context

    assert list(context["commands"]) == [mine]
    assert len(context["events"]) == len(context["sessions"]) == 1


# What they run.


def test_the_topology_is_drawn_and_listed():
    service = ServiceFactory()
    first = TaskFactory(
        service=service, name="collect", source_kind="cron", source_name="hourly", emit=[{"kind": "mem", "name": "q"}]
    )
    TaskFactory(service=service, name="<b>ship</b>", source_kind="mem", source_name="q")

    text = text_of(page_of(service))

    assert text.count('class="s-box s-box-queue"') == 1
    assert text.count('class="s-line') == 3
    assert f'<a href="{url("tasks_app_task_change", first.pk)}" tabindex="-1">' in text
    assert "<b>ship" not in text
    assert "As a list" in text
    svg = text[text.index('<svg class="s-topology') : text.index("</svg>", text.index("s-topology"))]
    assert "style=" not in svg


def test_drift_is_a_diff_that_leads_to_the_instances():
    service = ServiceFactory(latest_topology_hash="sha256:new")
    new, old = connected(service, last_topology_hash="sha256:new"), connected(service, last_topology_hash="sha256:old")
    for _ in range(7):
        connected(service, last_topology_hash="sha256:old")
    AppSnapshotFactory(instance=new, app={"tasks": [task("a", concurrency=8), task("fresh")]})
    for instance in service.instances.exclude(pk=new.pk):
        AppSnapshotFactory(instance=instance, app={"tasks": [task("a", concurrency=2)]})

    text = text_of(page_of(service))

    assert "The online instances differ in what they run." in text
    assert "Task fresh is missing here" in text
    assert re.search(r"<code>concurrency</code></th><td><del><code>8</code></del></td><td><ins><code>2</code>", text)
    assert 'href="?topology=sha256%3Aold#service-instances"' in text
    assert old.node_name in text


def test_without_drift_nothing_is_said_of_it():
    service = ServiceFactory(latest_topology_hash="x")
    connected(service, last_topology_hash="x")

    assert "service-drift" not in text_of(page_of(service))


# The order.


def look(client, service, **fields):
    return client.post(url("agents_service_send", service.pk), {"kind": "ping", "timeout_s": 10} | fields)


def test_the_blast_radius_of_a_service():
    service = ServiceFactory()
    connected(service, inflight_tasks=2)
    SessionFactory(instance=InstanceFactory(service=service, online=True), accepted_capabilities=[])
    InstanceFactory(service=service, offline=True)
    InstanceFactory(service=service)
    connected(ServiceFactory())
    client = console_as("operator")

    online, everyone, held = (
        look(client, service, **fields)
        for fields in ({}, {"target_mode": "all"}, {"target_mode": "all", "hold": "on", "timeout_s": 600})
    )

    reach = online.context["reach"]
    assert (reach.matching, reach.online, reach.busy, reach.lacking_capability, reach.dispatched) == (2, 2, 1, 1, 1)
    assert online.context["blast"].left_out == 2
    assert "2 instances of the service are not online and are left out." in text_of(online)
    reach = everyone.context["reach"]
    assert (reach.matching, reach.online, reach.offline, reach.never_reported, reach.skipped) == (4, 2, 1, 1, 2)
    assert "2 instances are not connected and are skipped." in text_of(everyone)
    assert (held.context["reach"].skipped, held.context["reach"].rejected) == (0, 3)
    assert Command.objects.count() == FanOut.objects.count() == 0


def test_what_was_looked_at_is_sent_and_kept_under_the_service():
    service = connected(ServiceFactory()).service
    InstanceFactory(service=service, offline=True)
    client = console_as("operator")

    page = client.post(reverse("fan_out_send"), carried(look(client, service, reason="why")), follow=True)

    kept = FanOut.objects.get()
    assert (kept.service, kept.target_mode, kept.dispatched, kept.reason) == (service, "all_online", 1, "why")
    assert kept.environments == [service.environment]
    assert page.redirect_chain == [(url("agents_fanout_change", kept.pk), 302)]
    assert 'data-state="running"' in text_of(page_of(service, client))


def test_chosen_instances_stay_those_of_the_service():
    service, other = connected(ServiceFactory()).service, connected(ServiceFactory())
    client = console_as("operator")
    chosen = service.instances.get()
    confirm = look(client, service, target_mode="selected", target=[chosen.pk])

    fields = carried(confirm) | {"instance": [str(chosen.pk), str(other.pk)]}
    refused = client.post(reverse("fan_out_send"), fields, follow=True)
    client.post(reverse("fan_out_send"), carried(confirm))

    assert "was not found for service" in said(refused)[0]
    kept = FanOut.objects.get()
    assert (kept.service, kept.target_mode) == (service, "selected_instances")
    assert Command.objects.get().instance == chosen


def test_who_comes_online_meanwhile_gets_what_is_harmless_and_not_what_stops_it():
    service = connected(ServiceFactory()).service
    client = console_as("admin")
    ping = carried(look(client, service))
    drain = carried(look(client, service, kind="drain", reason="r"))
    connected(service)

    client.post(reverse("fan_out_send"), ping)
    shown_anew = client.post(reverse("fan_out_send"), drain | {"typed": [service.name]})

    assert Command.objects.filter(kind="ping").count() == 2
    assert not Command.objects.filter(kind="drain").exists()
    assert said(shown_anew)[-1] == "The fleet changed meanwhile: these instances are meant now."


@pytest.mark.parametrize(
    ("typed", "problem"),
    [("", "Type the number"), ("2", "That is not it: type 1."), ("1", ""), (" 1 ", ""), ("billing", "")],
)
def test_what_stops_instances_is_typed(typed, problem):
    service = connected(ServiceFactory(name="billing")).service
    client = console_as("admin")
    fields = carried(look(client, service, kind="restart", reason="r"))

    answer = client.post(reverse("fan_out_send"), fields | {"typed": [typed]})

    assert answer.status_code == (422 if problem else 302)
    assert problem in (text_of(answer) if problem else "")
    assert Command.objects.count() == (0 if problem else 1)


def test_the_last_time_is_told_with_what_came_of_it():
    service = connected(ServiceFactory()).service
    client = console_as("operator")
    FanOutFactory(kind="sync_now", service=service), FanOutFactory(kind="ping", selector="env=prod")
    before = look(client, service)
    client.post(reverse("fan_out_send"), carried(before))
    Command.objects.update(status="failed")

    after = look(client, service)

    assert before.context["blast"].last is None
    last = after.context["blast"].last
    assert (last.fan_out.created_by_name, last.succeeded, last.failed) == (client.person.username, 0, 1)
    assert "0 succeeded, 1 failed" in re.sub(r"\s+", " ", text_of(after))


def test_the_last_time_of_chosen_instances_is_that_of_one_of_them():
    service = ServiceFactory()
    first, second = connected(service), connected(service)
    client = console_as("operator")
    chosen = {"action": "send_ping", "_selected_action": [first.pk]}
    client.post(url("agents_instance_changelist"), chosen | {"confirm": 1, "timeout_s": 10})

    def last(*instances):
        data = {"action": "send_ping", "_selected_action": [each.pk for each in instances]}
        return client.post(url("agents_instance_changelist"), data).context["blast"].last

    assert last(first, second).fan_out == FanOut.objects.get()
    assert last(second) is None


# What it costs.


def test_the_page_costs_the_same_whatever_the_size():
    client = console_as("operator")
    statements = []
    for count in (1, 1, 60):
        service = ServiceFactory(latest_topology_hash="x")
        for number in range(count):
            instance = connected(service, last_topology_hash=f"h{number % 3}")
            AppSnapshotFactory(instance=instance, app={"tasks": [task("a")]})
            TaskFactory(service=service)
        FanOutFactory(service=service)
        each = []
        for view in ("change", "live"):
            with CaptureQueriesContext(connection) as queries:
                assert page_of(service, client, view).status_code == 200
            each.append(len(queries))
        statements.append(each)

    _first, one, many = statements
    # Differences between instances are two queries.
    assert many == [one[0] + 2, one[1]]
    assert many[0] <= 22
    assert many[1] <= 14


def test_a_service_that_is_gone_is_said():
    client = console_as("operator")
    service = connected(ServiceFactory()).service
    fields = carried(look(client, service))
    Service.objects.all().delete()

    page = client.post(reverse("fan_out_send"), fields, follow=True)

    assert said(page) == ["There is no such service."]
