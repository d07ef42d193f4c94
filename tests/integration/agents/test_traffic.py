"""What a process counts and measures goes with its pulse, and /metrics of any process tells it."""

from collections import Counter

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as configured
from django.test import Client

from agents.models import CommandTotals, Replica
from agents.services import latency, transitions
from agents.services.commands import cancel_command, queue_commands
from agents.services.latency import database_latency_s, redis_latency_s
from agents.services.orders import Order
from controlplane.common.actors import Actor
from controlplane.prometheus import views
from controlplane.prometheus.kept import Keeper
from controlplane.runtime.parts import ReplicaPresence
from tests import frames
from tests.e2e.harness.waiting import eventually
from tests.factories import SessionFactory
from tests.frames import Agent
from tests.integration.scraping import scrape
from tests.sockets import ANSWER_WITHIN_S, AgentSocket, stored

ACTOR = Actor("tester")
TOKEN = "dev-token"


@pytest.fixture(autouse=True)
def fresh(settings, monkeypatch):
    settings.INGEST_TOKENS = (TOKEN,)
    monkeypatch.setattr(transitions, "_counted", Counter())
    monkeypatch.setattr(views, "keeper", Keeper())


async def published(hub):
    """What /metrics tells after the next pulse of this process."""
    await hub._pulse()
    return await sync_to_async(scrape)(Client(), TOKEN)


def counts(samples, name, label):
    return {labels[label]: value for labels, value in samples.get(name, ())}


async def test_frames_records_and_sessions_are_counted(connect):
    agent = Agent()
    socket = await connect(agent)
    await socket.send_frame(agent.heartbeat())
    await socket.send_frame(agent.metrics(frames.window(), {"task_name": ""}))
    assert (await socket.frame())["payload"]["code"] == "invalid_message"
    await stored(connect.hub, socket)
    await socket.send_frame(frames.envelope("made-up-by-an-agent", {}))
    assert await socket.closed_after_error() == ("invalid_message", 1008)
    await socket.disconnect()
    await connect(agent)

    samples = await published(connect.hub)

    assert counts(samples, "portal_agent_frames_received_total", "type") == {
        "hello": 2,
        "telemetry": 2,
        "command_ack": 1,
        "other": 1,
    }
    assert counts(samples, "portal_agent_frames_refused_total", "reason") == {
        "invalid_message": 2,
        "unknown_command": 1,
    }
    assert counts(samples, "portal_agent_records_refused_total", "channel") == {"metrics": 1}
    assert [value for _, value in samples["portal_sessions_opened_total"]] == [2]
    assert counts(samples, "portal_sessions_ended_total", "status") == {"disconnected": 1}
    assert [value for _, value in samples["portal_agent_connections"]] == [1]


async def test_a_session_that_a_newer_one_superseded_is_told_from_others(connect):
    agent = Agent()
    await connect(agent)

    await connect(agent)

    samples = await published(connect.hub)
    assert counts(samples, "portal_sessions_ended_total", "status") == {"superseded": 1}


async def test_a_session_that_ends_by_a_second_hello_on_its_socket_is_superseded(connect):
    agent = Agent()
    socket = await connect(agent)

    await socket.hello(agent)

    samples = await published(connect.hub)
    assert [value for _, value in samples["portal_sessions_opened_total"]] == [2]
    assert counts(samples, "portal_sessions_ended_total", "status") == {"superseded": 1}


async def test_frames_that_cannot_be_read_are_counted_by_why(connect, settings):
    settings.AGENT_FRAME_MAX_BYTES = 1000
    for sent in ({"bytes_data": b"x"}, {"text_data": "x" * 1001}, {"text_data": "no JSON"}):
        socket = await connect(Agent())
        await socket.send_to(**sent)
        while (await socket.receive_output(timeout=ANSWER_WITHIN_S))["type"] != "websocket.close":
            pass

    samples = await published(connect.hub)

    refused = counts(samples, "portal_agent_frames_refused_total", "reason")
    assert refused == {"binary": 1, "too_big": 1, "invalid_message": 1}


async def test_agents_that_are_turned_away_are_counted_by_why(connect, settings):
    assert (await AgentSocket(connect.application, token="wrong").refusal())[0] == 401
    settings.AGENT_CONNECTIONS_MAX = 0
    assert (await AgentSocket(connect.application, token=TOKEN).refusal())[0] == 503
    connect.hub._pulse_fails = True
    assert (await AgentSocket(connect.application, token=TOKEN).refusal())[0] == 503

    samples = await published(connect.hub)

    refused = counts(samples, "portal_agent_connections_refused_total", "reason")
    assert refused == {"unauthorized": 1, "too_many": 1, "database_away": 1}


async def test_a_process_with_sockets_measures_both_servers(connect):
    while not connect.hub.snapshot()["latency"]:
        await sync_to_async(database_latency_s)()

    measured = connect.hub.snapshot()["latency"]
    assert 0 < measured["database_s"] < ANSWER_WITHIN_S
    assert ("redis_s" in measured) is bool(configured.REDIS_URL)


@pytest.mark.django_db(transaction=True)
def test_a_process_without_sockets_publishes_what_it_measured_and_counted():
    with ReplicaPresence(Replica.Kind.WORKER):
        eventually(lambda: Replica.objects.filter(kind="worker").exists(), "the worker has a row")
        transitions.count_transitions({"expired": 3})

    assert dict(CommandTotals.objects.values_list("status", "count")) == {"expired": 3}


@pytest.mark.django_db(transaction=True)
def test_moves_of_commands_are_counted_once_they_are_committed():
    session = SessionFactory()
    order = Order(kind="ping", timeout_s=60)
    (target,) = queue_commands([session.instance_id], order, actor=ACTOR)
    cancel_command(target.command.pk, actor=ACTOR)

    transitions.store_transitions()

    assert dict(CommandTotals.objects.values_list("status", "count")) == {"pending": 1, "cancelled": 1}


def test_a_redis_that_does_not_answer_is_told_so(settings):
    # A port that nobody listens on.
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    assert redis_latency_s() is None
    assert latency.REDIS_WITHIN_S <= 1


@pytest.mark.needs_redis
def test_a_redis_that_answers_is_measured():
    assert 0 < redis_latency_s() < latency.REDIS_WITHIN_S
