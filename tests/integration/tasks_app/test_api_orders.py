"""Sending commands over the API: what is refused before anyone looks, and what becomes of the rest."""

import json
import uuid

import pytest

from agents.models import Command, Session
from agents.models.command import CommandKind
from controlplane.common.rest import paging
from tests.factories import (
    CommandFactory,
    InstanceFactory,
    ServiceFactory,
    SessionFactory,
    TaskControlsFactory,
    TaskFactory,
    task_control,
)
from tests.integration.api_client import api_as, service_path

pytestmark = pytest.mark.django_db
TASK_KINDS = [
    "pause_task",
    "resume_task",
    "restart_task",
    "run_task_once",
    "replay_dead_letters",
    "discard_dead_letters",
]


@pytest.fixture
def api():
    return api_as("admin")


@pytest.fixture
def session():
    return SessionFactory()


def problems(response):
    assert response.status_code == 422, response.content
    return [(problem["type"], problem["loc"]) for problem in response.json()["detail"]]


def order(kind, **fields):
    """A body that is right for this kind at an instance."""
    args = {"task_name": "work"} if kind in TASK_KINDS else {}
    if kind == "run_task_once":
        args["payload"] = {}
    return {"kind": kind, "args": args, "reason": "why"} | fields


def fan_out(kind="ping", **fields):
    return {"kind": kind, "reason": "why", "target_mode": "all_online"} | fields


def path_of(instance):
    return f"instances/{instance.pk}/commands"


# The body of a command for one instance.


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("missing", ["body", "kind"])]),
        ({"kind": "reboot"}, [("enum", ["body", "kind"])]),
        ({"kind": None}, [("none_forbidden", ["body", "kind"])]),
        ({"kind": 5}, [("enum", ["body", "kind"])]),
        ({"kind": ["ping"]}, [("enum", ["body", "kind"])]),
        ({"kind": {"a": 1}}, [("enum", ["body", "kind"])]),
        ({"kind": "ping", "args": []}, [("dict_type", ["body", "args"])]),
        ({"kind": "ping", "args": "{}"}, [("dict_type", ["body", "args"])]),
        ({"kind": "ping", "args": None}, [("none_forbidden", ["body", "args"])]),
        ({"kind": "ping", "timeout_s": 0}, [("greater_than_equal", ["body", "timeout_s"])]),
        ({"kind": "ping", "timeout_s": -1}, [("greater_than_equal", ["body", "timeout_s"])]),
        ({"kind": "ping", "timeout_s": "10"}, [("int_type", ["body", "timeout_s"])]),
        ({"kind": "ping", "timeout_s": 1.5}, [("int_type", ["body", "timeout_s"])]),
        ({"kind": "ping", "timeout_s": True}, [("int_type", ["body", "timeout_s"])]),
        ({"kind": "ping", "timeout_s": None}, [("none_forbidden", ["body", "timeout_s"])]),
        ({"kind": "ping", "timeout_s": 10**30}, [("value_error", ["body", "timeout_s"])]),
        ({"kind": "ping", "delivery_mode": "later"}, [("enum", ["body", "delivery_mode"])]),
        ({"kind": "ping", "reason": 7}, [("string_type", ["body", "reason"])]),
        ({"kind": "ping", "reason": "x" * 2001}, [("string_too_long", ["body", "reason"])]),
        ({"kind": "ping", "surprise": 1}, [("extra_forbidden", ["body", "surprise"])]),
        (
            {"surprise": 1, "timeout_s": "x"},
            [
                ("missing", ["body", "kind"]),
                ("int_type", ["body", "timeout_s"]),
                ("extra_forbidden", ["body", "surprise"]),
            ],
        ),
    ],
)
def test_wrong_body_is_refused(api, session, body, expected):
    response = api.post(path_of(session.instance), body)

    assert sorted(problems(response)) == sorted(expected)
    assert not Command.objects.exists()


def test_problem_tells_what_was_sent_and_what_there_is(api, session):
    response = api.post(path_of(session.instance), {"kind": "reboot"})

    choices = ", ".join(CommandKind.values)
    message = f'"reboot" is not a valid choice. Choose among: {choices}.'
    assert response.json() == {"detail": [{"type": "enum", "loc": ["body", "kind"], "msg": message, "input": "reboot"}]}


