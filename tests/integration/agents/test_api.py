"""Instances, sessions, commands and events of every dialect, as the API shows them."""

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from agents.models import Command, Event
from agents.models.event import EventKind
from agents.models.instance import Dialect
from tests.factories import (
    CommandFactory,
    EventFactory,
    InstanceFactory,
    ServiceFactory,
    SessionFactory,
    TaskFactory,
)
from tests.integration.api_client import api_as, service_path

pytestmark = pytest.mark.django_db
DEV = {"environment": "dev"}
SOME_ID = uuid.UUID("7f0c6a52-7b1e-4a0e-9d53-0d5b5a4f1c11")
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def api():
    return api_as("viewer")


# Events.


def test_event(api):
    event = EventFactory(
        kind=EventKind.TASK_FAILED,
        level="error",
        occurred_at=AT,
        received_at=AT + timedelta(microseconds=5),
        task_name="pay",
        attempts=0,
        duration_ms=12,
        failure_kind="error",
        exception_type="ValueError",
        message="boom",
        traceback="Traceback ...",
        meta={"scheduled_at": "2026-01-02T03:04:00+00:00"},
    )
    TaskFactory(service=event.service, name="pay", source_name="every minute")

    body = api.get(service_path(event.service, "/events"), DEV).json()

    summary = {
        "event_id": event.event_id,
        "instance_id": str(event.instance_id),
        "task_name": "pay",
        "kind": "failed",
        "occurred_at": "2026-01-02T03:04:05+00:00",
        "attempts": 0,
        "duration_ms": 12,
        "failure_kind": "error",
        "exception_type": "ValueError",
        "message": "boom",
        "traceback": "Traceback ...",
        "meta": {"scheduled_at": "2026-01-02T03:04:00+00:00"},
        "source_label": "every minute",
        "received_at": "2026-01-02T03:04:05.000005+00:00",
        "created_at": "2026-01-02T03:04:05.000005+00:00",
        "level": "error",
    }
    assert body == {"total": 1, "limit": 50, "offset": 0, "items": [summary]}
    assert api.get("events").json()["items"] == [summary | {"service_name": event.service.name, "environment": "dev"}]


def test_event_that_says_little(api):
    EventFactory(meta={"source": "queue"})

    (item,) = api.get("events").json()["items"]

    empty = ("attempts", "duration_ms", "failure_kind", "exception_type", "message", "traceback")
    assert [item[name] for name in empty] == [None] * len(empty)
    assert item["source_label"] == "queue"


def test_only_task_events_are_shown(api):
    instance = InstanceFactory()
    for kind in EventKind:
        EventFactory(instance=instance, kind=kind)

    fleet = api.get("events").json()
    service = api.get(service_path(instance.service, "/events"), DEV).json()

    kinds = {"started", "succeeded", "retried", "failed", "dead_lettered", "cancelled"}
    assert {item["kind"] for item in fleet["items"]} == kinds
    assert (fleet["total"], service["total"]) == (6, 6)


def test_events_are_ordered_and_narrowed(api):
    dev, prod = ServiceFactory(name="a"), ServiceFactory(name="a", environment="prod")
    one, two = InstanceFactory.create_batch(2, service=dev)
    elsewhere = InstanceFactory(service=prod)
    for event_id, instance, kind, task_name, seconds in [
        ("e2", one, EventKind.TASK_STARTED, "x", 0),
        ("e1", one, EventKind.TASK_FAILED, "x", 0),
        ("e3", two, EventKind.TASK_FAILED, "y", 1),
        ("e4", elsewhere, EventKind.TASK_FAILED, "y", 2),
    ]:
        EventFactory(
            event_id=event_id,
            instance=instance,
            kind=kind,
            task_name=task_name,
            occurred_at=AT + timedelta(seconds=seconds),
        )

    def of_service(**query):
        return [item["event_id"] for item in api.get("services/a/events", {**DEV, **query}).json()["items"]]

    def of_all(**query):
        return [item["event_id"] for item in api.get("events", query).json()["items"]]

    assert of_service() == ["e3", "e1", "e2"]
    assert of_service(task_name="x") == ["e1", "e2"]
    assert of_service(kind="failed") == ["e3", "e1"]
    assert of_service(instance_id=str(two.pk)) == ["e3"]
    assert of_service(occurred_after=(AT + timedelta(seconds=1)).isoformat()) == ["e3"]
    assert of_service(occurred_before=AT.isoformat()) == ["e1", "e2"]
    assert of_service(limit=1, offset=1) == ["e1"]
    assert of_all() == ["e4", "e3", "e1", "e2"]
    assert of_all(environment="prod") == ["e4"]
    assert of_all(service_name="a", kind="started") == ["e2"]
    assert of_all(service_name="b") == []


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05+00:00",
        "2026-01-02T03:04:05 00:00",
        "2026-01-02T11:04:05+08:00",
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05",
        str(AT.timestamp()),
        str(int(AT.timestamp())),
    ],
)
def test_times_are_read_in_every_usual_spelling(api, written):
    EventFactory(event_id="before", occurred_at=AT - timedelta(seconds=1))
    EventFactory(event_id="at", occurred_at=AT)

    body = api.get("events", {"occurred_after": written}).json()

    assert [item["event_id"] for item in body["items"]] == ["at"]


