"""From where one looks to a silence or a rule, in one click."""

import re
from html import unescape

import pytest

from tests.factories import EventFactory, GroupFactory, InstanceFactory, ServiceFactory, TaskFactory
from tests.integration.agents.listed import make_node
from tests.integration.console import console_as, text_of, url

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator():
    return console_as("operator")


def led_to(client, path, view, query=None):
    """The form that a link of the page leads to, as it is filled in; None where there is no such link."""
    found = re.search(rf'href="({re.escape(url(view))}[^"]*)"', text_of(client.get(path, query or {})))
    return client.get(unescape(found[1])).context["adminform"].form.initial if found else None


def scope(form):
    return form["service_scopes"], form["selector"], form["task_pattern"]


def test_an_instance_is_silenced_by_its_name(operator):
    service = ServiceFactory(name="billing", environment="prod")
    instance = InstanceFactory(service=service, node_name="shop-7")

    form = led_to(operator, url("agents_instance_change", instance.pk), "notifications_silence_add")

    assert scope(form) == ([{"name": "billing", "environment": "prod"}], "portal/node=shop-7", "")
    assert (form["reason"], form["lasts"], form["when"]) == ("Maintenance of shop-7", "1", "once")


def test_a_node_is_silenced_as_the_instance_that_it_is(operator):
    node = make_node(1)

    assert led_to(operator, url("agents_node_change", node.pk), "notifications_silence_add") is not None


def test_a_service_and_a_task_are_silenced(operator):
    service = ServiceFactory(name="billing", environment="prod")
    task = TaskFactory(service=service, name="sync")

    of_service = led_to(operator, url("agents_service_change", service.pk), "notifications_silence_add")
    of_task = led_to(operator, url("tasks_app_task_change", task.pk), "notifications_silence_add")

    scopes = [{"name": "billing", "environment": "prod"}]
    assert (scope(of_service), scope(of_task)) == ((scopes, "", ""), (scopes, "", "sync"))


def test_a_group_and_a_list_are_silenced_by_their_selector(operator):
    group = GroupFactory(selector="rack=7")

    of_group = led_to(operator, url("agents_group_change", group.pk), "notifications_silence_add")
    of_list = led_to(operator, url("agents_instance_changelist"), "notifications_silence_add", {"selector": "rack=7"})
    of_all = led_to(operator, url("agents_instance_changelist"), "notifications_silence_add")

    assert (of_group["selector"], of_list["selector"], of_all) == ("rack=7", "rack=7", None)


def test_an_event_leads_to_a_rule_that_tells_of_such(operator):
    service = ServiceFactory(name="billing", environment="prod")
    event = EventFactory(kind="task.failed", task_name="sync", service=service, instance__service=service)
    other = EventFactory(kind="session.opened", service=service, instance__service=service)

    form = led_to(operator, url("agents_event_change", event.pk), "notifications_rule_add")

    assert scope(form)[::2] == ([{"name": "billing", "environment": "prod"}], "sync")
    assert (form["types_tasks"], form["name"]) == (["task_failed"], "Task failed · prod/billing · sync")
    assert led_to(operator, url("agents_event_change", other.pk), "notifications_rule_add") is None


def test_viewers_are_offered_neither():
    instance, viewer = InstanceFactory(), console_as("viewer")
    event = EventFactory(kind="task.failed")

    assert led_to(viewer, url("agents_instance_change", instance.pk), "notifications_silence_add") is None
    assert led_to(viewer, url("agents_event_change", event.pk), "notifications_rule_add") is None
