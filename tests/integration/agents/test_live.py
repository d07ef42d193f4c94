"""The live stream, from rows to the wire: what comes, who sees it, how it is gone on with, and how it ends."""

import asyncio
import gc
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from agents.api.live.seats import seats
from agents.api.live.stream import end_streams, stream_here
from agents.models import Event
from agents.services.events import portal_event, record_events
from controlplane.access.models import ApiToken, ConsoleSession
from controlplane.access.services import create_api_token, revoke_api_token
from controlplane.common.actors import SYSTEM
from tests.factories import EventFactory, InstanceFactory
from tests.integration.api_client import Api, api_as, api_in_session, user_in
from tests.streams import streaming

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def prompt(settings):
    settings.STREAM_POLL_S = 0.02
    settings.STREAM_RECHECK_S = 0.05
    settings.STREAM_CUT_GRACE_S = 0.2


def in_thread(function, *args, **kwargs):
    return database_sync_to_async(function)(*args, **kwargs)


async def viewer():
    return (await in_thread(api_as, "viewer")).headers


def make(kind="command.queued", **fields):
    return EventFactory(kind=kind, **fields).event_id


def make_many(count, **fields):
    instance = InstanceFactory()
    return [make(instance=instance, **fields) for _ in range(count)]


# --- what comes


async def test_stream_is_not_cached_or_buffered():
    async with streaming() as connect:
        client = await connect(await viewer())

        assert client.status == 200
        assert client.headers["content-type"] == "text/event-stream"
        assert client.headers["cache-control"] == "no-cache"
        assert client.headers["x-accel-buffering"] == "no"


async def test_first_message_tells_where_it_begins_and_when_to_come_again():
    async with streaming() as connect:
        frame = await (await connect(await viewer())).frame()

        assert (frame.data["channel"], frame.data["state"]) == ("status", "live")
        assert frame.id
        assert frame.retry == "3000"


async def test_what_happened_before_is_not_told():
    async with streaming() as connect:
        await in_thread(make)
        client = await connect(await viewer())
        await client.message()

        later = await in_thread(make)

        assert await client.events(1) == [later]


async def test_routine_of_tasks_is_not_told():
    async with streaming() as connect:
        client = await connect(await viewer())
        await client.message()

        await in_thread(make, kind="task.started")
        await in_thread(make, kind="task.succeeded")
        failed = await in_thread(make, kind="task.failed")

        assert await client.events(1) == [failed]


async def test_all_clients_of_a_process_get_it():
    async with streaming() as connect:
        headers = await viewer()
        clients = [await connect(headers) for _ in range(3)]
        for client in clients:
            await client.message()

        told = await in_thread(make)

        assert [await client.events(1) for client in clients] == [[told]] * 3


async def test_long_message_is_cut():
    async with streaming() as connect:
        client = await connect(await viewer())
        await client.message()

        await in_thread(make, message="é" * 5000)

        assert (await client.event()).data["message"] == "é" * 500


@pytest.mark.parametrize(
    "query",
    [
        {"channels": "sessions, tasks"},
        {"environment": "prod"},
        {"service": "名 / 1"},
        {"kind": "task.failed"},
        {"level": "error"},
        {"channels": "events", "environment": "prod", "kind": "task.failed"},
    ],
)
async def test_filters_narrow_the_stream(query):
    def arrange():
        make(level="info")
        wanted = InstanceFactory(service__name="名 / 1", service__environment="prod")
        return make(kind="task.failed", level="error", instance=wanted)

    async with streaming() as connect:
        client = await connect(await viewer(), **query)
        await client.message()

        wanted = await in_thread(arrange)

        assert await client.events(1) == [wanted]


async def test_filter_by_instance():
    async with streaming() as connect:
        instance = await in_thread(InstanceFactory)
        client = await connect(await viewer(), instance_id=str(instance.pk))
        await client.message()

        await in_thread(make)
        wanted = await in_thread(make, instance=instance)

        assert await client.events(1) == [wanted]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"channels": "commands,nothing"}, "enum"),
        ({"channels": ""}, "string_too_short"),
        ({"channels": "commands," * 40}, "string_too_long"),
        ({"kind": "task.started"}, "enum"),
        ({"level": "loud"}, "enum"),
        ({"instance_id": "7"}, "uuid_parsing"),
        ({"environment": "a\x00b"}, "string_unstorable"),
        ({"service": "x" * 256}, "string_too_long"),
        ({"cursor": "7"}, "cursor"),
    ],
)
async def test_wrong_query_is_told_in_the_shape_of_the_api(query, problem):
    async with streaming() as connect:
        client = await connect(await viewer(), **query)

        assert client.status == 422
        (found,) = (await client.body())["detail"]
        assert (found["type"], found["loc"]) == (problem, ["query", next(iter(query))])


