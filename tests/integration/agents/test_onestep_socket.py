"""The agent's socket, row by row of contract 1."""

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from agents.gateways.hub import REFUSALS_OF_PEER_MAX
from agents.models import Event, Instance, Service, Session
from agents.services.tokens import create_agent_token, revoke_agent_token
from controlplane.common.actors import Actor
from tasks_app.models import Task
from tests import frames
from tests.frames import Agent
from tests.sockets import AgentSocket, stored

ACTOR = Actor("tester")
# What a busy machine may add to what is done at an interval.
MACHINE_LAG_S = 10


@sync_to_async
def rows(query, *fields):
    return list(query.values_list(*fields, flat=len(fields) == 1))


async def make_token(**changes):
    options = {"name": "t", "dialects": [], "environments": [], "expires_at": None, "actor": ACTOR} | changes
    return await sync_to_async(create_agent_token)(**options)


# --- the door: contract 1.1


@pytest.mark.parametrize(
    "options",
    [
        {"headers": [(b"authorization", b"Bearer dev-token")]},
        {"headers": [(b"authorization", b"bEaReR dev-token")]},
        {"token": None, "subprotocols": ("onestep-agent.v1", "bearer.dev-token")},
        {"token": None, "subprotocols": ("bearer.dev-token", "bearer.other")},
    ],
)
async def test_the_token_comes_by_header_or_subprotocol(connect, options):
    socket = await connect(**options)

    assert (await socket.hello(Agent()))["protocol_version"] == "1"


@pytest.mark.parametrize(
    "options",
    [
        {"token": None},
        {"token": "wrong"},
        {"token": "dev-token-and-more"},
        {"headers": [(b"authorization", b"Basic dev-token")]},
        {"headers": [(b"authorization", b"Bearer ")]},
        {"headers": [(b"authorization", "Bearer t\u00f6ken".encode())]},
        {"token": "wrong", "subprotocols": ("bearer.dev-token",)},
        {"token": None, "subprotocols": ("bearer.other", "bearer.dev-token")},
    ],
)
async def test_a_bad_token_is_refused_with_401_before_the_upgrade(connect, options):
    status, detail = await AgentSocket(connect.application, **options).refusal()

    assert status == 401
    assert "token" in detail


async def test_where_no_token_is_known_nobody_comes_in(connect, settings):
    settings.INGEST_TOKENS = ()

    status, _detail = await AgentSocket(connect.application, token="dev-token").refusal()

    assert status == 401


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        (("onestep-agent.v1",), "onestep-agent.v1"),
        (("other", "onestep-agent.v1"), "onestep-agent.v1"),
        (("other",), None),
        ((), None),
        (("bearer.dev-token",), None),
    ],
)
async def test_the_subprotocol_is_selected_only_if_it_was_offered(connect, offered, selected):
    socket = AgentSocket(connect.application, subprotocols=offered)

    is_open, subprotocol = await socket.connect()

    assert (is_open, subprotocol) == (True, selected)
    await socket.disconnect()


async def test_a_stored_token_opens_the_door_until_it_is_revoked_or_expired(connect):
    token, secret = await make_token()
    assert await connect(token=secret)

    await sync_to_async(revoke_agent_token)(token, actor=ACTOR)
    assert (await AgentSocket(connect.application, token=secret).refusal())[0] == 401

    _token, expired = await make_token(name="expired", expires_at=timezone.now())
    assert (await AgentSocket(connect.application, token=expired).refusal())[0] == 401


async def test_refused_agents_leave_one_event_a_minute_and_peer(connect):
    _token, secret = await make_token(environments=["prod"])
    for _ in range(3):
        await AgentSocket(connect.application, token="wrong").refusal()
        socket = await connect(token=secret)
        await socket.send_frame(Agent().hello())
        await socket.closed_after_error()

    messages = await rows(Event.objects.filter(kind="agent.refused").order_by("id"), "message")
    assert [message.split()[0:3] for message in messages] == [["The", "agent", "token"], ["This", "token", "does"]]
    assert "wrong" not in str(messages)


async def test_who_tries_out_tokens_leaves_some_events(connect):
    for number in range(REFUSALS_OF_PEER_MAX + 3):
        await AgentSocket(connect.application, token=f"oat_{number:05d}").refusal()

    messages = await rows(Event.objects.filter(kind="agent.refused"), "message")
    assert len(messages) == REFUSALS_OF_PEER_MAX


