"""Saved groups over the API, selectors that are tried, and lists that are narrowed by either."""

import json

import pytest
from django.utils import timezone

from agents.models import Event, Group
from tests.factories import (
    CommandFactory,
    EventFactory,
    GroupFactory,
    InstanceFactory,
    InstanceLabelsFactory,
    ServiceFactory,
    SessionFactory,
)
from tests.integration.api_client import api_as, api_in_session

pytestmark = pytest.mark.django_db
NUL = "a\x00b"


@pytest.fixture
def api():
    return api_as("operator")


@pytest.fixture
def viewer():
    return api_as("viewer")


def problems(response):
    assert response.status_code == 422, response.content
    return [(problem["type"], problem["loc"]) for problem in response.json()["detail"]]


def send(api, method, path, body=None):
    call = getattr(api.client, method)
    return call(f"/api/v1/{path}", json.dumps(body or {}), content_type="application/json", headers=api.headers)


def labelled(environment="prod", **labels):
    instance = InstanceFactory(service=ServiceFactory(environment=environment), online=True)
    InstanceLabelsFactory(instance=instance, labels=labels)
    return instance


# Groups.


def test_a_group_is_stored_with_its_selector_in_canonical_form(api):
    labelled(env="prod", canary="1")
    labelled(env="dev", canary="1")

    body = api.post("groups", {"name": " canary ", "selector": " canary , env = prod ", "description": "first"}).json()

    assert (body["name"], body["selector"], body["instance_count"]) == ("canary", "env=prod,canary", 1)
    assert body["selector_json"] == {
        "match_labels": {"env": "prod"},
        "match_expressions": [{"key": "canary", "operator": "EXISTS", "values": []}],
    }
    assert Group.objects.get().selector == "env=prod,canary"


def test_a_group_takes_the_json_form_too(api):
    selector = {"match_expressions": [{"key": "cpu-cores", "operator": "GT", "values": ["8"]}]}

    assert api.post("groups", {"name": "big", "selector": selector}).json()["selector"] == "cpu-cores>8"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": ""}, ("string_too_short", ["body", "name"])),
        ({"name": "x" * 101}, ("string_too_long", ["body", "name"])),
        ({"name": "a/b"}, ("value_error", ["body", "name"])),
        ({"name": "a\u200bb"}, ("value_error", ["body", "name"])),
        ({"name": NUL}, ("string_unstorable", ["body", "name"])),
        ({"name": 7}, ("string_type", ["body", "name"])),
        ({"selector": ""}, ("value_error", ["body", "selector"])),
        ({"selector": {}}, ("value_error", ["body", "selector"])),
        ({"selector": "a=b,="}, ("selector", ["body", "selector"])),
        ({"selector": NUL}, ("string_unstorable", ["body", "selector"])),
        ({"selector": 7}, ("selector_type", ["body", "selector"])),
        ({"selector": ["a"]}, ("selector_type", ["body", "selector"])),
        ({"selector": None}, ("none_forbidden", ["body", "selector"])),
        ({"selector": {"match_labels": {"a": 1}}}, ("selector", ["body", "selector"])),
        ({"selector": "a=" + "b" * 9000}, ("selector", ["body", "selector"])),
        ({"description": "x" * 2001}, ("string_too_long", ["body", "description"])),
        ({"colour": "red"}, ("extra_forbidden", ["body", "colour"])),
    ],
)
def test_a_group_that_cannot_be_is_refused(api, change, problem):
    assert problems(api.post("groups", {"name": "canary", "selector": "env=prod"} | change)) == [problem]
    assert Group.objects.count() == 0


def test_what_is_wrong_with_a_selector_is_said_with_its_place(api):
    (problem,) = api.post("groups", {"name": "canary", "selector": "a=b,="}).json()["detail"]

    assert problem["msg"] == "Character 5: expected the key of a label, not “=”"


def test_a_name_is_taken_once(api):
    GroupFactory(name="canary")

    made = api.post("groups", {"name": "canary", "selector": "env=prod"})
    renamed = send(api, "patch", f"groups/{GroupFactory().name}", {"name": "canary"})

    assert (made.status_code, renamed.status_code) == (409, 409)


def test_viewers_read_groups_and_change_none(viewer):
    GroupFactory(name="canary")

    assert viewer.get("groups/canary").status_code == 200
    assert viewer.post("groups", {"name": "x", "selector": "a"}).status_code == 403
    for method in ("put", "patch", "delete"):
        assert send(viewer, method, "groups/canary", {"name": "x", "selector": "a"}).status_code == 403
    assert Group.objects.get().selector == "env=prod"