async def test_silence_is_filled_with_comments_that_carry_the_place(settings):
    settings.STREAM_KEEPALIVE_S = 0.05
    async with streaming() as connect:
        client = await connect(await viewer(), kind="task.failed")
        first = await client.frame()

        await in_thread(make)
        while (frame := await client.frame()).id.split("-")[:3] == first.id.split("-")[:3]:
            assert frame.comments == ["keepalive"]

        assert (frame.comments, frame.data) == (["keepalive"], {})


async def test_head_is_answered_without_a_stream():
    headers = await viewer()

    response = await in_thread(lambda: Api(headers=headers).client.head("/api/v1/ui/stream", headers=headers))

    assert (response.status_code, response["Content-Type"], response.streaming) == (200, "text/event-stream", False)


# --- gone on with


async def test_who_comes_again_gets_what_was_missed_once_and_then_what_is_new(settings):
    settings.STREAM_BATCH = 3
    headers = await viewer()
    async with streaming() as connect:
        client = await connect(headers)
        await client.message()
        seen = await in_thread(make_many, 2)
        assert await client.events(1) == seen[:1]
        place = (await client.event()).id
    missed = await in_thread(make_many, 10)

    async with streaming() as connect:
        client = await connect(headers, last_event_id=place)
        first = await client.message()
        assert (first.data["state"], first.id) == ("catching_up", place)
        caught_up = await client.events(10)
        new = await in_thread(make_many, 2)

        assert caught_up == missed
        assert (await client.message()).data["state"] == "live"
        assert await client.events(2) == new


async def test_place_in_the_query_counts_where_no_header_does():
    headers = await viewer()
    async with streaming() as connect:
        place = (await (await connect(headers)).message()).id
    missed = await in_thread(make_many, 2)

    async with streaming() as connect:
        first = await connect(headers, cursor=place)
        second = await connect(headers, cursor="0a1b2c3d-1-1-1", last_event_id=place)

        assert [await first.events(2), await second.events(2)] == [missed, missed]


async def test_what_is_missed_is_filtered_as_well():
    headers = await viewer()
    async with streaming() as connect:
        place = (await (await connect(headers)).message()).id
    wanted = await in_thread(lambda: (make_many(3), make(kind="task.failed"), make_many(3))[1])

    async with streaming() as connect:
        client = await connect(headers, last_event_id=place, channels="tasks")

        assert await client.events(1) == [wanted]
        status = await client.message()
        assert (status.data["state"], status.id > place) == ("live", True)


async def test_clients_that_come_again_while_much_happens_miss_nothing_and_get_nothing_twice(settings):
    settings.STREAM_BATCH = 2
    headers = await viewer()
    instance = await in_thread(InstanceFactory)
    async with streaming() as connect:
        place = (await (await connect(headers)).message()).id
        async with asyncio.TaskGroup() as writers:
            writing = writers.create_task(in_thread(lambda: [make(instance=instance) for _ in range(60)]))
            clients = []
            for _ in range(6):
                clients.append(await connect(headers, last_event_id=place))
                await clients[-1].frame()
        got = await asyncio.gather(*(client.events(60) for client in clients))

        assert got == [writing.result()] * 6


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda life, transaction, row, read_at: "garbage", "cursor_unknown"),
        (lambda life, transaction, row, read_at: f"{life}-{transaction}-{row}-7", "cursor_expired"),
        (lambda life, transaction, row, read_at: f"ffffffff-{transaction}-{row}-{read_at}", "database_restored"),
        (lambda life, transaction, row, read_at: f"{life}-{10**15}-{10**15}-{read_at}", "database_restored"),
    ],
)
async def test_from_a_place_that_is_none_the_stream_begins_anew_and_says_so(change, reason):
    headers = await viewer()
    async with streaming() as connect:
        place = (await (await connect(headers)).message()).id
        client = await connect(headers, last_event_id=change(*place.split("-")))
        frame = await client.message()
        while frame.data["channel"] != "reset":
            frame = await client.message()

        assert frame.data["reason"] == reason
        told = await in_thread(make)
        assert (await client.event()).data["event_id"] == told
        assert frame.id.split("-")[0] == place.split("-")[0]