async def test_a_token_for_another_dialect_does_not_open_this_door(connect):
    _token, secret = await make_token(dialects=["argus"])

    assert (await AgentSocket(connect.application, token=secret).refusal())[0] == 401


async def test_a_token_speaks_only_for_its_environments(connect):
    _token, secret = await make_token(environments=["prod"])
    refused = await connect(token=secret)
    await refused.send_frame(Agent(environment="dev").hello())

    error = (await refused.frame())["payload"]

    assert (error["code"], error["close_connection"]) == ("unauthorized", True)
    assert (await refused.closed())[0] == 1008
    assert await rows(Service.objects.all(), "name") == []
    assert await connect(Agent(environment="prod"), token=secret)


async def test_revoking_a_token_cuts_its_open_sessions(connect):
    token, secret = await make_token()
    socket = await connect(Agent(), token=secret)
    bystander = await connect(Agent())

    await sync_to_async(revoke_agent_token)(token, actor=ACTOR)

    assert (await socket.frame())["payload"]["code"] == "unauthorized"
    assert (await socket.closed())[0] == 4003
    assert await bystander.receive_nothing()
    await stored(connect.hub)
    assert sorted(await rows(Session.objects.all(), "status", "end_reason")) == [
        ("active", ""),
        ("disconnected", "token_revoked"),
    ]


async def test_an_expired_token_is_cut_by_the_pulse(connect, settings):
    token, secret = await make_token()
    socket = await connect(Agent(), token=secret)

    await sync_to_async(type(token).objects.filter(pk=token.pk).update)(expires_at=timezone.now())

    async with asyncio.timeout(settings.HINT_POLL_S + MACHINE_LAG_S):
        assert (await socket.frame())["payload"]["code"] == "unauthorized"
        assert (await socket.closed())[0] == 4003


# --- hello: contract 1.3, 1.4, 1.5


async def test_hello_makes_service_instance_and_session(connect):
    agent = Agent()
    socket = await connect()

    answer = await socket.hello(agent, service=agent.service(description=" Billing "))

    assert 27 <= answer["heartbeat_interval_s"] <= 33
    assert answer["accepted_capabilities"] == [*frames.CAPABILITIES, "telemetry.custom_metrics"]
    instance = await Instance.objects.select_related("service").aget(pk=agent.instance_id)
    assert (instance.service.name, instance.service.environment, instance.service.description) == (
        "demo",
        "dev",
        "Billing",
    )
    assert (instance.connectivity, instance.health, instance.pid, instance.hostname) == (
        "online",
        "unknown",
        42,
        "host-1",
    )
    session = await Session.objects.aget(instance=instance)
    assert (session.public_id, session.status, session.replica_id) == (
        answer["session_id"],
        "active",
        connect.hub.replica_id,
    )
    assert sorted(await rows(Event.objects.all(), "kind")) == ["instance.online", "session.opened"]


async def test_a_later_hello_without_description_leaves_it_and_a_blank_one_clears_it(connect):
    agent = Agent()
    socket = await connect()
    await socket.hello(agent, service=agent.service(description="Billing"))

    await socket.hello(agent)
    assert await rows(Service.objects.all(), "description") == ["Billing"]

    await socket.hello(agent, service=agent.service(description=" "))
    assert await rows(Service.objects.all(), "description") == [""]


async def test_a_silent_socket_is_closed_after_the_hello_deadline(connect, settings):
    settings.AGENT_HELLO_TIMEOUT_S = 0.05

    socket = await connect()

    assert (await socket.frame())["payload"]["code"] == "session_not_initialized"
    assert (await socket.closed())[0] == 1008


async def test_the_hello_deadline_spares_those_who_said_hello(connect, settings):
    # Long enough for a hello on a busy machine.
    settings.AGENT_HELLO_TIMEOUT_S = 2

    socket = await connect(Agent())

    assert await socket.receive_nothing(timeout=2.2)


async def test_a_second_hello_on_one_socket_makes_a_new_session(connect):
    agent = Agent()
    socket = await connect(agent)

    second = await socket.hello(agent)
    await socket.send_frame(agent.heartbeat())
    await stored(connect.hub, socket)

    statuses = {f"sess_{pk.hex}": status for pk, status in await rows(Session.objects.all(), "id", "status")}
    assert statuses.pop(second["session_id"]) == "active"
    assert list(statuses.values()) == ["superseded"]
    assert (await Instance.objects.aget()).health == "ok"