def test_times_are_written_in_the_zone_of_the_settings(api, settings):
    settings.TIME_ZONE = "Asia/Shanghai"
    EventFactory(occurred_at=AT)

    assert api.get("events").json()["items"][0]["occurred_at"] == "2026-01-02T11:04:05+08:00"


@pytest.mark.parametrize("count", [1, 3])
def test_event_list_costs_the_same_for_many(api, django_assert_num_queries, count):
    for _ in range(count):
        TaskFactory(service=EventFactory().service, name="sync")
    api.get("services")

    # Token, role, count, page with services, definitions.
    with django_assert_num_queries(3):
        body = api.get("events").json()

    assert len(body["items"]) == count


# Instances.


def test_instance_of_any_dialect(api):
    instance = InstanceFactory(
        dialect=Dialect.ARGUS, external_id="node-7", online=True, node_name="n", service__environment="shanghai"
    )

    body = api.get("instances").json()
    alone = api.get(f"instances/{instance.pk}").json()

    assert body["next_cursor"] is None
    assert set(alone) - set(body["items"][0]) == {"active_session", "labels"}
    assert alone.items() >= (body["items"][0] | {"active_session": None}).items()
    assert body["items"] == [
        {
            "id": str(instance.pk),
            "dialect": "argus",
            "external_id": "node-7",
            "service_name": instance.service.name,
            "environment": "shanghai",
            "node_name": "n",
            "hostname": None,
            "pid": None,
            "deployment_version": None,
            "agent_version": None,
            "python_version": None,
            "started_at": None,
            "connectivity": "online",
            "connectivity_changed_at": instance.connectivity_changed_at.isoformat(),
            "last_seen_at": instance.last_seen_at.isoformat(),
            "health": "ok",
            "health_changed_at": None,
            "uptime_s": None,
            "inflight_tasks": None,
            "conflict_seen_at": None,
            "last_sync_at": None,
            "last_topology_hash": None,
            "archived_at": None,
            "created_at": instance.created_at.isoformat(),
            "updated_at": instance.updated_at.isoformat(),
        }
    ]


def test_instance_shows_its_active_session(api):
    session = SessionFactory()
    SessionFactory(instance=session.instance, status="superseded")

    body = api.get(f"instances/{session.instance_id}").json()

    assert body["active_session"]["session_id"] == session.public_id


def test_instances_are_narrowed(api):
    web = InstanceFactory(
        service=ServiceFactory(name="web", environment="prod"), online=True, node_name="Alpha", hostname="h1"
    )
    job = InstanceFactory(
        service=ServiceFactory(name="job"), dialect=Dialect.JKSTACK, external_id="jk-9", node_name="beta"
    )

    def ids(**query):
        return {item["id"] for item in api.get("instances", query).json()["items"]}

    web_id, job_id = str(web.pk), str(job.pk)
    assert ids() == {web_id, job_id}
    assert ids(service="web") == {web_id}
    assert ids(service="we") == set()
    assert ids(environment="dev") == {job_id}
    assert ids(dialect="jkstack") == {job_id}
    assert ids(connectivity="online") == {web_id}
    assert ids(health="unknown") == {job_id}
    assert ids(q="ALPH") == {web_id}
    assert ids(q="h1") == {web_id}
    assert ids(q="jk-") == {job_id}
    assert ids(q="we") == {web_id}
    assert ids(q="nothing") == set()