def test_problem_of_a_missing_field_shows_what_lacks_it(api, session):
    response = api.post(path_of(session.instance), {"timeout_s": 5})

    assert response.json()["detail"] == [
        {"type": "missing", "loc": ["body", "kind"], "msg": "Field required", "input": {"timeout_s": 5}}
    ]


@pytest.mark.parametrize("kind", ["shutdown", "restart", "drain", *TASK_KINDS])
@pytest.mark.parametrize("reason", [None, "", "   "])
def test_reason_is_required(api, session, kind, reason):
    response = api.post(path_of(session.instance), order(kind, reason=reason))

    assert problems(response) == [("value_error", ["body", "reason"])]


@pytest.mark.parametrize("kind", TASK_KINDS)
@pytest.mark.parametrize("task_name", [None, "", "  ", 5, ["work"], "x" * 256])
def test_task_command_needs_the_name_of_a_task(api, session, kind, task_name):
    body = order(kind)
    body["args"]["task_name"] = task_name

    assert problems(api.post(path_of(session.instance), body)) == [("value_error", ["body", "args", "task_name"])]


@pytest.mark.parametrize("kind", ["replay_dead_letters", "discard_dead_letters"])
@pytest.mark.parametrize("limit", [0, -1, "5", 1.5, True, None])
def test_dead_letter_limit_is_a_positive_number(api, session, kind, limit):
    body = order(kind, args={"task_name": "work", "limit": limit})

    assert problems(api.post(path_of(session.instance), body)) == [("value_error", ["body", "args", "limit"])]


@pytest.mark.parametrize("payload", [None, [], "x", 5])
def test_payload_of_a_manual_run_is_an_object(api, session, payload):
    body = order("run_task_once", args={"task_name": "work", "payload": payload})

    assert problems(api.post(path_of(session.instance), body)) == [("value_error", ["body", "args", "payload"])]


@pytest.mark.parametrize("kind", ["shutdown", "restart", "drain", *TASK_KINDS])
def test_what_acts_on_the_moment_cannot_wait_for_a_reconnect(api, session, kind):
    body = order(kind, delivery_mode="queue_until_reconnect")

    assert problems(api.post(path_of(session.instance), body)) == [("value_error", ["body", "delivery_mode"])]


def test_arguments_that_an_agent_would_choke_on_are_refused(api, session):
    response = api.post(path_of(session.instance), {"kind": "ping", "args": {"blob": "x" * 900_000}})

    assert problems(response) == [("value_error", ["body", "args"])]
    assert len(response.content) < 1000


def test_body_beyond_the_limit_is_too_large(api, session):
    response = api.post(path_of(session.instance), {"kind": "ping", "args": {"blob": "x" * 2 * 1024 * 1024}})

    assert (response.status_code, response.json()) == (413, {"detail": "request body is too large"})


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{",
        "nonsense",
        '{"kind": NaN}',
        '{"kind": "ping", "args": {"x": Infinity}}',
        b"\xff\xfe",
        b'{"kind": "\xff"}',
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"kind": "ping", "timeout_s": ' + "9" * 5000 + "}",
    ],
)
def test_body_that_is_not_json_is_refused(api, session, raw):
    assert problems(api.post(path_of(session.instance), raw=raw)) == [("json_invalid", ["body"])]


@pytest.mark.parametrize("raw", ["[]", '"ping"', "5", "null", "true"])
def test_body_that_is_no_object_is_refused(api, session, raw):
    assert problems(api.post(path_of(session.instance), raw=raw)) in (
        [("dict_type", ["body"])],
        [("none_forbidden", ["body"])],
    )


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_body_of_another_type_is_refused(api, session, content_type):
    response = api.post(path_of(session.instance), raw="kind=ping", content_type=content_type)

    assert problems(response) == [("json_type", ["header", "content-type"])]