def test_a_group_is_changed_in_part_or_whole(api):
    GroupFactory(name="canary", description="old")

    part = send(api, "patch", "groups/canary", {"selector": "env=dev"}).json()
    whole = send(api, "put", "groups/canary", {"name": "蓝", "selector": "a"}).json()

    assert (part["selector"], part["description"]) == ("env=dev", "old")
    assert (whole["name"], whole["selector"], whole["description"]) == ("蓝", "a", None)
    assert api.get("groups/canary").status_code == 404
    assert api.get("groups/%E8%93%9D").json()["selector"] == "a"


def test_what_was_done_to_a_group_is_history_with_before_and_after(api):
    api.post("groups", {"name": "canary", "selector": "env=prod"})
    send(api, "patch", "groups/canary", {"selector": "env=dev"})
    send(api, "patch", "groups/canary", {"selector": "env=dev"})
    gone = send(api, "delete", "groups/canary")

    assert (gone.status_code, gone.json()["selector"], Group.objects.count()) == (200, "env=dev", 0)
    told = Event.objects.order_by("id").values_list("kind", "meta__before", "meta__after")
    assert [(kind, (before or {}).get("selector"), (after or {}).get("selector")) for kind, before, after in told] == [
        ("object.created", None, "env=prod"),
        ("object.changed", "env=prod", "env=dev"),
        ("object.deleted", "env=dev", None),
    ]
    assert send(api, "delete", "groups/canary").status_code == 404


def test_counts_are_in_lists_where_they_are_asked_for(api):
    labelled(env="prod")
    labelled(env="prod").delete()
    GroupFactory(name="a")
    GroupFactory(name="b", selector="env=dev")

    assert "instance_count" not in api.get("groups").json()["items"][0]
    counted = api.get("groups", {"fields": "name,instance_count"}).json()["items"]
    assert counted == [{"name": "a", "instance_count": 1}, {"name": "b", "instance_count": 0}]


@pytest.mark.parametrize("count", [1, 3])
def test_a_list_of_groups_takes_as_many_queries_for_many(api, count, django_assert_num_queries):
    GroupFactory.create_batch(count)
    api.get("groups")

    with django_assert_num_queries(3):
        api.get("groups", {"fields": "name,instance_count"})


def test_a_narrowed_token_reads_groups_and_changes_none():
    GroupFactory(name="canary", selector="env=prod")
    narrowed = api_as("admin", environments=["dev"])
    body = {"name": "canary", "selector": "env=dev"}

    refused = [
        narrowed.post("groups", {**body, "name": "new"}),
        narrowed.put("groups/canary", body),
        narrowed.patch("groups/canary", body),
        send(narrowed, "delete", "groups/canary"),
    ]

    assert [each.status_code for each in refused] == [403] * 4
    assert "every environment" in refused[0].json()["detail"]
    assert narrowed.get("groups/canary").json()["selector"] == "env=prod"
    assert list(Group.objects.values_list("name", "selector")) == [("canary", "env=prod")]


def test_counts_of_a_narrowed_token_are_of_its_environments():
    labelled(env="prod")
    labelled("dev", env="prod")
    GroupFactory(name="canary")

    assert api_as("viewer", environments=["dev"]).get("groups/canary").json()["instance_count"] == 1


# Lists.


@pytest.fixture
def fleet():
    """A session, a command and an event at an instance of env=prod, and the same at one of env=dev."""
    made = []
    for env in ("prod", "dev"):
        session = SessionFactory(instance=labelled(env=env, canary="1"))
        CommandFactory(instance=session.instance)
        EventFactory(instance=session.instance)
        made.append(str(session.instance.pk))
    EventFactory(instance=None, service=None, kind="object.changed")
    return made


@pytest.mark.parametrize("path", ["instances", "sessions", "commands", "history"])
@pytest.mark.parametrize(
    "query",
    [
        {"selector": "env=prod"},
        {"selector": "env!=dev"},
        {"group": "prod"},
        {"selector": "canary", "group": "prod"},
        {"group": "canary", "selector": "env notin (dev,staging)"},
    ],
)
def test_lists_are_narrowed_by_selector_and_group_together(api, fleet, path, query):
    GroupFactory(name="prod")
    GroupFactory(name="canary", selector="canary")

    items = api.get(path, query).json()["items"]

    assert [item.get("instance_id", item.get("id")) for item in items] == [fleet[0]]


