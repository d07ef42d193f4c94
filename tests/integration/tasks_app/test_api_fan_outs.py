"""The same command for many instances of any service, and the fan-outs that were given."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Command, FanOut, FanOutTarget, InstanceLabels
from tests.factories import (
    FanOutFactory,
    GroupFactory,
    InstanceFactory,
    InstanceLabelsFactory,
    ServiceFactory,
    SessionFactory,
    TaskControlsFactory,
    task_control,
)
from tests.integration.api_client import Api, api_as, api_in_session

pytestmark = pytest.mark.django_db
TOO_MANY = [str(uuid.UUID(int=number)) for number in range(10_001)]
PAUSE = {"selector": "a", "kind": "pause_task", "task_name": "x"}


@pytest.fixture
def api():
    return api_as("operator")


def problems(response):
    assert response.status_code == 422, response.content
    return [(problem["type"], problem["loc"]) for problem in response.json()["detail"]]


def connected(environment="prod", *, labels=None, **fields):
    service = ServiceFactory(environment=environment)
    session = SessionFactory(instance=InstanceFactory(service=service, online=True), **fields)
    InstanceLabelsFactory(instance=session.instance, labels={"env": environment} | (labels or {}))
    return session.instance


def ids(targets):
    return [target["instance_id"] for target in targets]


def ping(**fields):
    return {"kind": "ping", "reason": "why"} | fields


def test_an_order_goes_to_whom_a_selector_means(api):
    here = connected()
    connected("dev")

    body = api.post("fan-outs", ping(selector="env = prod")).json()

    assert ids(body["dispatched"]) == [str(here.pk)]
    assert body["counts"] == {"dispatched": 1, "queued": 0, "skipped": 0, "rejected": 0, "total": 1}
    assert (body["target_mode"], body["selector"], body["group"], body["dry_run"]) == (
        "selector",
        "env=prod",
        None,
        False,
    )
    kept = FanOut.objects.get()
    assert (kept.public_id, kept.selector, kept.group_name) == (body["fan_out_id"], "env=prod", "")
    assert body["dispatched"][0]["command_id"] == Command.objects.get().public_id


def test_an_order_goes_to_a_group_that_keeps_its_name_and_selector_of_then(api):
    connected()
    group = GroupFactory(name="prod")

    body = api.post("fan-outs", ping(group="prod")).json()
    group.delete()

    assert (body["target_mode"], body["selector"], body["group"]) == ("group", "env=prod", "prod")
    stored = api.get(f"fan-outs/{body['fan_out_id']}").json()
    assert (stored["selector"], stored["group"], stored["counts"]["total"]) == ("env=prod", "prod", 1)


def test_an_order_goes_to_named_instances_of_any_service_in_their_order(api):
    one, two = connected(), connected("dev")

    body = api.post("fan-outs", ping(instance_ids=[str(two.pk), str(one.pk)])).json()

    assert ids(body["dispatched"]) == [str(two.pk), str(one.pk)]
    assert (body["target_mode"], body["selector"]) == ("selected_instances", None)


def test_whom_it_was_for_stays_when_labels_change(api):
    instance = connected()
    fan_out_id = api.post("fan-outs", ping(selector="env=prod")).json()["fan_out_id"]

    InstanceLabels.objects.filter(pk=instance.pk).update(effective={"env": "dev"})
    connected()

    assert ids(api.get(f"fan-outs/{fan_out_id}/targets").json()["items"]) == [str(instance.pk)]


def test_a_dry_run_tells_what_would_become_of_it_and_makes_nothing(api):
    able = connected()
    connected(accepted_capabilities=[])
    InstanceLabelsFactory(instance=InstanceFactory(offline=True, inflight_tasks=2), labels={"env": "prod"})
    InstanceLabelsFactory(instance=InstanceFactory(dialect="argus"), labels={"env": "prod"})

    body = api.post("fan-outs", ping(selector="env=prod", dry_run=True)).json()

    assert (body["fan_out_id"], body["dry_run"]) == (None, True)
    assert body["counts"] == {"dispatched": 1, "queued": 0, "skipped": 1, "rejected": 2, "total": 4}
    assert body["reach"] == {
        "matching": 4,
        "online": 2,
        "offline": 1,
        "never_reported": 1,
        "connected": 2,
        "lacking_capability": 2,
        "busy": 1,
    }
    assert (ids(body["dispatched"]), body["dispatched"][0]["command_id"]) == ([str(able.pk)], None)
    assert {target["reason_code"] for target in body["rejected"]} == {"missing_capability", "dialect_without_commands"}
    assert (Command.objects.count(), FanOut.objects.count()) == (0, 0)


def test_nobody_meant_is_said_and_kept(api):
    body = api.post("fan-outs", ping(selector="env=prod")).json()

    assert (body["noop_reason_code"], body["counts"]["total"]) == ("no_matching_instances", 0)
    assert FanOut.objects.get().public_id == body["fan_out_id"]


def test_the_archived_are_never_meant(api):
    instance = connected()
    instance.archived_at = timezone.now()
    instance.save()

    assert api.post("fan-outs", ping(selector="env=prod")).json()["counts"]["total"] == 0


def test_the_offline_are_waited_for_where_the_order_may_be_held(api):
    session = SessionFactory(instance=InstanceFactory(offline=True), status="disconnected")
    InstanceLabelsFactory(instance=session.instance, labels={"env": "prod"})

    skipped = api.post("fan-outs", ping(selector="env=prod")).json()
    queued = api.post("fan-outs", ping(selector="env=prod", offline_behavior="queue")).json()

    assert (skipped["counts"]["skipped"], queued["counts"]["queued"]) == (1, 1)
    assert api.get("fan-outs").json()["items"][0]["offline_behavior"] == "queue"


def test_a_task_may_be_named_beside_the_arguments(api):
    instance = connected()
    TaskControlsFactory(instance=instance, controls=[task_control("work", supported_commands=["pause_task"])])
    other = connected()

    body = api.post("fan-outs", ping(kind="pause_task", selector="env=prod", task_name="work")).json()

    assert (ids(body["dispatched"]), ids(body["rejected"])) == ([str(instance.pk)], [str(other.pk)])
    assert (Command.objects.get().args, FanOut.objects.get().task_name) == ({"task_name": "work"}, "work")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, ("aim", ["body", "selector"])),
        ({"selector": "a", "group": "b"}, ("aim", ["body", "group"])),
        ({"selector": "a", "instance_ids": [str(uuid.uuid4())]}, ("aim", ["body", "instance_ids"])),
        ({"selector": ""}, ("value_error", ["body", "selector"])),
        ({"selector": "a=("}, ("selector", ["body", "selector"])),
        ({"selector": {"match_labels": []}}, ("selector", ["body", "selector"])),
        ({"selector": "a\x00"}, ("string_unstorable", ["body", "selector"])),
        ({"instance_ids": []}, ("empty", ["body", "instance_ids"])),
        ({"instance_ids": ["x"]}, ("uuid_parsing", ["body", "instance_ids", 0])),
        ({"instance_ids": [str(uuid.UUID(int=1))] * 2}, ("unique", ["body", "instance_ids"])),
        ({"instance_ids": TOO_MANY}, ("string_too_long", ["body", "instance_ids"])),
        ({"selector": "a", "reason": ""}, ("string_too_short", ["body", "reason"])),
        ({"selector": "a", "kind": "explode"}, ("enum", ["body", "kind"])),
        ({"selector": "a", "args": []}, ("dict_type", ["body", "args"])),
        ({"selector": "a", "timeout_s": 0}, ("greater_than_equal", ["body", "timeout_s"])),
        ({"selector": "a", "dry_run": "perhaps"}, ("bool_type", ["body", "dry_run"])),
        ({"selector": "a", "kind": "pause_task"}, ("value_error", ["body", "args", "task_name"])),
        (PAUSE | {"args": {"task_name": "y"}}, ("task_names", ["body", "task_name"])),
        (PAUSE | {"offline_behavior": "queue"}, ("value_error", ["body", "offline_behavior"])),
        ({"selector": "a", "colour": 1}, ("extra_forbidden", ["body", "colour"])),
    ],
)  # fmt: skip
def test_an_order_that_cannot_be_right_is_refused(api, change, problem):
    assert problem in problems(api.post("fan-outs", ping() | change))
    assert FanOut.objects.count() == 0


@pytest.mark.parametrize("group", ["ghost", "a/b"])
def test_an_unknown_group_is_said(api, group):
    response = api.post("fan-outs", ping(group=group))

    assert (response.status_code, response.json()["detail"]) == (404, f"group {group} was not found")


def test_an_unknown_instance_stops_it_all(api):
    one, ghost = connected(), uuid.uuid4()

    response = api.post("fan-outs", ping(instance_ids=[str(one.pk), str(ghost)]))

    assert (response.status_code, response.json()["detail"]) == (404, f"instance {ghost} was not found")
    assert Command.objects.count() == 0


def test_too_many_are_refused_with_what_to_do(api, monkeypatch):
    monkeypatch.setattr("tasks_app.services.fan_outs.TARGETS_MAX", 1)
    connected(), connected()

    response = api.post("fan-outs", ping(selector="env=prod"))

    assert problems(response) == [("value_error", ["body", "selector"])]
    assert "goes to 1 instances at most" in response.json()["detail"][0]["msg"]
    assert Command.objects.count() == 0


def test_who_may_send_what():
    body = ping(selector="env=prod")
    drain = body | {"kind": "drain"}
    connected()

    assert Api().post("fan-outs", body).status_code == 401
    assert api_as("viewer").post("fan-outs", body).status_code == 403
    assert api_as("admin", scope="read").post("fan-outs", body).status_code == 403
    assert api_as("operator").post("fan-outs", drain).status_code == 403
    assert api_as("admin", scope="command").post("fan-outs", drain | {"dry_run": True}).status_code == 403
    assert api_as("admin").post("fan-outs", drain).status_code == 200
    assert api_in_session("admin").post("fan-outs", drain).status_code == 200


def test_a_shutdown_is_for_named_instances():
    instance, api = connected(), api_as("admin")

    assert problems(api.post("fan-outs", ping(kind="shutdown", selector="env=prod"))) == [
        ("value_error", ["body", "kind"])
    ]
    assert api.post("fan-outs", ping(kind="shutdown", instance_ids=[str(instance.pk)])).json()["counts"]["total"] == 1


def test_a_narrowed_token_means_and_sees_its_own_environments():
    here, there = connected("dev", labels={"x": ""}), connected("prod", labels={"x": ""})
    everybody = api_as("operator").post("fan-outs", ping(selector="x")).json()["fan_out_id"]
    narrowed = api_as("operator", environments=["dev"])

    body = narrowed.post("fan-outs", ping(selector="x")).json()

    assert ids(body["dispatched"]) == [str(here.pk)]
    assert narrowed.post("fan-outs", ping(instance_ids=[str(there.pk)])).status_code == 404
    assert [each["fan_out_id"] for each in narrowed.get("fan-outs").json()["items"]] == [body["fan_out_id"]]
    assert narrowed.get(f"fan-outs/{everybody}").status_code == 404
    assert narrowed.get(f"fan-outs/{everybody}/targets").status_code == 404


def is_told(api, fan_out_id):
    listed = [each["fan_out_id"] for each in api.get("fan-outs").json()["items"]]
    return (fan_out_id in listed, api.get(f"fan-outs/{fan_out_id}").status_code == 200)


def test_a_narrowed_token_reads_no_foreign_fan_out_whose_targets_were_forgotten(api):
    there, here = connected("prod"), connected("dev")
    foreign = api.post("fan-outs", ping(selector="env=prod")).json()["fan_out_id"]
    both = api.post("fan-outs", ping(instance_ids=[str(there.pk), str(here.pk)])).json()["fan_out_id"]
    own = api.post("fan-outs", ping(selector="env=dev")).json()["fan_out_id"]
    FanOutTarget.objects.all().delete()
    narrowed = api_as("operator", environments=["dev"])

    assert [is_told(narrowed, each) for each in (foreign, both, own)] == [
        (False, False),
        (False, False),
        (True, True),
    ]
    assert is_told(api_as("viewer", environments=["dev", "prod"]), both) == (True, True)


def test_a_narrowed_token_reads_no_fan_out_of_others_that_met_nobody(api):
    nobody = api.post("fan-outs", ping(selector="env=nowhere")).json()["fan_out_id"]
    narrowed, other = api_as("operator", environments=["dev"]), api_as("operator", environments=["prod"])
    own = narrowed.post("fan-outs", ping(selector="env=nowhere")).json()["fan_out_id"]

    assert [is_told(narrowed, nobody), is_told(narrowed, own)] == [(False, False), (True, True)]
    assert [is_told(other, nobody), is_told(other, own)] == [(False, False), (False, False)]
    assert is_told(api, nobody) == (True, True)


def test_a_narrowed_token_reads_no_foreign_fan_out_whose_service_was_forgotten(api):
    service = connected("prod").service
    path, query = f"services/{service.name}/commands", {"environment": "prod"}
    online = api.post(path, ping(target_mode="all_online"), query)["X-Fan-Out-Id"]
    narrowed = api_as("operator", environments=["dev"])
    FanOutTarget.objects.all().delete()
    FanOut.objects.update(service=None)

    assert is_told(narrowed, online) == (False, False)
    assert is_told(api_as("viewer", environments=["prod"]), online) == (True, True)


def test_sending_takes_as_many_queries_for_many_as_for_few(api):
    counts = []
    for number in (2, 30):
        for _ in range(number):
            connected()
        api.post("fan-outs", ping(selector="env=prod"))
        with CaptureQueriesContext(connection) as queries:
            api.post("fan-outs", ping(selector="env=prod"))
        counts.append(len(queries))

    assert counts[0] == counts[1] <= 12


# Reading.


def test_a_fan_out_counts_outcomes_and_the_present_status_of_its_commands(api):
    for _ in range(3):
        connected()
    connected(accepted_capabilities=[])
    fan_out_id = api.post("fan-outs", ping(selector="env=prod", args={"n": 1})).json()["fan_out_id"]
    done = Command.objects.order_by("id").first()
    Command.objects.filter(pk=done.pk).update(status="failed", error_code="boom", finished_at=timezone.now())

    body = api.get(f"fan-outs/{fan_out_id}").json()

    assert (body["kind"], body["args"], body["created_by"], body["retry_of"]) == (
        "ping",
        {"n": 1},
        FanOut.objects.get().created_by_name,
        None,
    )
    assert body["counts"] == {"dispatched": 3, "queued": 0, "skipped": 0, "rejected": 1, "total": 4}
    assert {status: count for status, count in body["commands"].items() if count} == {"pending": 2, "failed": 1}
    targets = api.get(f"fan-outs/{fan_out_id}/targets", {"status": "failed"}).json()["items"]
    assert [(each["instance_id"], each["command_id"], each["status"], each["error_code"]) for each in targets] == [
        (str(done.instance_id), done.public_id, "failed", "boom")
    ]
    assert targets[0]["finished_at"]
    (rejected,) = api.get(f"fan-outs/{fan_out_id}/targets", {"outcome": "rejected"}).json()["items"]
    assert (rejected["reason_code"], rejected["command_id"], rejected["status"]) == ("missing_capability", None, None)


def test_targets_outlive_their_commands(api):
    connected()
    fan_out_id = api.post("fan-outs", ping(selector="env=prod")).json()["fan_out_id"]
    Command.objects.all().delete()

    (target,) = api.get(f"fan-outs/{fan_out_id}/targets").json()["items"]

    assert (target["outcome"], target["status"], target["finished_at"]) == ("dispatched", None, None)
    assert target["command_id"].startswith("cmd_")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"kind": "ping,drain"}, ["a", "b"]),
        ({"kind": "sync_now"}, ["c"]),
        ({"target_mode": "group"}, ["b"]),
        ({"group": "canary"}, ["b"]),
        ({"created_by": "c"}, ["c"]),
        ({"service": "web"}, ["c"]),
        ({"environment": "dev"}, ["c"]),
        ({"task_name": "nobody's"}, []),
        ({"created_after": "2999-01-01T00:00:00Z"}, []),
    ],
)
def test_fan_outs_are_found_by_what_they_were(api, query, expected):
    FanOutFactory(created_by_name="a")
    FanOutFactory(created_by_name="b", target_mode="group", group_name="canary")
    service = ServiceFactory(name="web")
    FanOutFactory(created_by_name="c", kind="sync_now", target_mode="all_online", service=service)

    found = api.get("fan-outs", query | {"ordering": "created_at"}).json()["items"]

    assert [each["created_by"] for each in found] == expected


def test_lists_tell_of_commands_where_they_are_asked_to(api):
    connected()
    api.post("fan-outs", ping(selector="env=prod"))

    assert "commands" not in api.get("fan-outs").json()["items"][0]
    (item,) = api.get("fan-outs", {"fields": "commands,counts"}).json()["items"]
    assert (item["commands"]["pending"], item["counts"]["dispatched"]) == (1, 1)


@pytest.mark.parametrize("count", [1, 3])
def test_reading_takes_as_many_queries_for_many(api, count, django_assert_num_queries):
    for _ in range(count):
        connected()
        fan_out_id = api.post("fan-outs", ping(selector="env=prod")).json()["fan_out_id"]
    api.get("fan-outs")

    for path, query, queries in (
        ("fan-outs", {"fields": "commands,service_name"}, 3),
        (f"fan-outs/{fan_out_id}", {}, 3),
        (f"fan-outs/{fan_out_id}/targets", {}, 3),
    ):
        with django_assert_num_queries(queries):
            assert api.get(path, query).status_code == 200


def test_targets_come_in_pages(api):
    given = [str(connected().pk) for _ in range(5)]
    fan_out_id = api.post("fan-outs", ping(instance_ids=given)).json()["fan_out_id"]
    found, cursor = [], None
    while cursor or not found:
        page = api.get(f"fan-outs/{fan_out_id}/targets", {"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found += ids(page["items"])
        cursor = page["next_cursor"]

    assert found == given


@pytest.mark.parametrize("rest", ["", "/targets"])
def test_a_fan_out_that_is_none_is_said(api, rest):
    assert problems(api.get(f"fan-outs/ghost{rest}")) == [("value_error", ["path", "fan_out_id"])]
    assert api.get(f"fan-outs/fan_{uuid.uuid4().hex}{rest}").status_code == 404


def test_fan_outs_of_a_service_are_named_in_a_header_of_the_known_answer(api):
    instance = connected("dev")

    response = api.post(
        f"services/{instance.service.name}/commands", ping(target_mode="all_online"), {"environment": "dev"}
    )

    assert "fan_out_id" not in response.json()
    assert response["X-Fan-Out-Id"] == FanOut.objects.get().public_id
    assert FanOutTarget.objects.get().instance == instance