@pytest.mark.parametrize(
    "args",
    [
        '{"x": "\\u0000"}',
        '{"\\u0000": 1}',
        '{"x": "\\ud800"}',
        '{"x": ["\\udfff"]}',
        '{"x": 1e400}',
        '{"x": -1e400}',
        '{"x": 9223372036854775808}',
        '{"x": 1180591620717411303424}',
        '{"x": ' + "[" * 100 + "]" * 100 + "}",
    ],
)
def test_what_no_database_can_hold_is_refused(api, session, args):
    response = api.post(path_of(session.instance), raw=f'{{"kind": "ping", "args": {args}}}')

    assert problems(response) == [("json_invalid", ["body", "args"])]


@pytest.mark.parametrize("text", ['"\\u0000"', '"\\ud800"'])
@pytest.mark.parametrize("field", ["reason", "kind", "delivery_mode"])
def test_hostile_text_is_refused_in_every_field(api, session, field, text):
    body = {"kind": "ping", "reason": "x"} | {field: "HERE"}

    response = api.post(path_of(session.instance), raw=json.dumps(body).replace('"HERE"', text))

    assert [loc for _, loc in problems(response)] == [["body", field]]


def test_hostile_key_is_refused(api, session):
    response = api.post(path_of(session.instance), raw='{"kind": "ping", "\\ud800": 1}')

    assert problems(response) == [("extra_forbidden", ["body", "\ufffd"])]


@pytest.mark.parametrize("instance_id", ["x", "123", "%00", "7f0c6a52-7b1e-4a0e-9d53", "cmd_1"])
def test_malformed_instance_id_is_refused(api, instance_id):
    response = api.post(f"instances/{instance_id}/commands", {"kind": "ping"})

    assert problems(response) == [("uuid_parsing", ["path", "instance_id"])]


# One instance: the decision table.


def test_connected_instance_gets_the_command(api, session):
    body = order("ping", args={"n": 1, "文": ["名"]}, timeout_s=30, reason="  look  ")

    response = api.post(path_of(session.instance), body)

    command = Command.objects.get()
    assert response.status_code == 200
    assert response.json() == {
        "command_id": f"cmd_{command.pk.hex}",
        "instance_id": str(session.instance_id),
        "node_name": session.instance.node_name,
        "session_id": None,
        "created_by": command.created_by.username,
        "reason": "look",
        "source_surface": "instance_detail",
        "kind": "ping",
        "args": {"n": 1, "文": ["名"]},
        "timeout_s": 30,
        "status": "pending",
        "ack_status": None,
        "result": None,
        "duration_ms": None,
        "error_code": None,
        "error_message": None,
        "created_at": command.created_at.isoformat(),
        "dispatched_at": None,
        "acked_at": None,
        "finished_at": None,
        "updated_at": command.updated_at.isoformat(),
    }


def test_defaults_of_a_command(api, session):
    response = api.post(path_of(session.instance), {"kind": "ping"})

    command = Command.objects.get()
    assert response.status_code == 200
    assert (command.args, command.timeout_s, command.delivery_mode, command.reason) == ({}, 10, "dispatch_now_only", "")


@pytest.mark.parametrize("kind", CommandKind.values)
def test_every_kind_is_taken(api, session, kind):
    TaskControlsFactory(instance=session.instance, controls=[task_control("work")])

    response = api.post(path_of(session.instance), order(kind))

    assert response.status_code == 200, response.content
    assert response.json()["kind"] == kind


def test_unknown_instance(api):
    instance_id = uuid.uuid4()

    response = api.post(f"instances/{instance_id}/commands", {"kind": "ping"})

    assert (response.status_code, response.json()) == (404, {"detail": f"instance {instance_id} was not found"})


@pytest.mark.parametrize("delivery_mode", ["dispatch_now_only", "queue_until_reconnect"])
def test_session_without_the_capability(api, delivery_mode):
    session = SessionFactory(accepted_capabilities=["command.sync_now"])

    response = api.post(path_of(session.instance), {"kind": "ping", "delivery_mode": delivery_mode})

    assert response.status_code == 409
    assert "command.ping" in response.json()["detail"]
    assert not Command.objects.exists()


@pytest.mark.parametrize(
    "controls",
    [None, [], [task_control("other")], [task_control("work", supported_commands=["resume_task"])]],
)
def test_task_that_did_not_say_it_supports_the_command(api, session, controls):
    if controls is not None:
        TaskControlsFactory(instance=session.instance, controls=controls)

    response = api.post(path_of(session.instance), order("pause_task"))

    assert response.status_code == 409
    assert "work" in response.json()["detail"]
    assert not Command.objects.exists()