# --- who sees it


async def narrowed(*environments):
    def arrange():
        _, secret = create_api_token(actor=SYSTEM, name="narrow", user=user_in("viewer"), environments=environments)
        return {"Authorization": f"Bearer {secret}"}

    return await in_thread(arrange)


def make_one_of_each_environment():
    made = {}
    for environment in ("prod", "dev"):
        made[environment] = make(instance=InstanceFactory(service__environment=environment))
    made["none"] = make(kind="token.created", instance=None, service=None)
    made["staging"] = make(instance=InstanceFactory(service__environment="staging"))
    return made


async def test_token_of_some_environments_sees_nothing_of_others_nor_of_none():
    async with streaming() as connect:
        client = await connect(await narrowed("dev", "staging"))
        place = (await client.message()).id
        made = await in_thread(make_one_of_each_environment)
        seen = await client.events(2)

        again = await connect(await in_thread(lambda: client_headers(client)), last_event_id=place)

        assert seen == [made["dev"], made["staging"]]
        assert await again.events(2) == seen


def client_headers(client):
    return {"Authorization": dict(client.scope["headers"])[b"authorization"].decode()}


async def test_environment_that_is_not_allowed_is_empty():
    async with streaming() as connect:
        client = await connect(await narrowed("dev"), environment="prod")
        await client.message()

        await in_thread(make_one_of_each_environment)

        assert client.status == 200
        await in_thread(ApiToken.objects.update, environments=["prod"])
        await asyncio.sleep(0.2)
        later = await in_thread(lambda: make(instance=InstanceFactory(service__environment="prod")))
        assert await client.events(1) == [later]


@pytest.mark.parametrize(("role", "sees"), [("viewer", []), ("operator", []), ("admin", ["object.changed"])])
async def test_what_was_done_to_people_is_told_to_administrators_alone(role, sees):
    async with streaming() as connect:
        client = await connect((await in_thread(api_as, role)).headers)
        await client.message()

        await in_thread(make, kind="object.changed", subject="auth.user:3", instance=None, service=None)
        of_all = await in_thread(make, kind="object.changed", subject="agents.service:3", event_id="of-all")

        messages = [(await client.event()).data for _ in range(len(sees) + 1)]
        assert [message["kind"] for message in messages] == [*sees, "object.changed"]
        assert messages[-1]["event_id"] == of_all


async def test_person_sees_all():
    async with streaming() as connect:
        client = await connect(await viewer())
        await client.message()

        made = await in_thread(make_one_of_each_environment)

        assert await client.events(4) == list(made.values())


@pytest.mark.parametrize(("role", "status"), [(None, 403), ("viewer", 200), ("operator", 200), ("admin", 200)])
async def test_least_role_is_viewer(role, status):
    async with streaming() as connect:
        assert (await connect((await in_thread(api_as, role)).headers)).status == status


async def test_nobody_gets_no_stream():
    async with streaming() as connect:
        client = await connect({})

        assert (client.status, await client.body()) == (401, {"detail": "authentication required"})


def by_token():
    api = api_as("viewer")
    return api.headers, get_user_model().objects.get(), None


def by_session():
    api = api_in_session("viewer")
    cookie = api.client.cookies[settings.SESSION_COOKIE_NAME].value
    return {"Cookie": f"{settings.SESSION_COOKIE_NAME}={cookie}"}, get_user_model().objects.get(), api


def change_password(user, api):
    user.set_password("another")
    user.save()


def expire(user, api):
    ApiToken.objects.update(expires_at=timezone.now())


def disable(user, api):
    get_user_model().objects.update(is_active=False)


def take_role(user, api):
    user.groups.clear()


