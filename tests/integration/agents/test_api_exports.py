"""Whole lists as files, streamed through the real ASGI application."""

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.db import database_sync_to_async
from django.db import OperationalError, connections
from django.utils import timezone

from agents.models import Event
from controlplane.access.models import ApiToken
from controlplane.asgi import application
from controlplane.common.rest import collections, exports, lists, streaming
from tests.factories import (
    AgentTokenFactory,
    AlertFactory,
    CommandFactory,
    DeliveryFactory,
    EventFactory,
    FanOutFactory,
    GroupFactory,
    InstanceLabelsFactory,
    MetricWindowFactory,
    SessionFactory,
    SilenceFactory,
    TaskFactory,
)
from tests.integration.api_client import api_as

pytestmark = pytest.mark.django_db(transaction=True)
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COUNT = 5


class Call:
    """One GET, read to its end or as far as one wants."""

    def __init__(self, path, headers, query="", method="GET", accept=None):
        given = {"Host": "localhost", **headers} | ({"Accept": accept} if accept else {})
        self.communicator = ApplicationCommunicator(
            application,
            {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "method": method,
                "scheme": "http",
                "path": f"/api/v1/{path}",
                "raw_path": f"/api/v1/{path}".encode(),
                "root_path": "",
                "query_string": query.encode(),
                "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
                "client": ("127.0.0.1", 1),
                "server": ("127.0.0.1", 80),
            },
        )
        self.body = b""

    async def start(self):
        await self.communicator.send_input({"type": "http.request", "body": b""})
        message = await self.communicator.receive_output(timeout=20)
        self.status = message["status"]
        self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        return self

    async def read(self):
        """The next part; False where it was the last."""
        message = await self.communicator.receive_output(timeout=20)
        self.body += message.get("body", b"")
        return message.get("more_body", False)

    async def rest(self):
        while await self.read():
            pass
        await self.communicator.wait(timeout=20)
        return self

    async def whole(self):
        await self.start()
        return await self.rest()

    async def leave(self):
        await self.communicator.send_input({"type": "http.disconnect"})
        await self.communicator.wait(timeout=20)

    @property
    def records(self):
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def table(self):
        return list(csv.DictReader(io.StringIO(self.body.decode("utf-8-sig"), newline="")))


@pytest.fixture
def small_batches(monkeypatch):
    """Files of several batches, whose ends fall anywhere."""
    for module in (collections, lists):
        monkeypatch.setattr(module, "BATCH_ROWS", 2)
    monkeypatch.setattr("tasks_app.api.views.BATCH_ROWS", 2)


