"""The history: events of every kind, narrowed and searched."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from agents.models import Event
from agents.models.event import EventKind
from agents.selectors import history as selector
from tests.factories import EventFactory, InstanceFactory, ServiceFactory
from tests.integration.api_client import api_as

pytestmark = pytest.mark.django_db
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def api():
    return api_as("viewer")


def found(api, **query):
    """The ids of all events on the first page, newest first."""
    response = api.get("history", query)
    assert response.status_code == 200, response.json()
    return [item["event_id"] for item in response.json()["items"]]


def test_event_of_any_kind(api):
    command_id = uuid.uuid4()
    event = EventFactory(
        kind=EventKind.COMMAND_FAILED,
        level="error",
        occurred_at=AT,
        command_id=command_id,
        task_name="pay",
        actor="root",
        message="boom",
        attempts=2,
        duration_ms=7,
        failure_kind="error",
        exception_type="ValueError",
        traceback="Traceback ...",
        meta={"a": 1},
    )
    expected = {
        "id": event.pk,
        "event_id": event.event_id,
        "kind": "command.failed",
        "level": "error",
        "occurred_at": "2026-01-02T03:04:05+00:00",
        "received_at": "2026-01-02T03:04:05+00:00",
        "service_name": event.service.name,
        "environment": "dev",
        "instance_id": str(event.instance_id),
        "command_id": f"cmd_{command_id.hex}",
        "subject": None,
        "task_name": "pay",
        "actor": "root",
        "message": "boom",
        "attempts": 2,
        "duration_ms": 7,
        "failure_kind": "error",
        "exception_type": "ValueError",
        "traceback": "Traceback ...",
        "meta": {"a": 1},
    }

    assert api.get("history").json() == {"items": [expected], "next_cursor": None}
    assert api.get(f"history/{event.pk}").json() == expected


def test_event_whose_service_is_gone(api):
    event = EventFactory(kind="instance.offline")
    Event.objects.filter(pk=event.pk).update(service=event.service_id + 1_000_000)
    EventFactory(event_id="of none", instance=None, service=None, kind="token.created")

    items = api.get("history").json()["items"]

    assert [(item["service_name"], item["environment"]) for item in items] == [(None, None), (None, None)]


def test_events_are_narrowed(api):
    web, job = ServiceFactory(name="web", environment="prod"), ServiceFactory(name="job")
    one, two = InstanceFactory(service=web), InstanceFactory(service=job)
    command_id = uuid.uuid4()
    for event_id, instance, kind, fields in [
        ("started", one, "task.started", {"task_name": "pay"}),
        ("failed", one, "task.failed", {"task_name": "pay", "level": "error"}),
        ("offline", two, "instance.offline", {"level": "warn"}),
        ("queued", two, "command.queued", {"command_id": command_id, "actor": "root", "subject": "agents.service:1"}),
    ]:
        seconds = Event.objects.count()
        EventFactory(
            event_id=event_id, instance=instance, kind=kind, occurred_at=AT + timedelta(seconds=seconds), **fields
        )

    assert found(api) == ["queued", "offline", "failed", "started"]
    assert found(api, ordering="occurred_at") == ["started", "failed", "offline", "queued"]
    assert found(api, kind="task.failed") == ["failed"]
    assert found(api, kind="task.*") == ["failed", "started"]
    assert found(api, kind="task.failed,command.*") == ["queued", "failed"]
    assert found(api, level="error,warn") == ["offline", "failed"]
    assert found(api, service="web") == ["failed", "started"]
    assert found(api, service="web", environment="dev") == []
    assert found(api, environment="dev") == ["queued", "offline"]
    assert found(api, instance_id=str(two.pk)) == ["queued", "offline"]
    assert found(api, command_id=f"cmd_{command_id.hex}") == ["queued"]
    assert found(api, task_name="pay") == ["failed", "started"]
    assert found(api, actor="root") == ["queued"]
    assert found(api, subject="agents.service:1") == ["queued"]
    assert found(api, occurred_after=(AT + timedelta(seconds=2)).isoformat()) == ["queued", "offline"]
    assert found(api, occurred_before=AT.isoformat()) == ["started"]
    assert found(api, notable="true") == ["queued", "offline", "failed"]
    assert found(api, notable="false") == ["started"]


def test_service_of_several_environments_is_found_in_all(api):
    for environment in ("dev", "prod"):
        EventFactory(event_id=environment, service=ServiceFactory(name="web", environment=environment))

    assert set(found(api, service="web")) == {"dev", "prod"}


def test_search_is_joined_with_filters_and_cursors(api):
    for number in range(4):
        EventFactory(
            event_id=f"e{number}",
            kind="task.failed",
            message="支付失败: connection refused",
            occurred_at=AT + timedelta(seconds=number),
        )
    EventFactory(kind="task.failed", message="something else")

    first = api.get("history", {"q": "支付失败", "limit": 2}).json()
    second = api.get("history", {"q": "支付失败", "limit": 2, "cursor": first["next_cursor"]}).json()

    assert [item["event_id"] for item in first["items"] + second["items"]] == ["e3", "e2", "e1", "e0"]
    assert second["next_cursor"] is None
    assert found(api, q='"connection refused"', occurred_before=AT.isoformat()) == ["e0"]
    assert found(api, q="connection -refused") == []
    assert found(api, q="refused", notable="false") == []


def test_search_is_bounded_where_there_is_no_index(api, monkeypatch):
    monkeypatch.setattr(selector, "READ_MAX_ROWS", 2)
    for number in range(3):
        EventFactory(event_id=f"e{number}", kind="task.failed", message="x", occurred_at=AT + timedelta(seconds=number))

    assert found(api, q="x") == (["e2", "e1", "e0"] if connection.vendor == "postgresql" else ["e2", "e1"])


@pytest.mark.needs_postgres
def test_search_that_takes_too_long_is_refused(api, monkeypatch):
    monkeypatch.setattr("agents.api.history.SEARCH_TIMEOUT_MS", 1)
    EventFactory.create_batch(20, kind="task.failed", message="x" * 2000, traceback="y" * 1000)
    columns = (
        "level, occurred_at, received_at, task_name, actor, message, failure_kind, exception_type, traceback, meta"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO agents_event (event_id, kind, {columns}) "
            f"SELECT event_id || n, kind, {columns} FROM agents_event, generate_series(1, 100) n"
        )

    response = api.get("history", {"q": '"x y" or "y x"'})

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "q"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "task"),
        ("kind", "nothing.*"),
        ("kind", ""),
        ("kind", "task.failed,"),
        ("level", "fatal"),
        ("service", ""),
        ("service", "x" * 256),
        ("service", "a\0b"),
        ("instance_id", "x"),
        ("command_id", "x"),
        ("occurred_after", "yesterday"),
        ("occurred_before", "99999-01-01"),
        ("notable", "yes"),
        ("q", ""),
        ("q", "-x"),
        ("q", "!"),
        ("q", "x" * 201),
        ("q", "x\0"),
        ("q", "支" * 100),
        ("ordering", "message"),
        ("fields", "nothing"),
        ("fields", ""),
        ("format", "xml"),
        ("limit", "0"),
        ("cursor", "x"),
    ],
)
def test_query_is_checked(api, name, value):
    response = api.get("history", {name: value})

    assert response.status_code == 422
    assert [problem["loc"] for problem in response.json()["detail"]] == [["query", name]]


@pytest.mark.parametrize("event_id", ["0", "-1", "x", "1" * 19, "1.0", "%00"])
def test_malformed_number_is_refused(api, event_id):
    response = api.get(f"history/{event_id}")

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["path", "event_id"]


@pytest.mark.parametrize("event_id", [1, 10**17])
def test_unknown_event(api, event_id):
    response = api.get(f"history/{event_id}")

    assert (response.status_code, response.json()) == (404, {"detail": f"event {event_id} was not found"})


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("query", [{}, {"q": "boom"}, {"kind": "task.*", "fields": "id,message"}])
def test_history_costs_the_same_for_many(api, django_assert_num_queries, count, query):
    for _ in range(count):
        EventFactory(kind="task.failed", message="boom")
    api.get("services")

    # Token and role, page; on PostgreSQL a search is in a savepoint, has a limit and asks first how much there is.
    searching = 4 if "q" in query and connection.vendor == "postgresql" else 0
    with django_assert_num_queries(2 + searching):
        body = api.get("history", query).json()

    assert len(body["items"]) == count


@pytest.mark.parametrize(
    ("fields", "spared"), [("id", ["traceback", "meta"]), ("meta", ["traceback"]), ("traceback,id", ["meta"])]
)
@pytest.mark.parametrize("path", ["history", "history/{}"])
def test_columns_that_are_not_asked_for_are_not_read(api, django_assert_num_queries, fields, spared, path):
    event = EventFactory(kind="task.failed", traceback="x", meta={"a": 1})
    api.get("services")

    with django_assert_num_queries(2) as queries:
        body = api.get(path.format(event.pk), {"fields": fields}).json()

    statement = queries.captured_queries[-1]["sql"]
    assert [name for name in ("traceback", "meta") if f'"{name}"' not in statement] == spared
    assert set(body.get("items", [body])[0]) == set(fields.split(","))


def test_history_of_few_environments_is_asked_for_by_the_services_in_them(django_assert_num_queries):
    api = api_as("viewer", environments=["prod"])
    EventFactory(event_id="other")
    EventFactory(event_id="own", instance=InstanceFactory(service__environment="prod"))
    api.get("services")

    with django_assert_num_queries(3) as queries:
        assert found(api) == ["own"]

    # By a join PostgreSQL would read everybody's events until it has a page of these.
    _joined, condition = queries[-1]["sql"].split("WHERE")
    assert '"environment"' not in condition


@pytest.mark.parametrize(
    ("role", "told"), [("viewer", ["object.created"]), ("admin", ["object.changed", "object.created"])]
)
def test_what_was_done_to_people_is_told_to_administrators_alone(role, told):
    somebody = api_as(role)
    EventFactory(kind="object.created", subject="agents.agenttoken:1", actor="root", occurred_at=AT)
    EventFactory(kind="object.changed", subject="auth.user:3", actor="root", occurred_at=AT + timedelta(seconds=1))

    answers = {
        name: [item["kind"] for item in somebody.get("history", query).json()["items"]]
        for name, query in {"all": {}, "actor": {"actor": "root"}, "q": {"q": "root"}}.items()
    }

    assert answers == {"all": told, "actor": told, "q": told}


@pytest.mark.parametrize(("role", "status"), [("viewer", 404), ("operator", 404), ("admin", 200)])
def test_event_that_is_not_told_does_not_exist(role, status):
    event = EventFactory(kind="login.succeeded", subject="auth.user:3", actor="root")

    assert api_as(role).get(f"history/{event.pk}").status_code == status