@pytest.mark.parametrize(
    ("log_in", "end"),
    [
        (by_token, lambda user, api: revoke_api_token(ApiToken.objects.get(), actor=SYSTEM)),
        (by_token, expire),
        (by_token, disable),
        (by_token, take_role),
        (by_token, lambda user, api: ApiToken.objects.all().delete()),
        (by_session, lambda user, api: api.client.logout()),
        (by_session, lambda user, api: ConsoleSession.objects.update(expire_date=timezone.now() - timedelta(hours=1))),
        (by_session, change_password),
        (by_session, disable),
        (by_session, take_role),
    ],
)
async def test_stream_ends_with_its_login(log_in, end):
    headers, user, api = await in_thread(log_in)
    async with streaming() as connect:
        client = await connect(headers)
        assert client.status == 200
        await client.message()
        await asyncio.sleep(0.2)
        told = await in_thread(make)
        assert await client.events(1) == [told]

        await in_thread(end, user, api)

        last = await client.message()
        assert (last.data["channel"], last.data["reason"]) == ("closed", "access_ended")
        assert await client.frame() is None


# --- bounds


async def test_who_reads_too_slowly_is_cut_and_goes_on_from_where_it_was(settings):
    settings.STREAM_QUEUE_MESSAGES, settings.STREAM_BATCH = 5, 2
    settings.STREAM_CUT_GRACE_S = 30
    headers = await viewer()
    async with streaming() as connect:
        slow, other = await connect(headers), await connect(headers)
        place = (await slow.message()).id
        await other.message()
        slow.reads.clear()

        made = []
        for _ in range(12):
            made += await in_thread(make_many, 1)
            assert await other.events(1) == made[-1:]
        slow.reads.set()
        frames = []
        while frame := await slow.message():
            frames.append(frame)

        assert (frames[-1].data["channel"], frames[-1].data["reason"]) == ("closed", "slow_reader")
        got = [frame.data["event_id"] for frame in frames[:-1]]
        assert got == made[: len(got)]
        again = await connect(headers, last_event_id=(frames[-2].id if got else place))
        assert await again.events(len(made) - len(got)) == made[len(got) :]


async def test_who_does_not_read_at_all_is_hung_up_on(settings):
    settings.STREAM_QUEUE_MESSAGES = 5
    async with streaming() as connect:
        stuck = await connect(await viewer())
        await stuck.message()
        stuck.reads.clear()

        await in_thread(make_many, 12)
        await stuck.ended()

        assert stuck.was_hung_up
        assert seats.taken == 0


async def test_who_stalls_while_catching_up_is_hung_up_on(settings):
    settings.STREAM_BATCH, settings.STREAM_STALLED_AFTER_S = 2, 0.2
    headers = await viewer()
    async with streaming() as connect:
        place = (await (await connect(headers)).message()).id
    await in_thread(make_many, 12)

    async with streaming() as connect:
        stuck = await connect(headers, last_event_id=place)
        stuck.reads.clear()
        await stuck.ended()

        assert stuck.was_hung_up


async def test_nothing_more_is_read_for_who_left_while_catching_up(settings):
    settings.STREAM_BATCH = 2
    headers = await viewer()
    async with streaming() as connect:
        place = (await (await connect(headers)).message()).id
    await in_thread(make_many, 12)

    async with streaming() as connect:
        client = await connect(headers, last_event_id=place)
        await client.frame()
        client.reads.clear()
        reading = [task for task in asyncio.all_tasks() if "_catch_up" in repr(task.get_coro())]
        await client.end()

        assert len(reading) == 1
        await asyncio.wait_for(asyncio.gather(*reading), 10)


async def test_one_user_has_only_so_many_streams(settings):
    settings.STREAMS_PER_USER_MAX = 2
    headers = await viewer()
    async with streaming() as connect:
        first, _second = await connect(headers), await connect(headers)
        refused = await connect(headers)
        other = await connect((await in_thread(api_as, "operator")).headers)

        assert (refused.status, refused.headers["retry-after"]) == (429, "10")
        assert await refused.body() == {"detail": "too many streams of this user are open"}
        assert other.status == 200
        await first.end()
        assert (await connect(headers)).status == 200


async def test_one_process_has_only_so_many_streams(settings):
    settings.STREAMS_MAX = 1
    headers = await viewer()
    async with streaming() as connect:
        first = await connect(headers)
        refused = await connect((await in_thread(api_as, "operator")).headers)

        assert (refused.status, refused.headers["retry-after"]) == (503, "10")
        await first.end()
        assert (await connect(headers)).status == 200


def test_seat_of_an_answer_that_nobody_sends_is_given_back():
    response = api_as("viewer").get("ui/stream")
    assert seats.taken == 1
    del response
    gc.collect()

    assert seats.taken == 0