def stock():
    """Several of everything of one service, many at one moment; returns the headers of an admin."""
    session = SessionFactory(instance__service__name="web")
    instance = session.instance
    for number in range(COUNT):
        at = AT + timedelta(seconds=number // 3)
        EventFactory(event_id=f"e{number}", instance=instance, kind="task.failed", message="x", occurred_at=at)
        CommandFactory(instance=instance, created_at=at)
        MetricWindowFactory(instance=instance, window_id=f"w{number}", window_ended_at=at)
        TaskFactory(service=instance.service, name=f"task {number}")
        AgentTokenFactory()
        GroupFactory(name=f"group {number}")
        FanOutFactory(created_at=at)
        AlertFactory(opened_at=at)
        DeliveryFactory(created_at=at)
        SilenceFactory(starts_at=at)
    for number in range(COUNT - 1):
        SessionFactory(
            instance__service=instance.service, connected_at=AT + timedelta(seconds=number // 2), status="disconnected"
        )
        SessionFactory(instance__service__name=f"service {number}")
    return {"Authorization": api_as("admin").headers["Authorization"]}


async def stocked():
    return await database_sync_to_async(stock)()


S = "services/web"
CONTRACT = [f"{S}/tasks", f"{S}/instances", f"{S}/metric-windows", f"{S}/events", f"{S}/commands", f"{S}/sessions"]
LISTS = [
    "services",
    "events",
    *CONTRACT,
    "instances",
    "sessions",
    "commands",
    "history",
    "agent-tokens",
    "groups",
    "fan-outs",
    "rules",
    "alerts",
    "deliveries",
    "silences",
]
FORMATS = ["csv", "ndjson"]


@pytest.mark.parametrize("path", LISTS)
async def test_files_hold_what_the_pages_hold(small_batches, path):
    headers = await stocked()
    query = "environment=dev" if path in CONTRACT else ""
    page = json.loads((await Call(path, headers, query).whole()).body)["items"]

    ndjson = await Call(path, headers, f"{query}&format=ndjson&limit=1&offset=1").whole()
    table = await Call(path, headers, f"{query}&format=csv").whole()

    assert len(page) >= COUNT
    assert sorted(map(json.dumps, ndjson.records)) == sorted(map(json.dumps, page))
    assert ndjson.headers["content-type"] == "application/x-ndjson; charset=utf-8"
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert [list(row) for row in table.table] == [list(page[0])] * len(page)
    assert table.headers["content-disposition"].startswith('attachment; filename="')


async def test_commands_of_an_instance_are_given_as_a_file():
    def arrange():
        return CommandFactory().instance_id, {"Authorization": api_as("viewer").headers["Authorization"]}

    instance_id, headers = await database_sync_to_async(arrange)()

    call = await Call(f"instances/{instance_id}/commands", headers, "format=ndjson").whole()

    assert len(call.records) == 1


async def test_files_hold_fields_that_lists_have_on_demand():
    headers = await stocked()

    call = await Call("groups", headers, "fields=name,instance_count&format=csv").whole()

    assert call.table[0] == {"name": "group 0", "instance_count": "0"}


@pytest.mark.parametrize("path", ["instances", "sessions", "commands", "history"])
async def test_files_are_narrowed_by_selector_and_group(path):
    def arrange():
        headers = stock()
        instance = SessionFactory().instance
        InstanceLabelsFactory(instance=instance, labels={"env": "prod"})
        CommandFactory(instance=instance)
        EventFactory(instance=instance)
        GroupFactory(name="all", selector="portal/dialect=onestep")
        return headers

    headers = await database_sync_to_async(arrange)()

    assert len((await Call(path, headers, "selector=env%3Dprod&group=all&format=ndjson").whole()).records) == 1


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/csv", "text/csv; charset=utf-8"),
        ("application/x-ndjson", "application/x-ndjson; charset=utf-8"),
        ("text/csv;q=0.1, application/json", "application/json"),
        ("*/*", "application/json"),
        ("text/html, */*;q=0.8", "application/json"),
        ("nonsense", "application/json"),
    ],
)
@pytest.mark.parametrize("path", ["commands", "services"])
async def test_accept_chooses_as_well(path, accept, media_type):
    headers = await stocked()

    assert (await Call(path, headers, accept=accept).whole()).headers["content-type"] == media_type


async def test_format_counts_before_accept():
    headers = await stocked()

    call = await Call("commands", headers, "format=json", accept="text/csv").whole()

    assert call.headers["content-type"] == "application/json"


async def test_filters_ordering_and_fields_hold_for_files(small_batches):
    headers = await stocked()
    query = "q=x&fields=event_id&ordering=occurred_at&format="

    records = (await Call("history", headers, f"{query}ndjson").whole()).records
    table = (await Call("history", headers, f"{query}csv").whole()).table

    assert records == [{"event_id": f"e{number}"} for number in range(COUNT)]
    assert table == records


@pytest.mark.parametrize(("role", "told"), [("viewer", []), ("admin", ["login.succeeded"])])
async def test_history_file_holds_what_may_be_told(role, told):
    def stocked_as():
        EventFactory(kind="login.succeeded", subject="auth.user:3", actor="root")
        return {"Authorization": api_as(role).headers["Authorization"]}

    headers = await database_sync_to_async(stocked_as)()

    call = await Call("history", headers, "subject=auth.user:3&format=ndjson").whole()

    assert [record["kind"] for record in call.records] == told


@pytest.mark.parametrize("file_format", FORMATS)
async def test_wrong_query_is_told_before_the_file_begins(file_format):
    headers = await stocked()

    call = await Call("commands", headers, f"status=x&format={file_format}").whole()

    assert (call.status, json.loads(call.body)["detail"][0]["loc"]) == (422, ["query", "status"])