async def test_disconnect_ends_the_session(connect):
    socket = await connect(Agent())

    await socket.disconnect()
    await stored(connect.hub)

    assert await rows(Session.objects.all(), "status", "end_reason") == [("disconnected", "closed_1000")]


# --- errors: contract 1.8, row by row

KNOWN = "00000000-0000-4000-8000-000000000001"
AGENT = Agent(instance_id=KNOWN)


@pytest.mark.parametrize(
    "frame",
    [
        "no json",
        "[1, 2]",
        '{"type": "hello"}',
        frames.envelope("goodbye", {}),
        Agent().hello(protocol_version=1),
        Agent().hello(service=Agent().service(environment="production")),
    ],
)
async def test_a_first_frame_that_is_none_closes_with_invalid_message(connect, frame):
    socket = await connect()
    await socket.send_frame(frame)

    error = await socket.frame()

    assert error["type"] == "error"
    assert (error["payload"]["code"], error["payload"]["close_connection"]) == ("invalid_message", True)
    code, reason = await socket.closed()
    assert code == 1008
    assert reason
    assert error["payload"]["message"].startswith(reason[:40])
    assert await rows(Service.objects.all(), "name") == []


async def test_another_protocol_version_closes_with_its_own_code(connect):
    socket = await connect()
    await socket.send_frame(Agent().hello(protocol_version="2"))

    assert (await socket.frame())["payload"]["code"] == "unsupported_protocol_version"
    assert (await socket.closed())[0] == 1008
    (message,) = await rows(Event.objects.filter(kind="agent.refused"), "message")
    assert message.startswith("Protocol version 2 is not supported")


@pytest.mark.parametrize(
    "frame", [Agent().heartbeat(), frames.ack("cmd_1"), frames.result("cmd_1"), frames.envelope("hello_ack", {})]
)
async def test_anything_before_hello_closes_with_session_not_initialized(connect, frame):
    socket = await connect()
    await socket.send_frame(frame)

    assert (await socket.frame())["payload"]["code"] == "session_not_initialized"
    assert (await socket.closed())[0] == 1008


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (frames.telemetry("logs", {}), "invalid_message"),
        (AGENT.heartbeat(sequence=-1), "invalid_message"),
        (AGENT.events(), "invalid_message"),
        (frames.ack("cmd_1", received_at="soon"), "invalid_message"),
        (frames.ack("cmd_1", "maybe"), "invalid_message"),
        (frames.result("cmd_1", "done"), "invalid_message"),
        (frames.ack("cmd_" + "0" * 32), "unknown_command"),
        (frames.result("cmd_" + "0" * 32), "unknown_command"),
        (frames.result("nonsense"), "unknown_command"),
        (frames.envelope("hello_ack", {}), "invalid_message"),
        (frames.envelope("command", {}), "invalid_message"),
        (frames.envelope("error", {}), "invalid_message"),
    ],
)
async def test_what_is_wrong_after_hello_is_answered_and_the_session_stays(connect, frame, code):
    socket = await connect(AGENT)

    await socket.send_frame(frame)
    error = (await socket.frame())["payload"]

    assert (error["code"], error["close_connection"]) == (code, False)
    await socket.send_frame(AGENT.heartbeat(status="degraded"))
    await stored(connect.hub, socket)
    assert (await Instance.objects.aget(pk=KNOWN)).health == "degraded"


async def test_binary_frames_close_with_1003(connect):
    socket = await connect(Agent())
    await socket.send_to(bytes_data=b"\x00\x01")

    error = (await socket.frame())["payload"]

    assert (error["code"], error["close_connection"]) == ("invalid_message", True)
    assert (await socket.closed())[0] == 1003


async def test_a_frame_beyond_the_limit_closes_with_1009(connect, settings):
    settings.AGENT_FRAME_MAX_BYTES = 10_000
    agent = Agent()
    socket = await connect(agent)

    await socket.send_frame(agent.events(frames.event(meta={"x": "y" * 10_000})))

    assert (await socket.closed())[0] == 1009


@pytest.mark.parametrize("changes", [{"name": "other"}, {"environment": "prod"}])
async def test_an_identity_of_another_service_is_refused_and_leaves_no_ghost(connect, changes):
    await connect(Agent(instance_id=KNOWN))
    thief = await connect()
    await thief.send_frame(Agent(instance_id=KNOWN, **changes).hello())

    error = (await thief.frame())["payload"]

    assert (error["code"], error["close_connection"]) == ("instance_conflict", True)
    assert (await thief.closed())[0] == 1008
    assert await rows(Service.objects.all(), "name", "environment") == [("demo", "dev")]
    assert await rows(Session.objects.all(), "status") == ["active"]