async def test_one_reader_looks_for_all_and_stops_when_the_last_has_left(settings):
    settings.STREAM_LINGER_S = 0.01
    headers = await viewer()
    async with streaming() as connect:
        clients = [await connect(headers) for _ in range(5)]
        for client in clients:
            await client.message()
        looking = [task for task in asyncio.all_tasks() if "_look_loop" in repr(task.get_coro())]
        for client in clients:
            await client.end()

        assert len(looking) == 1
        await asyncio.wait_for(asyncio.wait(looking), 10)


# --- the end, and what is honest


async def test_clients_of_a_process_that_stops_are_told_to_come_again():
    async with streaming() as connect:
        headers = await viewer()
        clients = [await connect(headers) for _ in range(3)]
        for client in clients:
            await client.message()

        began = time.monotonic()
        await end_streams()
        last = [await client.message() for client in clients]

        assert {(frame.data["channel"], frame.data["reason"]) for frame in last} == {("closed", "shutdown")}
        assert all(0 < int(frame.retry) <= 3000 for frame in last)
        assert time.monotonic() - began < 2
        late = await connect(headers)
        assert (await late.message()).data["reason"] == "shutdown"


async def test_clients_are_told_when_the_database_is_another_one_than_before():
    async with streaming() as connect:
        client = await connect(await viewer())
        place = (await client.message()).id
        stream_here()._life = "ffffffff"

        reset = await client.message()
        told = await in_thread(make)

        assert (reset.data["channel"], reset.data["reason"]) == ("reset", "database_restored")
        assert reset.id.split("-")[0] == place.split("-")[0]
        assert await client.events(1) == [told]


@asynccontextmanager
async def another_transaction(statement):
    """A transaction of another session that has run a statement and stays open for the block."""

    def begin():
        other = connection.copy()
        other.set_autocommit(False)
        other.inc_thread_sharing()
        with other.cursor() as cursor:
            cursor.execute(statement)
        return other

    other = await in_thread(begin)
    try:
        yield
    finally:
        await in_thread(other.rollback)
        await in_thread(other.close)


@pytest.mark.needs_postgres
async def test_open_transaction_pauses_the_stream_and_says_since_when(settings):
    settings.STREAM_PAUSED_AFTER_S = 0.1
    async with streaming() as connect:
        client = await connect(await viewer())
        await client.message()
        async with another_transaction("SELECT pg_current_xact_id()"):
            before = timezone.now()
            withheld = await in_thread(make)
            paused = (await client.message()).data

            assert (paused["channel"], paused["state"], paused["reason"]) == ("status", "paused", "transaction_open")
            assert paused["since"] > before.isoformat()
            late = await connect(await viewer())
            assert (await late.message()).data["state"] == "paused"

        assert await client.events(1) == [withheld]
        assert (await client.message()).data["state"] == "live"


@pytest.mark.needs_postgres
async def test_database_that_does_not_answer_pauses_the_stream(settings):
    settings.STREAM_PAUSED_AFTER_S = 0.1
    async with streaming() as connect:
        client = await connect(await viewer())
        await client.message()
        async with another_transaction(f"LOCK TABLE {Event._meta.db_table} IN ACCESS EXCLUSIVE MODE"):
            paused = (await client.message()).data

            assert (paused["state"], paused["reason"]) == ("paused", "database_away")

        assert (await client.message()).data["state"] == "live"
        told = await in_thread(make)
        assert await client.events(1) == [told]


@pytest.mark.needs_postgres
async def test_events_that_a_dump_brought_do_not_come_up_later():
    def restore():
        make()
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {Event._meta.db_table} SET txid = '999999999999'")

    def left():
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {Event._meta.db_table} WHERE txid IS NULL")
            return cursor.fetchone()[0]

    await in_thread(restore)
    async with streaming() as connect:
        client = await connect(await viewer())
        await client.message()
        told = await in_thread(make)

        assert await client.events(1) == [told]
        assert await in_thread(left) == 1


@pytest.mark.parametrize("count", [1, 600])
async def test_events_of_services_come_however_many_are_written_at_once(count, settings):
    settings.STREAM_QUEUE_MESSAGES = 1000

    def write():
        events = [portal_event("token.created", at=timezone.now()) for _ in range(count)]
        record_events(events)
        return [event.event_id for event in events]

    async with streaming() as connect:
        client = await connect(await viewer())
        await client.message()

        written = await in_thread(write)

        assert await client.events(count) == written