def holder_is_gone(session):
    session.replica.stopped_at = session.connected_at
    session.replica.save()


def test_session_whose_process_is_gone(api, session):
    holder_is_gone(session)

    response = api.post(path_of(session.instance), {"kind": "ping"})

    assert response.status_code == 409
    assert "no live control connection" in response.json()["detail"]
    assert not Command.objects.exists()


def test_session_whose_process_is_gone_can_be_waited_for(api, session):
    holder_is_gone(session)

    response = api.post(path_of(session.instance), {"kind": "ping", "delivery_mode": "queue_until_reconnect"})

    assert (response.status_code, response.json()["status"]) == (200, "pending")


def test_instance_that_is_not_connected(api):
    session = SessionFactory(status=Session.Status.DISCONNECTED)

    response = api.post(path_of(session.instance), {"kind": "ping"})

    assert response.status_code == 409
    assert "no active control session" in response.json()["detail"]
    assert not Command.objects.exists()


def test_instance_that_is_not_connected_can_be_waited_for(api):
    session = SessionFactory(status=Session.Status.DISCONNECTED)

    response = api.post(path_of(session.instance), {"kind": "ping", "delivery_mode": "queue_until_reconnect"})

    assert (response.status_code, response.json()["status"]) == (200, "pending")


def test_nothing_waits_for_an_instance_that_never_connected(api):
    response = api.post(path_of(InstanceFactory()), {"kind": "ping", "delivery_mode": "queue_until_reconnect"})

    assert response.status_code == 409
    assert not Command.objects.exists()


def test_nothing_waits_for_an_instance_whose_last_session_could_not(api):
    session = SessionFactory(status=Session.Status.DISCONNECTED, accepted_capabilities=[])

    response = api.post(path_of(session.instance), {"kind": "ping", "delivery_mode": "queue_until_reconnect"})

    assert response.status_code == 409
    assert "command.ping" in response.json()["detail"]


# Many instances.


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kind": "shutdown"}, [("enum", ["body", "kind"])]),
        ({"reason": ""}, [("string_too_short", ["body", "reason"])]),
        ({"reason": "  "}, [("string_too_short", ["body", "reason"])]),
        ({"reason": None}, [("none_forbidden", ["body", "reason"])]),
        ({"reason": "x" * 2001}, [("string_too_long", ["body", "reason"])]),
        ({"target_mode": "some"}, [("enum", ["body", "target_mode"])]),
        ({"target_mode": None}, [("none_forbidden", ["body", "target_mode"])]),
        ({"target_mode": "selected_instances"}, [("targets_missing", ["body", "target_instance_ids"])]),
        ({"target_instance_ids": [str(uuid.UUID(int=1))]}, [("targets_unexpected", ["body", "target_instance_ids"])]),
        ({"target_instance_ids": ["x"]}, [("uuid_parsing", ["body", "target_instance_ids", 0])]),
        ({"target_instance_ids": [1]}, [("uuid_parsing", ["body", "target_instance_ids", 0])]),
        ({"target_instance_ids": "x"}, [("list_type", ["body", "target_instance_ids"])]),
        (
            {"target_mode": "selected_instances", "target_instance_ids": [str(uuid.UUID(int=1))] * 2},
            [("unique", ["body", "target_instance_ids"])],
        ),
        ({"offline_behavior": "wait"}, [("enum", ["body", "offline_behavior"])]),
        ({"kind": "restart", "offline_behavior": "queue"}, [("value_error", ["body", "offline_behavior"])]),
        ({"kind": "pause_task"}, [("value_error", ["body", "args", "task_name"])]),
        ({"delivery_mode": "dispatch_now_only"}, [("extra_forbidden", ["body", "delivery_mode"])]),
    ],
)
def test_wrong_body_for_a_service_is_refused(api, session, change, expected):
    response = api.post(service_path(session.instance.service, "/commands"), fan_out() | change, {"environment": "dev"})

    assert problems(response) == expected
    assert not Command.objects.exists()