@pytest.mark.parametrize("path", ["instances", "sessions", "commands", "history"])
def test_lists_refuse_a_bad_selector_and_an_unknown_group(api, path):
    assert problems(api.get(path, {"selector": "a=(", "group": "ghost"})) == [
        ("selector", ["query", "selector"]),
        ("group", ["query", "group"]),
    ]
    assert problems(api.get(path, {"selector": NUL})) == [("string_unstorable", ["query", "selector"])]


@pytest.mark.parametrize("path", ["instances", "sessions", "commands", "history"])
def test_narrowing_by_selector_takes_a_fixed_number_of_queries(api, fleet, path, django_assert_max_num_queries):
    GroupFactory(name="prod")
    api.get(path)
    with django_assert_max_num_queries(5):
        api.get(path, {"selector": "canary", "group": "prod"})


def test_a_cursor_belongs_to_its_selector(api, fleet):
    cursor = api.get("instances", {"selector": "canary", "limit": 1}).json()["next_cursor"]

    assert api.get("instances", {"selector": "canary", "limit": 1, "cursor": cursor}).status_code == 200
    assert problems(api.get("instances", {"selector": "env", "cursor": cursor})) == [("cursor", ["query", "cursor"])]


# Trying selectors.


def test_a_check_tells_who_matches_and_who_nearly_does(viewer):
    here = labelled(env="prod", region="eu")
    near = labelled(env="prod", region="us")
    labelled(env="dev", region="us")

    body = viewer.post("selectors/check", {"selector": "region in (eu),env=prod"}).json()

    assert body["selector"] == "env=prod,region in (eu)"
    assert (body["instance_count"], body["matching"]) == (3, 1)
    assert body["requirements"] == [
        {"requirement": "env=prod", "excluded": 1},
        {"requirement": "region in (eu)", "excluded": 2},
    ]
    assert [
        (miss["requirement"], miss["count"], [each["id"] for each in miss["examples"]]) for miss in body["near_misses"]
    ] == [("region in (eu)", 1, [str(near.pk)])]
    assert body["near_misses"][0]["key"] == "region"
    assert body["near_misses"][0]["examples"][0] == {
        "id": str(near.pk),
        "node_name": near.node_name,
        "dialect": near.dialect,
        "service_name": near.service.name,
        "environment": near.service.environment,
        "connectivity": near.connectivity,
        "value": "us",
    }
    assert [each["id"] for each in body["sample"]] == [str(here.pk)]
    assert body["warnings"] == []


def test_a_check_warns_of_what_nobody_meets_and_of_what_everybody_does(viewer):
    labelled(env="prod")

    body = viewer.post("selectors/check", {"selector": {"match_labels": {"env": "prdo", "env2": ""}}}).json()
    empty = viewer.post("selectors/check", {"selector": ""}).json()
    wide = viewer.post("selectors/check", {"selector": "env"}).json()

    assert [warning[:28] for warning in body["warnings"]] == [
        "No instance meets “env=prdo”",
        'No instance meets “env2=""”:',
    ]
    assert (empty["matching"], empty["warnings"]) == (1, ["An empty selector matches every instance."])
    assert wide["warnings"] == ["Every instance meets “env”: it narrows nothing."]


def test_a_check_sees_no_more_than_its_token_and_no_archived():
    labelled("prod", env="x")
    labelled("dev", env="x")
    archived = labelled("dev", env="x")
    archived.archived_at = timezone.now()
    archived.save()

    body = api_as("viewer", environments=["dev"]).post("selectors/check", {"selector": "env=x"}).json()

    assert (body["instance_count"], body["matching"], len(body["sample"])) == (1, 1, 1)


def test_a_check_takes_a_group_by_its_name(viewer):
    labelled(env="prod")
    labelled(env="dev")
    GroupFactory(name="production", selector="env=prod")

    body = viewer.post("selectors/check", {"group": "production"}).json()

    assert (body["selector"], body["instance_count"], body["matching"]) == ("env=prod", 2, 1)
    assert problems(viewer.post("selectors/check", {"group": "ghost"})) == [("group", ["body", "group"])]
    assert problems(viewer.post("selectors/check", {"group": "production", "selector": "a"})) == [
        ("value_error", ["body", "selector"])
    ]


def test_a_check_refuses_what_is_no_selector(viewer):
    assert problems(viewer.post("selectors/check", {})) == [("missing", ["body", "selector"])]
    assert problems(viewer.post("selectors/check", {"selector": "a in ("})) == [("selector", ["body", "selector"])]


def test_a_check_is_for_those_with_a_role():
    assert api_as("", scope="read").post("selectors/check", {"selector": "a"}).status_code == 403
    assert api_in_session("viewer").post("selectors/check", {"selector": "a"}).status_code == 200