@pytest.mark.parametrize(
    "query", [{"dialect": "x"}, {"connectivity": "x"}, {"health": "x"}, {"limit": 0}, {"limit": 201}]
)
def test_instance_query_is_checked(api, query):
    response = api.get("instances", query)

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", *query]


def test_query_of_too_many_parameters_is_refused(api, settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 3

    response = api.get("instances", {"q": ["a", "b", "c", "d"]})

    assert (response.status_code, response.json()) == (
        422,
        {
            "detail": [
                {"type": "too_long", "loc": ["query"], "msg": "Input should have at most 3 parameters", "input": None}
            ]
        },
    )


def test_unknown_instance(api):
    instance_id = uuid.uuid4()

    response = api.get(f"instances/{instance_id}")

    assert (response.status_code, response.json()) == (404, {"detail": f"instance {instance_id} was not found"})


# Cursors.


def all_pages(api, path, limit):
    ids, cursor = [], None
    while True:
        query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        body = api.get(path, query).json()
        assert len(body["items"]) <= limit
        ids += [item.get("command_id") or item.get("session_id") or item["id"] for item in body["items"]]
        cursor = body["next_cursor"]
        if cursor is None:
            return ids


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_hold_every_row_once_newest_first_even_at_one_moment(api, limit):
    moments = [AT, AT, AT, AT + timedelta(microseconds=1), AT + timedelta(days=1), AT, AT - timedelta(days=1)]
    commands = [CommandFactory(created_at=at) for at in moments]

    ids = all_pages(api, "commands", limit)

    expected = sorted(commands, key=lambda command: (command.created_at, command.pk), reverse=True)
    assert ids == [command.public_id for command in expected]


def test_row_that_comes_while_paging_is_not_shown_twice(api):
    for seconds in range(3):
        CommandFactory(created_at=AT + timedelta(seconds=seconds))
    first = api.get("commands", {"limit": 2}).json()

    CommandFactory(created_at=AT + timedelta(days=1))
    second = api.get("commands", {"limit": 2, "cursor": first["next_cursor"]}).json()

    assert len(second["items"]) == 1
    assert second["items"][0]["created_at"] == AT.isoformat()


def test_sessions_and_instances_are_paged_alike(api):
    sessions = [SessionFactory(connected_at=AT + timedelta(seconds=seconds)) for seconds in range(3)]

    assert all_pages(api, "sessions", 2) == [session.public_id for session in reversed(sessions)]
    assert sorted(all_pages(api, "instances", 2)) == sorted(str(session.instance_id) for session in sessions)


def forged(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "%%%",
        "名",
        "",
        "A" * 300,
        forged([]),
        forged({}),
        forged([1, 2]),
        forged(["yesterday", SOME_ID.hex]),
        forged(["2026-01-02T03:04:05+00:00", "x"]),
        forged(["2026-01-02T03:04:05+00:00", None]),
        forged(["2026-01-02T03:04:05+00:00"]),
    ],
)
@pytest.mark.parametrize("path", ["instances", "commands", "sessions"])
def test_cursor_that_no_answer_gave_is_refused(api, path, cursor):
    response = api.get(path, {"cursor": cursor})

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "cursor"]


@pytest.mark.parametrize("path", ["instances", "commands", "sessions"])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_cursor_beyond_the_calendar_is_refused(api, path, moment):
    assert api.get(path, {"cursor": forged([moment, SOME_ID.hex])}).status_code == 422


# Sessions.