@pytest.mark.parametrize("missing", ["kind", "reason", "target_mode"])
def test_field_that_a_service_command_needs(api, session, missing):
    body = {key: value for key, value in fan_out().items() if key != missing}

    response = api.post(service_path(session.instance.service, "/commands"), body, {"environment": "dev"})

    assert problems(response) == [("missing", ["body", missing])]


@pytest.mark.parametrize("query", [{}, {"environment": "qa"}, {"environment": ""}])
def test_environment_is_needed(api, session, query):
    response = api.post(service_path(session.instance.service, "/commands"), fan_out(), query)

    assert [loc for _, loc in problems(response)] == [["query", "environment"]]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kind": "ping"}, [("enum", ["body", "kind"])]),
        ({"kind": "restart"}, [("enum", ["body", "kind"])]),
        ({"offline_behavior": "queue"}, [("queue_forbidden", ["body", "offline_behavior"])]),
        ({"kind": "run_task_once"}, [("selection_needed", ["body", "target_mode"])]),
        ({"args": {"task_name": "work"}}, [("extra_forbidden", ["body", "args", "task_name"])]),
        ({"args": {"task_name": None}}, [("extra_forbidden", ["body", "args", "task_name"])]),
        ({"kind": "replay_dead_letters", "args": {"limit": 0}}, [("value_error", ["body", "args", "limit"])]),
    ],
)
def test_wrong_body_for_a_task_is_refused(api, session, change, expected):
    path = service_path(session.instance.service, "/tasks/work/commands")

    response = api.post(path, fan_out("pause_task") | change, {"environment": "dev"})

    assert problems(response) == expected
    assert not Command.objects.exists()


@pytest.mark.parametrize(("rest", "kind"), [("/commands", "ping"), ("/tasks/work/commands", "pause_task")])
def test_unknown_service(api, rest, kind):
    response = api.post(f"services/ghost{rest}", fan_out(kind), {"environment": "dev"})

    assert (response.status_code, response.json()) == (404, {"detail": "service ghost/dev was not found"})


def test_service_of_another_environment_is_unknown(api, session):
    response = api.post(service_path(session.instance.service, "/commands"), fan_out(), {"environment": "prod"})

    assert response.status_code == 404


def test_unknown_task(api, session):
    service = session.instance.service
    TaskFactory(service=service, name="other")

    response = api.post(service_path(service, "/tasks/work/commands"), fan_out("pause_task"), {"environment": "dev"})

    assert (response.status_code, response.json()) == (
        404,
        {"detail": f"task work was not found for service {service.name}/dev"},
    )


def test_unknown_target_spoils_the_whole_request(api, session):
    other = SessionFactory().instance
    body = fan_out(target_mode="selected_instances", target_instance_ids=[str(session.instance_id), str(other.pk)])

    response = api.post(service_path(session.instance.service, "/commands"), body, {"environment": "dev"})

    assert (response.status_code, response.json()) == (
        404,
        {"detail": f"instance {other.pk} was not found for service {session.instance.service.name}/dev"},
    )
    assert not Command.objects.exists()


def test_service_command_reaches_all_that_are_online(api, session):
    service = session.instance.service
    poor = SessionFactory(instance=InstanceFactory(service=service, online=True), accepted_capabilities=[])
    lost = InstanceFactory(service=service, online=True)
    InstanceFactory(service=service, offline=True)
    SessionFactory()

    response = api.post(service_path(service, "/commands"), fan_out(), {"environment": "dev"})

    command = Command.objects.get()
    assert response.status_code == 200
    body = response.json()
    assert (command.source_surface, command.reason, command.instance_id) == (
        "service_detail_fanout",
        "why",
        session.instance_id,
    )
    assert body["counts"] == {"dispatched": 1, "queued": 0, "skipped": 1, "rejected": 1, "total": 3}
    assert body["dispatched"] == [
        {
            "instance_id": str(session.instance_id),
            "node_name": session.instance.node_name,
            "connectivity": "online",
            "session_id": f"sess_{session.pk.hex}",
            "command_id": f"cmd_{command.pk.hex}",
            "outcome": "dispatched",
            "reason_code": None,
            "reason_message": None,
        }
    ]
    assert [(target["instance_id"], target["reason_code"], target["command_id"]) for target in body["rejected"]] == [
        (str(poor.instance_id), "missing_capability", None)
    ]
    assert [(target["instance_id"], target["reason_code"], target["session_id"]) for target in body["skipped"]] == [
        (str(lost.pk), "no_active_session", None)
    ]
    assert (body["kind"], body["target_mode"], body["offline_behavior"]) == ("ping", "all_online", "skip")
    assert (body["noop_reason_code"], body["noop_reason_message"]) == (None, None)


