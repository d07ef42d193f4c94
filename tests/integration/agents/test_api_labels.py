"""Labels by the API: read in layers, written by operators, for one instance and for many."""

import uuid

import pytest

from agents.models import Event, InstanceLabels
from agents.models.event import EventKind
from agents.services.labels import store_agent_labels, store_tags
from controlplane.access.services import create_api_token
from controlplane.common.actors import SYSTEM
from tests.factories.agents import GroupFactory, InstanceFactory, ServiceFactory
from tests.integration.api_client import Api, api_as, user_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def api():
    return api_as("operator")


@pytest.fixture
def narrow():
    _, secret = create_api_token(
        actor=SYSTEM, name="narrow", user=user_in("operator"), scope="command", environments=["dev"]
    )
    return Api(headers={"Authorization": f"Bearer {secret}"})


def operator_labels(instance):
    return InstanceLabels.objects.filter(pk=instance.pk).values_list("operator", flat=True).first() or {}


def test_labels_are_read_in_layers(api):
    instance = InstanceFactory(node_name="web-1", service=ServiceFactory(name="shop", environment="prod"))
    store_agent_labels([(instance.pk, {"a": "agent", "b": "agent", "-": "x"})])
    store_tags([(instance.pk, ["b=tag", "gpu"])])
    api.put(f"instances/{instance.pk}/labels", {"labels": {"team": "支付"}})
    derived = {
        "portal/dialect": "onestep",
        "portal/environment": "prod",
        "portal/service": "shop",
        "portal/node": "web-1",
    }

    shown = api.get(f"instances/{instance.pk}/labels").json()

    assert list(shown.pop("left_out")) == ["-"]
    assert shown == {
        "agent": {"a": "agent", "b": "agent"},
        "tags": {"b": "tag", "gpu": ""},
        "operator": {"team": "支付"},
        "derived": derived,
        "effective": {"a": "agent", "b": "tag", "gpu": "", "team": "支付", **derived},
        "warnings": [],
    }
    assert api.get(f"instances/{instance.pk}").json()["labels"]["effective"] == shown["effective"]
    assert "labels" not in api.get(f"instances/{instance.pk}", {"fields": "id"}).json()


def test_put_replaces_and_patch_merges(api):
    instance = InstanceFactory()

    put = api.put(f"instances/{instance.pk}/labels", {"labels": {"env": "prod", "old": "x"}})
    patched = api.patch(f"instances/{instance.pk}/labels", {"labels": {"rack": "7", "old": None, "gone": None}})

    assert put.json()["operator"] == {"env": "prod", "old": "x"}
    assert patched.json()["operator"] == {"env": "prod", "rack": "7"} == operator_labels(instance)
    assert api.put(f"instances/{instance.pk}/labels", {"labels": {}}).json()["operator"] == {}
    event = Event.objects.filter(kind=EventKind.OBJECT_CHANGED, instance=instance).order_by("id")[1]
    assert (event.meta["before"], event.meta["after"]) == ({"labels.old": "x"}, {"labels.rack": "7"})
    assert event.meta["via"] == "api"


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["body", "labels"]),
        ({"labels": []}, ["body", "labels"]),
        ({"labels": "env=prod"}, ["body", "labels"]),
        ({"labels": {"a b": "x"}}, ["body", "labels", "a b"]),
        ({"labels": {"portal/os": "x"}}, ["body", "labels", "portal/os"]),
        ({"labels": {"a": 5}}, ["body", "labels", "a"]),
        ({"labels": {"a": {"b": None}}}, ["body", "labels", "a"]),
        ({"labels": {"a": "\x00"}}, ["body", "labels"]),
        ({"labels": {"": "x"}}, ["body", "labels"]),
        ({"labels": {"a": "x" * 1025}}, ["body", "labels", "a"]),
        ({"labels": {f"k{number}": "" for number in range(65)}}, ["body", "labels"]),
        ({"labels": {}, "more": 1}, ["body", "more"]),
        (["labels"], ["body"]),
    ],
)
@pytest.mark.parametrize("verb", ["put", "patch"])
def test_wrong_labels_are_refused_by_their_place(api, verb, body, loc):
    instance = InstanceFactory()

    refused = getattr(api, verb)(f"instances/{instance.pk}/labels", body)

    assert refused.status_code == 422
    assert [problem["loc"] for problem in refused.json()["detail"]] == [loc]
    assert operator_labels(instance) == {}


def test_null_is_no_label_where_all_are_replaced(api):
    instance = InstanceFactory()

    assert api.put(f"instances/{instance.pk}/labels", {"labels": {"a": None}}).status_code == 422