async def test_telemetry_for_another_instance_closes_and_changes_nothing(connect):
    victim, agent = Agent(), Agent()
    await connect(victim)
    socket = await connect(agent)

    await socket.send_frame(agent.heartbeat(status="error", service=victim.service()))

    assert (await socket.frame())["payload"]["code"] == "instance_conflict"
    assert (await socket.closed())[0] == 1008
    await stored(connect.hub)
    assert (await Instance.objects.aget(pk=victim.instance_id)).health == "unknown"


# --- one identity, two processes


async def test_a_reconnect_of_the_same_process_supersedes_and_closes_the_old_socket(connect):
    agent = Agent()
    old = await connect(agent)

    new = await connect(agent)

    assert (await old.closed())[0] == 4001
    assert await new.receive_nothing()
    await stored(connect.hub)
    assert sorted(await rows(Session.objects.all(), "status")) == ["active", "superseded"]
    assert (await Instance.objects.aget()).conflict_seen_at is None


async def test_a_superseded_socket_stores_nothing_more(connect):
    agent = Agent()
    old = await connect(agent)
    await connect(agent)
    await old.closed()

    await old.send_frame(agent.heartbeat(status="error"))
    await stored(connect.hub)

    assert (await Instance.objects.aget()).health == "unknown"


async def test_clones_take_over_once_a_minute_at_most_and_are_shown(connect, settings):
    first, second = Agent(instance_id=KNOWN, pid=1), Agent(instance_id=KNOWN, pid=2)
    old = await connect(first)
    holder = await connect(second)
    assert (await old.closed())[0] == 4001

    back = await connect()
    await back.send_frame(first.hello())
    refusal = (await back.frame())["payload"]

    assert (refusal["code"], refusal["close_connection"]) == ("instance_conflict", True)
    assert (await back.closed())[0] == 1008
    assert await holder.receive_nothing()
    assert (await Instance.objects.aget()).conflict_seen_at is not None
    assert await rows(Event.objects.filter(kind="instance.conflict"), "kind") == ["instance.conflict"]

    settings.TAKEOVER_INTERVAL_S = 0
    again = await connect(first)
    assert (await holder.closed())[0] == 4001
    assert await again.receive_nothing()


async def test_a_new_process_after_a_clean_end_is_no_clone(connect):
    old = await connect(Agent(instance_id=KNOWN, pid=1))
    await old.disconnect()

    await connect(Agent(instance_id=KNOWN, pid=2))

    assert (await Instance.objects.aget()).conflict_seen_at is None


# --- old clients


async def test_an_agent_without_stored_topology_is_asked_for_it_once(connect):
    agent = Agent()
    socket = await connect(agent)

    await socket.send_frame(agent.heartbeat())
    command = await socket.frame()
    await socket.send_frame(agent.heartbeat())

    assert (command["type"], command["payload"]["kind"]) == ("command", "sync_now")
    assert await socket.receive_nothing()


async def test_an_agent_that_syncs_first_is_not_asked(connect):
    agent = Agent()
    socket = await connect(agent)

    await socket.send_frame(agent.sync(frames.task()))
    await socket.send_frame(agent.heartbeat())

    assert await socket.receive_nothing()


async def test_the_survivor_of_a_conflict_counts_though_it_started_earlier(connect, settings):
    settings.TAKEOVER_INTERVAL_S = 0
    survivor, clone = Agent(instance_id=KNOWN, pid=1), Agent(instance_id=KNOWN, pid=2)
    clone.started_at = "2026-01-05T00:00:00Z"
    await connect(survivor)
    taken = await connect(clone)
    await taken.send_frame(clone.sync(frames.task("of-the-clone"), sequence=90))
    await taken.send_frame(clone.heartbeat(status="error", sequence=91))
    await stored(connect.hub, taken)
    await taken.disconnect()

    back = await connect(survivor)
    await back.send_frame(survivor.sync(frames.task("of-the-survivor")))
    await back.send_frame(survivor.heartbeat(status="degraded"))
    await stored(connect.hub, back)

    assert (await Instance.objects.aget()).health == "degraded"
    assert await rows(Task.objects.all(), "name") == ["of-the-survivor"]