def test_session(api):
    session = SessionFactory(
        connected_at=AT, status="superseded", superseded_at=AT, disconnected_at=AT, end_reason="superseded"
    )
    summary = {
        "session_id": f"sess_{session.pk.hex}",
        "instance_id": str(session.instance_id),
        "node_name": session.instance.node_name,
        "hostname": None,
        "status": "superseded",
        "protocol_version": "1",
        "capabilities": session.capabilities,
        "accepted_capabilities": session.accepted_capabilities,
        "connected_at": "2026-01-02T03:04:05+00:00",
        "last_hello_at": "2026-01-02T03:04:05+00:00",
        "last_message_at": "2026-01-02T03:04:05+00:00",
        "superseded_at": "2026-01-02T03:04:05+00:00",
        "disconnected_at": "2026-01-02T03:04:05+00:00",
        "created_at": session.created_at.isoformat(),
        "updated_at": session.updated_at.isoformat(),
    }

    service = session.instance.service
    assert api.get(service_path(service, "/sessions"), DEV).json()["items"] == [summary]
    assert api.get("sessions").json()["items"] == [
        summary | {"service_name": service.name, "environment": "dev", "end_reason": "superseded"}
    ]


def test_sessions_of_a_service_are_ordered_and_narrowed(api):
    service = ServiceFactory()
    one, two = InstanceFactory.create_batch(2, service=service)
    old = SessionFactory(instance=one, connected_at=AT, status="disconnected")
    new = SessionFactory(instance=one, connected_at=AT + timedelta(seconds=1))
    other = SessionFactory(instance=two, connected_at=AT + timedelta(seconds=2))
    SessionFactory()

    def ids(**query):
        body = api.get(service_path(service, "/sessions"), {**DEV, **query}).json()
        return [item["session_id"] for item in body["items"]]

    assert ids() == [other.public_id, new.public_id, old.public_id]
    assert ids(instance_id=str(one.pk)) == [new.public_id, old.public_id]
    assert ids(status="active") == [other.public_id, new.public_id]
    assert ids(limit=1, offset=2) == [old.public_id]


# Commands.


def test_command_after_its_life(api):
    session = SessionFactory()
    command = CommandFactory(
        instance=session.instance,
        session=session,
        kind="replay_dead_letters",
        args={"task_name": "pay", "limit": 3},
        task_name="pay",
        status=Command.Status.FAILED,
        ack_status="accepted",
        result={"completion": "partial"},
        duration_ms=1500,
        error_code="command_execution_failed",
        error_message="boom",
        reason="why",
        created_by_name="root",
        source_surface="task_detail",
        created_at=AT,
        dispatched_at=AT,
        acked_at=AT,
        finished_at=AT + timedelta(milliseconds=1500),
    )
    summary = {
        "command_id": f"cmd_{command.pk.hex}",
        "instance_id": str(session.instance_id),
        "node_name": session.instance.node_name,
        "session_id": f"sess_{session.pk.hex}",
        "created_by": "root",
        "reason": "why",
        "source_surface": "task_detail",
        "kind": "replay_dead_letters",
        "args": {"task_name": "pay", "limit": 3},
        "timeout_s": 10,
        "status": "failed",
        "ack_status": "accepted",
        "result": {"completion": "partial"},
        "duration_ms": 1500,
        "error_code": "command_execution_failed",
        "error_message": "boom",
        "created_at": "2026-01-02T03:04:05+00:00",
        "dispatched_at": "2026-01-02T03:04:05+00:00",
        "acked_at": "2026-01-02T03:04:05+00:00",
        "finished_at": "2026-01-02T03:04:06.500000+00:00",
        "updated_at": command.updated_at.isoformat(),
    }
    service = session.instance.service
    more = {
        "service_name": service.name,
        "environment": "dev",
        "task_name": "pay",
        "delivery_mode": "dispatch_now_only",
        "deadline_at": "2026-01-02T03:04:15+00:00",
    }

    assert api.get(f"commands/{command.public_id}").json() == summary | more
    assert api.get("commands").json() == {"items": [summary | more], "next_cursor": None}
    page = {"total": 1, "offset": 0, "items": [summary]}
    assert api.get(f"instances/{session.instance_id}/commands").json() == page | {"limit": 20}
    assert api.get(service_path(service, "/commands"), DEV).json() == page | {"limit": 50}


