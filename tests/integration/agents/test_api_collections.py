"""What the product's own collections share: ordering, cursors, sparse fields, lists by comma, ETags."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from agents.models import Instance
from tests.factories import AgentTokenFactory, CommandFactory, EventFactory, InstanceFactory, SessionFactory
from tests.integration.api_client import api_as

pytestmark = pytest.mark.django_db
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COLLECTIONS = ["instances", "sessions", "commands", "history", "tokens", "agent-tokens"]


@pytest.fixture
def api():
    return api_as("admin")


@pytest.fixture
def stock():
    """One of everything."""
    session = SessionFactory()
    CommandFactory(instance=session.instance, session=session, args={"a": 1}, result={"b": 2})
    EventFactory(instance=session.instance)
    AgentTokenFactory()


def pages(api, path, **query):
    """All items, page by page."""
    items, cursor = [], None
    while True:
        body = api.get(path, query | ({"cursor": cursor} if cursor else {})).json()
        items += body["items"]
        cursor = body["next_cursor"]
        if cursor is None:
            return items


# Ordering and cursors.


@pytest.mark.parametrize("limit", [1, 2, 5, 200])
@pytest.mark.parametrize("ordering", ["node_name", "-node_name", "created_at", "-created_at"])
def test_every_ordering_meets_every_row_once(api, ordering, limit):
    names = ["b", "a", "b", "账单", "", "Ä", "b", 'q"\\', "a" * 255]
    for place, name in enumerate(names):
        instance = InstanceFactory(node_name=name)
        Instance.objects.filter(pk=instance.pk).update(created_at=AT + timedelta(seconds=place % 3))
    expected = Instance.objects.order_by(ordering, "-id" if ordering.startswith("-") else "id")

    items = pages(api, "instances", ordering=ordering, limit=limit)

    assert [item["id"] for item in items] == [str(instance.pk) for instance in expected]


@pytest.mark.parametrize("path", COLLECTIONS)
def test_ordering_that_is_not_offered_is_refused(api, path):
    response = api.get(path, {"ordering": "updated_at"})

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "ordering"]


@pytest.mark.parametrize(
    "changed", [{"ordering": "node_name"}, {"ordering": "created_at"}, {"dialect": "onestep"}, {"q": ""}]
)
def test_cursor_is_good_for_its_filters_and_ordering_only(api, changed):
    InstanceFactory.create_batch(2)
    cursor = api.get("instances", {"limit": 1}).json()["next_cursor"]

    response = api.get("instances", {"limit": 1, "cursor": cursor, **changed})

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "cursor"]


def test_cursor_is_good_for_another_limit_and_other_fields(api):
    InstanceFactory.create_batch(3)
    cursor = api.get("instances", {"limit": 1, "ordering": "-created_at"}).json()["next_cursor"]

    body = api.get("instances", {"limit": 2, "cursor": cursor, "fields": "id"}).json()

    assert [list(item) for item in body["items"]] == [["id"], ["id"]]


def test_cursor_of_another_collection_is_refused(api):
    CommandFactory.create_batch(2)
    cursor = api.get("commands", {"limit": 1}).json()["next_cursor"]

    assert api.get("sessions", {"cursor": cursor}).status_code == 422


@pytest.mark.parametrize("value", [None, 1.5, "x", "\0", [], {}, "\ud800", 10**30, True, "9999-12-31T23:59:59-12:00"])
@pytest.mark.parametrize("path", COLLECTIONS)
@pytest.mark.parametrize("place", [1, 2])
def test_cursor_with_other_values_is_refused(api, stock, path, value, place):
    api.get(path)
    document = [_mark(api, path), "2026-01-02T03:04:05+00:00", "7f0c6a527b1e4a0e9d530d5b5a4f1c11"]
    document[place] = value

    response = api.get(path, {"cursor": base64.urlsafe_b64encode(json.dumps(document).encode()).decode()})

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "cursor"]


def _mark(api, path):
    """What the cursors of this collection begin with, at default parameters."""
    from agents.api.history import HISTORY
    from agents.api.tokens import AGENT_TOKENS
    from agents.api.views import COMMANDS, INSTANCES, SESSIONS
    from controlplane.access.api.tokens import API_TOKENS
    from controlplane.common.rest.cursors import Asked

    all_of_them = (HISTORY, AGENT_TOKENS, COMMANDS, INSTANCES, SESSIONS, API_TOKENS)
    (collection,) = (each for each in all_of_them if each.name == path)
    return Asked(collection.default, {}).mark


# Sparse fields.


@pytest.mark.parametrize("path", COLLECTIONS)
def test_fields_are_given_in_their_own_order_and_no_others(api, stock, path):
    whole = api.get(path).json()["items"][0]
    wanted = list(whole)[:3:2]

    body = api.get(path, {"fields": ",".join(reversed(wanted))}).json()

    assert list(body["items"][0].items()) == [(name, whole[name]) for name in wanted]


@pytest.mark.parametrize("path", COLLECTIONS)
@pytest.mark.parametrize("fields", ["nothing", "id,nothing", "", ",", "id,,name", "x" * 3000, "id\0"])
def test_unknown_fields_are_refused(api, path, fields):
    response = api.get(path, {"fields": fields})

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "fields"]


def test_details_are_sparse_too(api):
    session = SessionFactory()
    command = CommandFactory(args={"a": 1})

    instance = api.get(f"instances/{session.instance_id}", {"fields": "id,active_session"}).json()

    assert list(instance) == ["id", "active_session"]
    assert api.get(f"commands/{command.public_id}", {"fields": "args"}).json() == {"args": {"a": 1}}
    assert api.get(f"commands/{command.public_id}", {"fields": "x"}).status_code == 422


@pytest.mark.parametrize(
    ("path", "columns"),
    [("commands", ["args", "result", "error_message"]), ("sessions", ["capabilities", "accepted_capabilities"])],
)
def test_wide_columns_that_are_not_asked_for_are_not_read(api, stock, django_assert_num_queries, path, columns):
    api.get("services")

    with django_assert_num_queries(2) as queries:
        api.get(path, {"fields": "instance_id"})

    assert [column for column in columns if f'"{column}"' in queries.captured_queries[-1]["sql"]] == []


# Lists by comma.


def test_several_values_are_joined_by_commas(api):
    for status in ("pending", "failed", "succeeded"):
        CommandFactory(status=status)

    items = api.get("commands", {"status": "failed, pending,failed"}).json()["items"]

    assert {item["status"] for item in items} == {"failed", "pending"}


@pytest.mark.parametrize("status", ["nothing", "failed,nothing", "failed,", ",", ""])
def test_one_wrong_value_among_several_is_told(api, status):
    response = api.get("commands", {"status": status})

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "status"]


def test_last_of_a_repeated_key_counts(api):
    CommandFactory(status="failed")

    body = api.client.get("/api/v1/commands?status=pending&status=failed", headers=api.headers).json()

    assert len(body["items"]) == 1


# ETags.


@pytest.mark.parametrize("path", COLLECTIONS)
def test_what_the_client_has_already_is_not_sent_again(api, stock, path):
    # One's own token would show another last use.
    query = {"fields": "id"} if path.endswith("tokens") else {}
    first = api.get(path, query)

    again = api.client.get(
        f"/api/v1/{path}", query, headers={**api.headers, "If-None-Match": f'"other", {first["ETag"]}'}
    )

    assert (again.status_code, again.content) == (304, b"")
    assert (again["ETag"], again["Cache-Control"]) == (first["ETag"], "private, no-cache")


def test_etag_is_strong_and_follows_the_body(api):
    command = CommandFactory()
    path = f"commands/{command.public_id}"
    before = api.get(path)

    command.status = "failed"
    command.save(update_fields=["status"])
    after = api.client.get(f"/api/v1/{path}", headers={**api.headers, "If-None-Match": before["ETag"]})

    assert before["ETag"].startswith('"')
    assert (after.status_code, after.json()["status"]) == (200, "failed")
    assert after["ETag"] != before["ETag"]


def test_errors_have_no_etag(api):
    response = api.get("commands", {"status": "x"})

    assert "ETag" not in response
    assert response["Cache-Control"] == "no-store"


def test_lists_of_the_contract_have_no_etag(api):
    assert "ETag" not in api.get("services")