def test_nothing_online_is_no_error(api):
    service = InstanceFactory(offline=True).service

    response = api.post(service_path(service, "/commands"), fan_out(), {"environment": "dev"})

    assert response.status_code == 200
    assert response.json() == {
        "kind": "ping",
        "target_mode": "all_online",
        "offline_behavior": "skip",
        "noop_reason_code": "no_online_instances",
        "noop_reason_message": "no instance of the service is online",
        "counts": {"dispatched": 0, "queued": 0, "skipped": 0, "rejected": 0, "total": 0},
        "dispatched": [],
        "queued": [],
        "skipped": [],
        "rejected": [],
    }


def test_selected_instances_keep_their_order_and_offline_ones_can_wait(api):
    service = ServiceFactory()
    sessions = [
        SessionFactory(instance=InstanceFactory(service=service, offline=True), status=Session.Status.DISCONNECTED)
        for _ in range(3)
    ]
    wanted = [str(session.instance_id) for session in (sessions[2], sessions[0])]
    body = fan_out(target_mode="selected_instances", target_instance_ids=wanted, offline_behavior="queue")

    response = api.post(service_path(service, "/commands"), body, {"environment": "dev"})

    assert [target["instance_id"] for target in response.json()["queued"]] == wanted
    assert Command.objects.filter(delivery_mode="queue_until_reconnect").count() == 2


def test_task_command_carries_the_task_of_the_path(api, session):
    name = "a/b c 名%2F"
    TaskFactory(service=session.instance.service, name="plain")
    TaskControlsFactory(instance=session.instance, controls=[task_control("plain"), task_control(name)])
    path = service_path(session.instance.service, "/tasks/plain/commands")

    response = api.post(path, fan_out("restart_task", args={"x": 1}), {"environment": "dev"})

    command = Command.objects.get()
    assert response.json()["counts"]["dispatched"] == 1
    assert (command.args, command.task_name, command.source_surface) == (
        {"x": 1, "task_name": "plain"},
        "plain",
        "task_detail",
    )


@pytest.mark.parametrize(
    ("controls", "reason_code"),
    [([], "task_state_unknown"), ([task_control("work", supported_commands=[])], "task_command_unsupported")],
)
def test_task_command_is_rejected_where_the_task_does_not_support_it(api, session, controls, reason_code):
    TaskControlsFactory(instance=session.instance, controls=controls)
    path = service_path(session.instance.service, "/tasks/work/commands")

    response = api.post(path, fan_out("pause_task"), {"environment": "dev"})

    assert [target["reason_code"] for target in response.json()["rejected"]] == [reason_code]
    assert not Command.objects.exists()


@pytest.mark.parametrize("of", ["instance", "service"])
def test_sent_commands_are_history_and_counted_so_far_beyond_the_page(api, session, monkeypatch, of):
    monkeypatch.setattr(paging, "COUNTED_BEYOND_PAGE", 2)
    CommandFactory.create_batch(5, instance=session.instance)
    path = path_of(session.instance) if of == "instance" else service_path(session.instance.service, "/commands")

    pages = [api.get(path, {"environment": "dev", "limit": 1, "offset": offset}).json() for offset in (0, 2, 4, 9)]

    assert [(page["total"], len(page["items"])) for page in pages] == [(3, 1), (5, 1), (5, 1), (5, 0)]


@pytest.mark.parametrize("count", [1, 3])
def test_fan_out_costs_the_same_for_many(api, django_assert_num_queries, count):
    service = ServiceFactory()
    for _ in range(count):
        SessionFactory(instance=InstanceFactory(service=service, online=True))
    api.get("services")

    with django_assert_num_queries(11):
        response = api.post(service_path(service, "/commands"), fan_out(), {"environment": "dev"})

    assert response.json()["counts"]["dispatched"] == count
