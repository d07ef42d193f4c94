"""The command palette: what it finds, for whom, and at what cost."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents.models import Group, Instance
from agents.selectors import named
from tasks_app.models import Task
from tests.factories import ChannelFactory, RuleFactory
from tests.factories.agents import CommandFactory, InstanceFactory, ServiceFactory
from tests.integration.console import console_as, text_of

pytestmark = pytest.mark.django_db

PALETTE = "/admin/palette/"
# Of a search: one or two for each of services, instances, nodes, groups, tasks, channels and rules, and those of the
# commands.
QUERIES_MAX = 18


def found(client, text, **headers):
    """The titles that the palette shows."""
    page = text_of(client.get(PALETTE, {"q": text}, headers=headers))
    return [" ".join(title.split()) for title in re.findall(r'class="c-palette-title">([^<]*)<', page)]


def links(client, text):
    return re.findall(r'role="option"[^>]*href="([^"]*)"', text_of(client.get(PALETTE, {"q": text})))


def test_without_a_text_it_offers_what_there_is_to_do_and_every_page():
    titles = found(console_as("superuser"), "")

    assert titles[:2] == ["Send a command…", "New agent token"]
    assert {"Overview", "Services", "Background jobs"} <= set(titles)


def test_acts_and_pages_are_those_of_the_role():
    viewer, superuser = console_as("viewer"), console_as("superuser")

    assert found(superuser, "token")[:2] == ["New agent token", "New API token"]
    assert not {"New agent token", "New API token", "Send a command…"} & set(found(viewer, ""))
    assert "Users" not in found(viewer, "")


def test_who_has_no_role_finds_nothing_of_the_fleet():
    InstanceFactory(node_name="secret-worker")
    client = console_as(None)

    assert found(client, "secret") == []


def test_strangers_are_led_to_the_login(client):
    assert client.get(PALETTE).status_code == 302


def test_everything_of_the_fleet_is_found_by_name():
    service = ServiceFactory(name="orders-api")
    InstanceFactory(service=service, node_name="orders-worker-1")
    Task.objects.create(service=service, name="orders-sync")
    Group.objects.create(name="orders-first", selector="a=b")

    assert set(found(console_as(), "orders")) == {"orders-api", "orders-worker-1", "orders-sync", "orders-first"}


def test_channels_and_rules_are_found_by_name():
    ChannelFactory(name="on call")
    RuleFactory(name="tell on call")

    assert {"on call", "tell on call"} <= set(found(console_as(), "on call"))


@pytest.mark.parametrize("text", ["work", "WORK", "er-7", "host-7", "agent-7"])
def test_an_instance_is_found_by_any_part_of_its_names(text):
    InstanceFactory(node_name="worker-7", hostname="host-7", external_id="agent-7")

    assert "worker-7" in found(console_as(), text)


def test_names_that_begin_with_the_text_come_first():
    for name in ("a-shop-worker", "shop-2", "shop-1"):
        InstanceFactory(node_name=name)

    assert [row.node_name for row in named.instances("shop", 9)] == ["shop-1", "shop-2", "a-shop-worker"]


def test_signs_that_mean_something_to_sql_are_letters_here():
    InstanceFactory(node_name="worker-7")

    assert found(console_as(), "%") == []
    assert "worker-7" not in found(console_as(), "worker_7")


def test_an_instance_is_found_by_how_its_id_begins():
    instance = InstanceFactory()

    assert [row.pk for row in named.instances(str(instance.pk)[:9], 3)] == [instance.pk]
    assert named.instances("zzzzzz", 3) == []


def test_commands_are_found_by_id_and_by_kind_in_both_languages():
    command = CommandFactory(kind="ping")
    client = console_as()
    page = f"/admin/agents/command/{command.pk}/change/"

    assert page in links(client, f"cmd_{command.pk.hex}")
    assert page in links(client, f"cmd_{command.pk.hex[:8]}")
    assert page in links(client, "ping")
    assert "/admin/agents/command/?kind__exact=ping" in links(client, "ping")


def test_pages_are_found_in_chinese_and_by_their_english_name():
    client = console_as("superuser")
    chinese = found(client, "实例", **{"accept-language": "zh-hans"})

    assert "实例" in chinese
    assert "实例" in found(client, "instances", **{"accept-language": "zh-hans"})


@pytest.mark.parametrize("count", [1, 3])
def test_a_search_costs_as_much_however_much_it_finds(count):
    service = ServiceFactory(name="shop")
    for number in range(count):
        CommandFactory(kind="ping", instance=InstanceFactory(service=service, node_name=f"ping-{number}"))
        Task.objects.create(service=service, name=f"ping-{number}")
    client = console_as("superuser")
    client.get(PALETTE)

    with CaptureQueriesContext(connection) as queries:
        client.get(PALETTE, {"q": "ping"})

    assert len(queries) <= QUERIES_MAX


def test_a_name_among_many_is_found_by_the_index(django_assert_num_queries):
    service = ServiceFactory()
    Instance.objects.bulk_create(
        InstanceFactory.build(service=service, node_name=f"worker-{number:04}", external_id=f"w{number}")
        for number in range(20)
    )

    with django_assert_num_queries(1):
        assert len(named.instances("worker-", 6)) == 6


def test_texts_of_any_kind_are_taken():
    client = console_as()

    for text in ("\x00", "x" * 5000, "'; DROP TABLE", "𝕏", "<script>"):
        assert client.get(PALETTE, {"q": text}).status_code == 200
