"""The pages of nodes on the console."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from agents.models import Event, Instance, Node
from agents.selectors.nodes import settings_mark
from agents.services.node_reports import StatusReport, record_report
from agents.services.nodes import Registration, configure_node, register_node
from controlplane.common.actors import Actor
from tests.integration.console import console_as

pytestmark = pytest.mark.django_db
LIST = reverse("admin:agents_node_changelist")


def node(name="db-1", **changes):
    fields = {"type": "agent", "version": "1.2.3", "meta_data": {"hostname": "db-1.example", "env": "prod"}} | changes
    record, _is_new = register_node(Registration(name=name, **fields))
    return Node.objects.select_related("instance").get(instance__external_id=record.id)


def report(row, *, off=timedelta(), **health):
    components = {name: {"status": status, "free": 7} for name, status in health.items()}
    now = timezone.now() + off
    return record_report(StatusReport(node_id=row.instance.external_id, reported_at=now, health=components))


def page_of(row):
    return reverse("admin:agents_node_change", args=[row.pk])


def configure(client, row, **data):
    row.refresh_from_db()
    shown = {"label": "\n".join(row.label), "config": "", "seen": settings_mark(row)}
    return client.post(reverse("admin:agents_node_configure", args=[row.pk]), shown | data)


def text_of(response):
    return response.content.decode()


@pytest.mark.parametrize("count", [1, 3])
def test_list_costs_the_same_for_one_and_for_many(count, django_assert_num_queries):
    client = console_as("viewer")
    for number in range(count):
        row = node(f"n{number}")
        configure_node(row.instance.external_id, label=["a", "b", "c", "d"], actor=Actor("x"))
        report(row, disk="ok")
    client.get(LIST)

    with django_assert_num_queries(6):
        response = client.get(LIST)

    assert response.status_code == 200
    shown = text_of(response)
    assert all(f">n{number}</a>" in shown for number in range(count))
    assert "+1" in shown


def test_list_filters_and_finds_and_leaves_out_the_archived():
    client = console_as("viewer")
    online, other, archived = node("one"), node("two", meta_data={"env": "dev"}), node("three")
    report(online, disk="ok")
    Instance.objects.filter(pk=archived.pk).update(archived_at=timezone.now())

    def found(**query):
        return {row.name for row in client.get(LIST, query).context["cl"].result_list}

    assert found() == {"one", "two"}
    assert found(instance__connectivity__exact="online") == {"one"}
    assert found(instance__service__environment="dev") == {"two"}
    assert found(q="two") == {"two"}
    assert found(q=other.instance.external_id) == {"two"}


@pytest.mark.parametrize("components", [1, 30])
def test_page_costs_the_same_whatever_it_shows(components, django_assert_num_queries):
    client = console_as("operator")
    row = node()
    report(row, **{f"c{number}": "failed" for number in range(components)})
    client.get(page_of(row))

    with django_assert_num_queries(9):
        assert client.get(page_of(row)).status_code == 200


def test_page_tells_health_by_component_bad_ones_first_and_since_when():
    row = node()
    report(row, disk="ok", net="ok")
    report(row, disk="ok", net="failed")

    response = console_as("viewer").get(page_of(row))

    assert [(each.name, each.status, each.since is not None) for each in response.context["components"]] == [
        ("net", "failed", True),
        ("disk", "ok", False),
    ]
    assert "free: 7" in text_of(response)


@pytest.mark.parametrize(
    ("off", "words"),
    [(timedelta(), ""), (timedelta(minutes=5), "5.0 min ahead"), (timedelta(hours=-3), "3.0 h behind")],
)
def test_page_tells_how_far_the_clock_of_the_node_is_off(off, words):
    row = node()
    report(row, off=off)

    assert console_as("viewer").get(page_of(row)).context["skew"] == words


def test_page_and_page_of_the_instance_lead_to_each_other():
    client, row = console_as("viewer"), node()
    instance_page = reverse("admin:agents_instance_change", args=[row.pk])
    report(row)

    assert f'href="{instance_page}"' in text_of(client.get(page_of(row)))
    shown = text_of(client.get(instance_page))
    assert f'href="{page_of(row)}"' in shown
    assert "not connected" not in shown


def test_what_a_node_says_of_itself_is_text_and_never_markup():
    evil = "<script>alert(1)</script>"
    row = node(evil, version=evil, type=evil, meta_data={"env": evil, evil: evil, "list": [evil]})
    record_report(
        StatusReport(
            node_id="A1", reported_at=timezone.now(), health={evil: {"status": evil, evil: evil, "deep": {evil: 1}}}
        )
    )
    configure_node("A1", label=[evil], config={evil: evil}, actor=Actor("x"))

    for role in ("viewer", "operator"):
        client = console_as(role)
        for url in (LIST, page_of(row)):
            assert evil not in text_of(client.get(url))


def test_operator_sets_config_and_labels_and_history_tells():
    row, client = node(), console_as("operator")

    response = configure(client, row, label=" gpu \n\nteam=x\ngpu", config='{"rate": 5}')

    assert (response.status_code, response.url) == (302, page_of(row))
    row.refresh_from_db()
    assert (row.label, row.config) == (["gpu", "team=x"], {"rate": 5})
    event = Event.objects.get(kind="object.changed")
    assert (event.actor, event.subject) == (client.person.username, f"agents.instance:{row.pk}")
    assert event.meta["after"] == {"config": {"rate": 5}, "label": ["gpu", "team=x"]}
    page = text_of(client.get(page_of(row)))
    assert f"by {client.person.username}" in page


def test_labels_that_were_not_touched_stay_as_they_are():
    row, client = node(), console_as("operator")
    configure_node("A1", label=["two\nlines", " blank "], actor=Actor("x"))

    configure(client, row, config='{"rate": 5}')

    row.refresh_from_db()
    assert (row.label, row.config) == (["two\nlines", " blank "], {"rate": 5})


def test_viewer_sees_and_sets_nothing():
    row, client = node(), console_as("viewer")
    configure_node("A1", label=["gpu"], config={"rate": 5}, actor=Actor("x"))

    shown = text_of(client.get(page_of(row)))
    response = configure(client, row, label="other")

    assert "<textarea" not in shown
    assert "gpu" in shown
    assert response.status_code == 403
    row.refresh_from_db()
    assert row.label == ["gpu"]


@pytest.mark.parametrize(
    ("data", "field", "words"),
    [
        ({"config": "{"}, "config", "This is no JSON: look at line 1, column 2."),
        ({"config": "[]"}, "config", "This must be a JSON object, as in {}."),
        ({"config": '{"a": NaN}'}, "config", "This cannot be stored: The body must be JSON, which has no NaN."),
        ({"config": '{"a": "\\u0000"}'}, "config", "This cannot be stored: a must hold no NUL"),
        ({"config": "[" * 100_000}, "config", "This is no JSON that could be stored."),
        ({"config": '{"a": %s}' % ("9" * 5000)}, "config", "This is no JSON that could be stored."),
        ({"label": "\n".join(map(str, range(201)))}, "label", "A node has 200 labels at most."),
        ({"label": "x" * 256}, "label", "A label has 255 characters at most; this one is longer: xxx"),
        ({"label": "a\x00b"}, "label", "Null characters are not allowed."),
    ],
)
def test_what_cannot_be_set_is_said_beside_its_field_and_what_was_typed_stays(data, field, words):
    row, client = node(), console_as("operator")

    response = configure(client, row, **data)

    assert response.status_code == 422
    assert response.context["form"].errors[field][0].startswith(words)
    row.refresh_from_db()
    assert (row.label, row.config) == ([], {})
    if "\x00" not in next(iter(data.values())):
        assert response.context["form"][field].value() == next(iter(data.values()))


def test_what_somebody_else_set_meanwhile_is_not_undone():
    row, client = node(), console_as("operator")
    seen = settings_mark(row)
    configure_node("A1", label=["theirs"], actor=Actor("x"))

    response = configure(client, row, label="mine", seen=seen)

    assert response.status_code == 409
    assert "Somebody else changed them meanwhile." in text_of(response)
    row.refresh_from_db()
    assert row.label == ["theirs"]


def test_page_of_a_node_that_is_not_there_is_404():
    client = console_as("viewer")

    assert client.get(reverse("admin:agents_node_change", args=["0" * 32])).status_code == 404
    assert client.get(reverse("admin:agents_node_change", args=["x"])).status_code == 404


def test_nodes_are_narrowed_by_type_and_environment_without_a_link_for_each():
    for number in range(5):
        node(name=f"n-{number}", type=f"type-{number}", meta_data={"env": f"env-{number}"})
    client = console_as("viewer")

    everything = client.get(LIST)
    found = client.get(LIST, {"type": " type-3 "}), client.get(LIST, {"instance__service__environment": "env-4"})

    assert "?type=" not in everything.content.decode()
    assert [[row.name for row in page.context["cl"].result_list] for page in found] == [["n-3"], ["n-4"]]
    assert client.get(LIST, {"type": "a\x00b"}).context["cl"].result_count == 0