def test_commands_are_narrowed(api):
    prod = InstanceFactory(service=ServiceFactory(name="web", environment="prod"))
    one = CommandFactory(instance=prod, kind="drain", status="accepted", created_at=AT)
    two = CommandFactory(kind="pause_task", task_name="pay", created_at=AT + timedelta(seconds=1))

    def ids(path="commands", **query):
        return [item["command_id"] for item in api.get(path, query).json()["items"]]

    assert ids() == [two.public_id, one.public_id]
    assert ids(service="web") == [one.public_id]
    assert ids(environment="dev") == [two.public_id]
    assert ids(kind="drain") == [one.public_id]
    assert ids(status="pending") == [two.public_id]
    assert ids(task_name="pay") == [two.public_id]
    assert ids(instance_id=str(prod.pk)) == [one.public_id]
    assert ids("services/web/commands", environment="prod") == [one.public_id]
    assert ids("services/web/commands", environment="prod", kind="ping") == []
    assert ids("services/web/commands", environment="prod", status="accepted") == [one.public_id]
    assert ids("services/web/commands", environment="prod", instance_id=str(two.instance_id)) == []


@pytest.mark.parametrize(("limit", "status"), [("1", 200), ("100", 200), ("101", 422), ("0", 422)])
def test_commands_of_an_instance_come_in_smaller_pages(api, limit, status):
    assert api.get(f"instances/{InstanceFactory().pk}/commands", {"limit": limit}).status_code == status


def test_commands_of_an_unknown_instance(api):
    instance_id = uuid.uuid4()

    response = api.get(f"instances/{instance_id}/commands")

    assert (response.status_code, response.json()) == (404, {"detail": f"instance {instance_id} was not found"})


def test_unknown_command(api):
    command_id = f"cmd_{uuid.uuid4().hex}"

    response = api.get(f"commands/{command_id}")

    assert (response.status_code, response.json()) == (404, {"detail": f"command {command_id} was not found"})


@pytest.mark.parametrize("command_id", ["x", SOME_ID.hex, f"cmd_{SOME_ID}", f"cmd_{'g' * 32}", "cmd_%00"])
@pytest.mark.parametrize("rest", ["", "/cancel"])
def test_malformed_command_id_is_refused(command_id, rest):
    api = api_as("operator")

    response = api.post(f"commands/{command_id}{rest}") if rest else api.get(f"commands/{command_id}")

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["path", "command_id"]


@pytest.mark.parametrize("path", ["commands", "sessions", "instances"])
@pytest.mark.parametrize("count", [1, 3])
def test_collections_cost_the_same_for_many(api, django_assert_num_queries, path, count):
    for _ in range(count):
        session = SessionFactory()
        CommandFactory(instance=session.instance, session=session)
    api.get("services")

    # Token, role, page.
    with django_assert_num_queries(2):
        body = api.get(path).json()

    assert len(body["items"]) == count


@pytest.mark.parametrize("rest", ["/commands", "/sessions"])
@pytest.mark.parametrize("count", [1, 3])
def test_collections_of_a_service_cost_the_same_for_many(api, django_assert_num_queries, rest, count):
    service = ServiceFactory()
    for _ in range(count):
        session = SessionFactory(instance=InstanceFactory(service=service, online=True))
        CommandFactory(instance=session.instance, session=session)
    api.get("services")

    # Token, role, service, count, page.
    with django_assert_num_queries(3):
        body = api.get(service_path(service, rest), DEV).json()

    assert len(body["items"]) == count


# Cancelling.


def test_pending_command_is_cancelled():
    command = CommandFactory()
    before = timezone.now()

    response = api_as("operator").post(f"commands/{command.public_id}/cancel")

    body = response.json()
    assert (response.status_code, body["command_id"], body["status"]) == (200, command.public_id, "cancelled")
    assert before <= datetime.fromisoformat(body["finished_at"])
    assert Event.objects.filter(kind=EventKind.COMMAND_CANCELLED, command_id=command.pk).count() == 1


@pytest.mark.parametrize("status", [status for status in Command.Status if status != Command.Status.PENDING])
def test_command_that_is_under_way_is_not_cancelled(status):
    command = CommandFactory(status=status)

    response = api_as("operator").post(f"commands/{command.public_id}/cancel")

    command.refresh_from_db()
    assert (response.status_code, command.status) == (409, status)
    assert not Event.objects.exists()


def test_unknown_command_is_not_cancelled():
    command_id = f"cmd_{uuid.uuid4().hex}"

    response = api_as("operator").post(f"commands/{command_id}/cancel")

    assert (response.status_code, response.json()) == (404, {"detail": f"command {command_id} was not found"})
