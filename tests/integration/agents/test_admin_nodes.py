"""The pages of nodes on the console."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.urls import reverse
from django.utils import timezone

from agents.history import changed_fields
from agents.models import Event, Instance, InstanceLabels, Node
from agents.selectors.nodes import settings_mark
from agents.services.labels import patch_operator_labels
from agents.services.node_reports import StatusReport, record_report
from agents.services.nodes import Registration, configure_node, register_node
from controlplane.common.actors import Actor
from tests.factories import GroupFactory
from tests.integration.console import console_as, said

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

    with django_assert_num_queries(9):
        response = client.get(LIST)

    assert response.status_code == 200
    shown = text_of(response)
    assert all(f">n{number}</a>" in shown for number in range(count))
    assert "+1" in shown


def test_list_takes_selectors_and_groups_and_finds_the_archived():
    client = console_as("viewer")
    one, two, archived = node("one"), node("two"), node("three")
    configure_node(one.instance.external_id, label=["gpu"], actor=Actor("x"))
    patch_operator_labels(two.pk, {"rack": "7"}, actor=Actor("x"))
    Instance.objects.filter(pk=archived.pk).update(archived_at=timezone.now())
    GroupFactory(name="racked", selector="rack")

    def found(**query):
        return {row.name for row in client.get(LIST, query).context["cl"].result_list}

    assert found(selector="gpu") == {"one"}
    assert found(selector="rack>6,portal/environment=prod") == {"two"}
    assert found(selector="!gpu", archived="all") == {"two", "three"}
    assert found(group="racked") == {"two"}
    assert found(archived="true") == {"three"}
    assert found(archived="all") == {"one", "two", "three"}
    wrong = client.get(LIST, {"selector": "gpu=1 x"})
    assert not wrong.context["cl"].result_list
    assert "Character 7" in said(wrong)[0]
    assert "ghost" in said(client.get(LIST, {"group": "ghost"}))[0]


def test_actions_are_those_of_the_instances_behind_the_nodes():
    client = console_as("operator")
    rows = [node("one"), node("two")]
    report(rows[1], disk="ok")
    chosen = {"_selected_action": [str(row.pk) for row in rows]}

    asked = client.post(LIST, {"action": "set_labels", **chosen})
    set_ = client.post(LIST, {"action": "set_labels", **chosen, "confirm": "1", "given": "rack=7"}, follow=True)
    archived = client.post(LIST, {"action": "archive_selected", **chosen}, follow=True)
    gone = set(Instance.objects.exclude(archived_at=None).values_list("pk", flat=True))
    client.post(f"{LIST}?archived=all", {"action": "restore_selected", **chosen})

    assert [row.pk for row in asked.context["named"]] == [row.pk for row in rows]
    assert said(set_) == ["The labels of 2 instances were changed."]
    assert [labels.operator for labels in InstanceLabels.objects.all()] == [{"rack": "7"}] * 2
    assert said(archived) == ["1 instance archived.", "1 instance left as it is: it is online or connected."]
    assert gone == {rows[0].pk}
    assert not Instance.objects.exclude(archived_at=None).exists()


def test_set_labels_takes_all_that_the_filters_leave():
    client = console_as("operator")
    first, second, other = node("one"), node("two"), node("three")
    for row in (first, second):
        configure_node(row.instance.external_id, label=["gpu"], actor=Actor("x"))
    asked = {"action": "set_labels", "_selected_action": [str(first.pk)], "select_across": "1"}

    client.post(f"{LIST}?selector=gpu", asked | {"confirm": "1", "given": "rack=7"})

    labelled = InstanceLabels.objects.exclude(operator={}).values_list("pk", flat=True)
    assert set(labelled) == {first.pk, second.pk}
    assert other.pk not in labelled


def test_page_archives_and_restores_and_leads_to_forgetting():
    client, row = console_as("operator"), node()

    archived = client.post(reverse("admin:agents_node_archive", args=[row.pk]), follow=True)
    row.instance.refresh_from_db()

    assert archived.redirect_chain == [(page_of(row), 302)]
    assert "Archived since" in text_of(archived)
    assert row.instance.archived_at is not None
    assert "/forget/" not in text_of(archived)
    client.post(reverse("admin:agents_node_restore", args=[row.pk]))
    row.instance.refresh_from_db()
    assert row.instance.archived_at is None
    forget = reverse("admin:agents_instance_forget", args=[row.pk])
    assert f'href="{forget}"' in text_of(console_as("admin").get(page_of(row)))


def test_page_refreshes_what_the_node_reports_and_no_form():
    client, row = console_as("operator"), node()
    live = reverse("admin:agents_node_live", args=[row.pk])
    page = text_of(client.get(page_of(row)))
    report(row, disk="failed")

    part = text_of(client.get(live))

    assert f'hx-get="{live}"' in page
    targets = re.search(r'hx-select-oob="([^"]*)"', page)[1].split(",")
    assert targets == ["#health", "#timeline-new", "#registry"]
    for target in ["#live-head", *targets]:
        assert (page.count(f'id="{target[1:]}"'), part.count(f'id="{target[1:]}"')) == (1, 1)
    assert part.lstrip().startswith('<header class="c-head" id="live-head">')
    assert "failed" in part
    assert "<form" not in part
    assert console_as("viewer").get(live).status_code == 200
    assert client.get(reverse("admin:agents_node_live", args=["0" * 32])).status_code == 404


@pytest.mark.parametrize("components", [1, 30])
def test_live_part_costs_the_same_whatever_it_shows(components, django_assert_num_queries):
    client, row = console_as("viewer"), node()
    report(row, **{f"c{number}": "failed" for number in range(components)})
    live = reverse("admin:agents_node_live", args=[row.pk])
    client.get(live)

    with django_assert_num_queries(8):
        assert client.get(live).status_code == 200


def test_page_shows_labels_in_their_layers_and_where_each_goes():
    row, client = node(), console_as("operator")
    configure_node("A1", label=["env=test", "gpu", "a b"], actor=Actor("x"))
    patch_operator_labels(row.pk, {"env": "prod"}, actor=Actor("x"))

    response = client.get(page_of(row))

    layers = {str(layer["name"]): layer["labels"] for layer in response.context["label_layers"]}
    assert [(each["key"], each["is_covered"]) for each in layers["Registry labels"]] == [("env", True), ("gpu", False)]
    page = unescape(text_of(response))
    assert "<code>a b</code> “a b” cannot be the key" in page
    assert "where an operator label of the same key wins" in page
    instance_page = reverse("admin:agents_instance_change", args=[row.pk])
    assert f'href="{instance_page}#labels"' in page
    assert "and not into nodes.json" in unescape(text_of(client.get(instance_page)))


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

    with django_assert_num_queries(12):
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


def test_changes_by_people_are_told_in_words_and_are_all_among_the_events():
    row, actor = node(), Actor("ann")
    configure_node("A1", label=["gpu"], config={"rate": 5}, actor=actor)
    patch_operator_labels(row.pk, {"rack": "7"}, actor=actor)

    response = console_as("viewer").get(page_of(row))

    events = [entry.row for entry in response.context["entries"]]
    assert [event.actor for event in events] == ["ann", "ann", ""]
    names = {field.name for event in events[:2] for field in changed_fields(event)}
    assert names == {"Config", "Registry labels", "Operator label rack"}
    event = Event.objects.get(kind="object.changed", meta__after__has_key="config")
    assert (event.instance_id, event.service_id) == (row.pk, row.instance.service_id)


def test_labels_that_selectors_do_not_know_are_saved_and_told_one_by_one():
    row, client = node(), console_as("operator")
    bad = ["portal/dialect=onestep", "a b", *(f"-{number}" for number in range(10))]

    configure(client, row, label="\n".join(["gpu", *bad]))
    shown = client.get(page_of(row))

    row.refresh_from_db()
    assert row.label == ["gpu", *bad]
    done, *warnings, last = said(shown)
    assert done == "Config and registry labels are set."
    assert len(warnings) == 10
    assert warnings[0].startswith("“portal/dialect=onestep” goes into nodes.json, but selectors do not know it: Keys")
    assert last.startswith("The same holds for 2 more")
    instance_page = client.get(reverse("admin:agents_instance_change", args=[row.pk]))
    assert list(instance_page.context["tags_left_out"]) == bad
    assert "<code>portal/dialect=onestep</code> Keys that begin" in text_of(instance_page)


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


@pytest.mark.parametrize(
    ("term", "names"),
    [
        ("10.0.0.7", {"a", "10.0.0.7-twin"}),
        (" fe80::1 ", {"b"}),
        ("10.0.0.70", set()),
        ("10.0.0", {"10.0.0.7-twin"}),
        ("HOST-B.example", {"b"}),
        ("host-", {"a", "b"}),
    ],
)
def test_nodes_are_found_by_host_name_and_address(term, names):
    node("a", meta_data={"hostname": "host-a.example", "ip": "10.0.0.7"})
    node("b", meta_data={"hostname": "host-b.example", "ip": "fe80::1"})
    node("10.0.0.7-twin", meta_data={})

    response = console_as("viewer").get(LIST, {"q": term})

    assert {row.name for row in response.context["cl"].result_list} == names
    assert "IP address" in text_of(response)


def test_nodes_are_narrowed_by_type_and_environment_without_a_link_for_each():
    for number in range(5):
        node(name=f"n-{number}", type=f"type-{number}", meta_data={"env": f"env-{number}"})
    client = console_as("viewer")

    everything = client.get(LIST)
    found = client.get(LIST, {"type": " type-3 "}), client.get(LIST, {"instance__service__environment": "env-4"})

    assert "?type=" not in everything.content.decode()
    assert [[row.name for row in page.context["cl"].result_list] for page in found] == [["n-3"], ["n-4"]]
    assert client.get(LIST, {"type": "a\x00b"}).context["cl"].result_count == 0