def test_bulk_by_ids_and_by_selector(api):
    first, second, other = InstanceFactory(), InstanceFactory(), InstanceFactory()
    store_agent_labels([(first.pk, {"gpu": ""}), (second.pk, {"gpu": ""})])

    by_selector = api.post("instances/labels", {"selector": "gpu", "set": {"env": "prod", "rack": "7"}})
    by_object = api.post(
        "instances/labels",
        {"selector": {"match_expressions": [{"key": "gpu", "operator": "EXISTS"}]}, "set": {"env": "prod"}},
    )
    GroupFactory(name="gpus", selector="gpu")
    by_group = api.post("instances/labels", {"group": "gpus", "set": {"env": "prod"}})
    by_ids = api.post("instances/labels", {"instance_ids": [str(first.pk), str(other.pk)], "remove": ["rack"]})

    assert by_selector.json() == {"instance_count": 2, "changed_count": 2, "warnings": []}
    assert by_object.json() == by_group.json() == {"instance_count": 2, "changed_count": 0, "warnings": []}
    assert by_ids.json() == {"instance_count": 2, "changed_count": 1, "warnings": []}
    assert operator_labels(first) == {"env": "prod"}
    assert operator_labels(second) == {"env": "prod", "rack": "7"}
    assert operator_labels(other) == {}


def test_bulk_leaves_archived_instances_of_a_selector_alone(api):
    instance = InstanceFactory(archived_at="2026-01-01T00:00:00Z")
    store_agent_labels([(instance.pk, {"gpu": ""})])

    assert api.post("instances/labels", {"selector": "gpu", "set": {"a": ""}}).json()["instance_count"] == 0


@pytest.mark.parametrize(
    ("body", "loc", "words"),
    [
        ({}, ["body", "selector"], "either instance_ids, selector or group"),
        ({"selector": "gpu"}, ["body", "set"], "Give labels"),
        ({"selector": "", "set": {"a": ""}}, ["body", "selector"], "every instance"),
        ({"selector": "gpu=1 x", "set": {"a": ""}}, ["body", "selector"], "Character 7"),
        ({"selector": 5, "set": {"a": ""}}, ["body", "selector"], "JSON form"),
        (
            {"selector": {"match_labels": {"a": 1}}, "set": {"a": ""}},
            ["body", "selector"],
            "quotes",
        ),
        ({"selector": "gpu", "instance_ids": [str(uuid.uuid4())], "set": {"a": ""}}, ["body", "selector"], "either"),
        ({"selector": "gpu", "group": "gpus", "set": {"a": ""}}, ["body", "selector"], "either"),
        ({"group": "ghost", "set": {"a": ""}}, ["body", "group"], "no group named ghost"),
        ({"group": None, "set": {"a": ""}}, ["body", "group"], ""),
        ({"group": "a\0", "set": {"a": ""}}, ["body", "group"], ""),
        ({"instance_ids": [], "set": {"a": ""}}, ["body", "instance_ids"], ""),
        ({"instance_ids": ["x"], "set": {"a": ""}}, ["body", "instance_ids", 0], "UUID"),
        ({"selector": "gpu", "set": {"a": ""}, "remove": ["a"]}, ["body", "remove"], "at once"),
        ({"selector": "gpu", "set": {"-": ""}}, ["body", "set", "-"], "letters, digits"),
    ],
)
def test_wrong_bulk_changes_are_refused(api, body, loc, words):
    GroupFactory(name="gpus", selector="gpu")

    refused = api.post("instances/labels", body)

    assert refused.status_code == 422
    problem = refused.json()["detail"][0]
    assert problem["loc"] == loc
    assert words in problem["msg"]


def test_what_a_token_may_not_see_does_not_exist(narrow):
    seen = InstanceFactory()
    unseen = InstanceFactory(service=ServiceFactory(environment="prod"))
    store_agent_labels([(row.pk, {"gpu": ""}) for row in (seen, unseen)])

    assert narrow.get(f"instances/{unseen.pk}/labels").status_code == 404
    assert narrow.put(f"instances/{unseen.pk}/labels", {"labels": {"a": ""}}).status_code == 404
    both = {"instance_ids": [str(seen.pk), str(unseen.pk)], "set": {"a": ""}}
    assert narrow.post("instances/labels", both).status_code == 404
    assert operator_labels(seen) == {}
    by_selector = narrow.post("instances/labels", {"selector": "gpu", "set": {"a": ""}})
    assert by_selector.json()["instance_count"] == 1
    assert operator_labels(unseen) == {}


def test_viewers_read_and_do_not_write():
    viewer = api_as("viewer")
    instance = InstanceFactory()

    assert viewer.get(f"instances/{instance.pk}/labels").status_code == 200
    for refused in (
        viewer.put(f"instances/{instance.pk}/labels", {"labels": {}}),
        viewer.patch(f"instances/{instance.pk}/labels", {"labels": {}}),
        viewer.post("instances/labels", {"selector": "gpu", "set": {"a": ""}}),
    ):
        assert (refused.status_code, refused.json()) == (403, {"detail": "insufficient role"})
