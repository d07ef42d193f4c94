"""The presence beacon: contract 2.5."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from agents.gateways.onestep.views import BEACON_BURST, BEACON_SENDERS_MAX, BeaconThrottle
from agents.models import Instance, Service
from agents.services.tokens import create_agent_token
from controlplane.common.actors import Actor
from tests import frames
from tests.factories import InstanceFactory, ServiceFactory
from tests.frames import Agent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("agent_door")]
PATH = "/api/v1/agents/presence"


def beacon(client, body, *, token="dev-token", content_type="application/json"):
    return client.post(PATH, body, content_type=content_type, headers={"Authorization": f"Bearer {token}"})


def body(agent, **changes):
    return {"service": agent.service(**changes), "sent_at": frames.SENT_AT}


def test_a_beacon_before_the_first_hello_makes_the_rows(client):
    agent = Agent()

    response = beacon(client, body(agent))

    assert (response.status_code, response.content) == (204, b"")
    instance = Instance.objects.select_related("service").get(pk=agent.instance_id)
    assert (instance.service.name, instance.connectivity, instance.health) == ("demo", "online", "unknown")


def test_a_beacon_moves_last_seen_and_nothing_else(client):
    hour_ago = timezone.now() - timedelta(hours=1)
    instance = InstanceFactory(
        service=ServiceFactory(name="demo", description="kept"), offline=True, last_seen_at=hour_ago, health="degraded"
    )
    agent = Agent(instance_id=str(instance.pk))

    beacon(client, body(agent, description="other", deployment_version="9"))

    instance.refresh_from_db()
    assert timezone.now() - instance.last_seen_at < timedelta(minutes=1)
    assert (instance.connectivity, instance.health, instance.deployment_version) == ("online", "degraded", "")
    assert Service.objects.get().description == "kept"


@pytest.mark.parametrize("verb", ["get", "put", "patch", "delete", "options"])
def test_another_verb_is_not_found(client, verb):
    response = getattr(client, verb)(PATH)

    assert (response.status_code, response.json()) == (404, {"detail": "not found"})


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_bad_token_is_401(client, token):
    assert beacon(client, body(Agent()), token=token).status_code == 401
    assert Service.objects.count() == 0


def test_a_token_of_another_environment_is_403(client):
    _token, secret = create_agent_token(
        name="prod", dialects=[], environments=["prod"], expires_at=None, actor=Actor("a")
    )

    assert beacon(client, body(Agent()), token=secret).status_code == 403


def test_an_identity_of_another_service_is_409_and_leaves_no_ghost(client):
    agent = Agent()
    beacon(client, body(agent))

    assert beacon(client, body(agent, name="other")).status_code == 409
    assert Service.objects.count() == 1


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"no json",
        b"\xff\xfe",
        b"[]",
        b"{}",
        body(Agent(), environment="production"),
        body(Agent(), instance_id="x"),
        {"service": Agent().service(), "sent_at": "soon"},
    ],
)
def test_a_bad_body_is_422_and_says_where(client, bad):
    response = beacon(client, bad)

    assert response.status_code == 422
    assert response.json()["detail"]


def test_hostile_text_is_cleaned(client):
    instance_id = uuid.uuid4()

    response = beacon(client, body(Agent(instance_id=str(instance_id)), node_name="n\x00\ud800"))

    assert response.status_code == 204
    assert Instance.objects.get().node_name == "n\ufffd\ufffd"


def test_a_huge_body_is_413(client, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000

    assert beacon(client, body(Agent(), description="x" * 2000)).status_code == 413


def test_beacons_of_one_instance_in_a_flood_are_429_and_later(client):
    flooding, other = Agent(), Agent()
    answers = [beacon(client, body(flooding)) for _ in range(BEACON_BURST + 3)]

    assert [answer.status_code for answer in answers[:BEACON_BURST]] == [204] * BEACON_BURST
    assert (answers[-1].status_code, answers[-1]["Retry-After"]) == (429, "5")
    assert beacon(client, body(other)).status_code == 204


def test_a_throttle_lets_one_pass_each_second():
    now = [0.0]
    throttle = BeaconThrottle(clock=lambda: now[0])
    sender = uuid.uuid4()
    assert [throttle.lets_pass(sender) for _ in range(BEACON_BURST + 1)] == [True] * BEACON_BURST + [False]

    now[0] += 1
    assert [throttle.lets_pass(sender) for _ in range(2)] == [True, False]
    now[0] += 3600
    assert [throttle.lets_pass(sender) for _ in range(BEACON_BURST + 1)] == [True] * BEACON_BURST + [False]


def test_a_throttle_is_bounded():
    throttle = BeaconThrottle(clock=lambda: 0.0)

    for number in range(BEACON_SENDERS_MAX + 10):
        throttle.lets_pass(uuid.UUID(int=number))

    assert len(throttle) == BEACON_SENDERS_MAX