@pytest.mark.parametrize("path", ["commands", "services", f"{S}/events"])
async def test_head_makes_no_file(path, monkeypatch):
    headers = await stocked()
    monkeypatch.setattr(streaming, "PER_PROCESS", 0)

    call = await Call(path, headers, "environment=dev&format=csv", method="HEAD").whole()

    assert (call.status, call.body) == (200, b"")


async def test_unknown_service_has_no_file():
    headers = await stocked()

    assert (await Call("services/nothing/events", headers, "environment=dev&format=csv").whole()).status == 404


async def test_rows_that_come_meanwhile_are_left_out_and_none_is_lost(small_batches):
    headers = await stocked()
    call = await Call("history", headers, "format=ndjson&fields=event_id").start()
    await call.read()

    await database_sync_to_async(EventFactory)(event_id="new")
    await call.rest()

    assert [record["event_id"] for record in call.records] == ["e4", "e3", "e2", "e1", "e0"]


async def test_as_many_files_as_may_be_made_at_once_and_no_more(small_batches, monkeypatch):
    headers = await stocked()
    monkeypatch.setattr(streaming, "PER_USER", 1)
    first = await Call("history", headers, "format=csv").start()

    refused = await Call("history", headers, "format=csv").whole()
    page = await Call("history", headers).whole()
    await first.rest()
    after = await Call("history", headers, "format=csv").whole()

    assert (refused.status, refused.headers["retry-after"]) == (429, "10")
    assert list(json.loads(refused.body)) == ["detail"]
    assert (page.status, after.status) == (200, 200)


async def test_file_ends_with_the_token_that_it_was_asked_for_with(small_batches, monkeypatch):
    headers = await stocked()
    monkeypatch.setattr(streaming, "RECHECK_S", 0)
    read = exports.Export.records

    def revoking(self):
        for records in read(self):
            ApiToken.objects.update(revoked_at=timezone.now())
            yield records

    monkeypatch.setattr(exports.Export, "records", revoking)

    call = await Call("history", headers, "format=ndjson&fields=event_id").whole()

    assert [record.get("event_id") for record in call.records] == ["e4", "e3", None]
    assert call.records[-1]["error"]["code"] == "export_interrupted"


async def test_client_that_leaves_gives_its_place_back_and_stops_the_work(small_batches, monkeypatch):
    headers = await stocked()
    monkeypatch.setattr(streaming, "PER_USER", 1)
    batches = []
    read = exports.Export.records

    def counted(self):
        for records in read(self):
            batches.append(records)
            yield records

    monkeypatch.setattr(exports.Export, "records", counted)
    first = await Call("history", headers, "format=ndjson").start()
    await first.read()

    await first.leave()

    seen = len(batches)
    assert (await Call("commands", headers, "format=csv").whole()).status == 200
    assert seen < COUNT


@pytest.mark.parametrize("file_format", FORMATS)
async def test_file_that_breaks_off_can_be_told_from_a_whole_one(small_batches, monkeypatch, file_format):
    headers = await stocked()
    calls = []

    def failing(self):
        if calls:
            raise OperationalError("The server is gone.")
        calls.append(self)
        yield from ([{"event_id": "e0"}],)
        raise OperationalError("The server is gone.")

    monkeypatch.setattr(exports.Export, "records", failing)
    call = Call("history", headers, f"format={file_format}&fields=event_id")

    if file_format == "ndjson":
        await call.whole()
        assert call.records[-1]["error"]["code"] == "export_interrupted"
    else:
        with pytest.raises(OperationalError):
            await call.whole()
        assert call.body.endswith(b"e0\r\n")


async def test_no_connection_is_held_between_batches(small_batches, monkeypatch):
    headers = await stocked()
    read = exports.Export.records

    def empty():
        try:
            Event.objects.all().delete()
        finally:
            connections.close_all()

    def emptying(self):
        with ThreadPoolExecutor(1) as others:
            for records in read(self):
                yield records
                # A table that a reader held could not be emptied.
                others.submit(empty).result(timeout=10)

    monkeypatch.setattr(exports.Export, "records", emptying)

    call = await Call("history", headers, "format=ndjson").whole()

    assert [record["event_id"] for record in call.records] == ["e4", "e3"]
