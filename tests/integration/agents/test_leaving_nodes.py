"""A node that is being forgotten: it is asked to come again, and comes back as a new one."""

import json

import pytest
from django.db import IntegrityError
from django.utils import timezone

from agents.gateways.argus import views
from agents.models import Instance, Service
from agents.services.nodes import register_node

pytestmark = pytest.mark.django_db

NODE = {"name": "db-1", "type": "agent", "version": "1.0", "meta_data": {"env": "prod"}}
REPORT = {"timestamp": "2026-01-02T03:04:05Z", "health": {}}


def call(client, verb, path, body):
    answer = getattr(client, verb)(f"/api/v1/master{path}", json.dumps(body), content_type="application/json")
    return answer.status_code, answer.json()


@pytest.fixture
def leaving(client):
    """The id of a node that is being forgotten."""
    _status, node = call(client, "post", "/nodes", NODE)
    Instance.objects.filter(external_id=node["id"]).update(forget_requested_at=timezone.now())
    return node["id"]


@pytest.mark.parametrize("named_by", [{}, {"id": True}])
def test_it_may_not_register_meanwhile(client, leaving, named_by):
    status, answer = call(client, "post", "/nodes", NODE | ({"id": leaving} if named_by else {}))

    assert status == 503
    assert "is being forgotten" in answer["error"]


def test_it_may_not_report_meanwhile_and_others_of_its_batch_may(client, leaving):
    _status, other = call(client, "post", "/nodes", NODE | {"name": "db-2"})

    refused = call(client, "put", f"/nodes/{leaving}/status", REPORT)
    taken = call(client, "put", f"/nodes/{other['id']}/status", REPORT)

    assert refused[0] == 503
    assert (taken[0], taken[1]["status"]) == (200, "online")
    assert Instance.objects.get(external_id=leaving).connectivity == "never_reported"


def test_nothing_comes_to_a_service_that_is_being_forgotten(client):
    Service.objects.create(name="agent", environment="prod", forget_requested_at=timezone.now())

    status, answer = call(client, "post", "/nodes", NODE)

    assert status == 503
    assert "agent" in answer["error"]
    assert not Instance.objects.exists()


@pytest.mark.parametrize(("failures", "status"), [(1, 201), (2, 503)])
def test_what_the_database_refuses_once_is_tried_again(client, monkeypatch, failures, status):
    left = [IntegrityError] * failures

    def registering(registration):
        if left:
            raise left.pop()
        return register_node(registration)

    monkeypatch.setattr(views, "register_node", registering)

    answer = client.post("/api/v1/master/nodes", json.dumps(NODE), content_type="application/json")

    assert (answer.status_code, answer.headers.get("Retry-After")) == (status, "5" if status == 503 else None)
    assert Instance.objects.count() == (status == 201)
