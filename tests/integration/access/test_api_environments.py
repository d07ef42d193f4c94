"""A token narrowed to environments: what is of any other one does not exist for it."""

import pytest

from controlplane.access.models import ApiToken
from controlplane.access.services import create_api_token
from controlplane.common.actors import SYSTEM
from tests.factories import CommandFactory, EventFactory, SessionFactory
from tests.integration.api_client import Api, service_path, user_in

LISTS = ["services", "instances", "sessions", "commands", "events", "history"]


@pytest.fixture
def api():
    _, secret = create_api_token(
        actor=SYSTEM, name="narrow", user=user_in("admin"), scope=ApiToken.Scope.ADMIN, environments=["staging", "dev"]
    )
    return Api(headers={"Authorization": f"Bearer {secret}"})


def stock(environment):
    """A service of that environment with one of everything."""
    session = SessionFactory(instance__service__environment=environment)
    event = EventFactory(instance=session.instance, service=session.instance.service, kind="task.failed", task_name="t")
    command = CommandFactory(instance=session.instance)
    return session.instance, command, event


@pytest.mark.django_db
@pytest.mark.parametrize("path", LISTS)
def test_lists_hold_what_is_of_its_environments_alone(api, path):
    stock("dev"), stock("prod")

    items = api.get(path).json()["items"]

    assert [item["environment"] for item in items] == ["dev"]


@pytest.mark.django_db
@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_details_of_other_environments_do_not_exist(api, environment):
    instance, command, event = stock(environment)
    found = 200 if environment == "dev" else 404
    paths = [
        f"history/{event.pk}",
        f"instances/{instance.pk}",
        f"instances/{instance.pk}/commands",
        f"commands/{command.public_id}",
        service_path(instance.service),
        service_path(instance.service, "/tasks"),
        service_path(instance.service, "/events"),
        service_path(instance.service, "/commands"),
        service_path(instance.service, "/sessions"),
        service_path(instance.service, "/metric-windows"),
        service_path(instance.service, "/instances"),
        service_path(instance.service, f"/instances/{instance.pk}"),
    ]

    answers = {path: api.get(path, {"environment": environment}).status_code for path in paths}

    assert answers == dict.fromkeys(paths, found)


@pytest.mark.django_db
@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_commands_reach_its_environments_alone(api, environment):
    instance, command, _event = stock(environment)
    query = {"environment": environment}
    order = {"kind": "ping", "reason": "why", "target_mode": "all_online"}
    found = 200 if environment == "dev" else 404

    answers = [
        api.post(f"instances/{instance.pk}/commands", {"kind": "ping"}).status_code,
        api.post(service_path(instance.service, "/commands"), order, query).status_code,
        api.post(f"commands/{command.public_id}/cancel").status_code,
    ]

    assert answers == [found, found, found]


@pytest.mark.django_db
def test_a_filter_for_another_environment_finds_nothing(api):
    stock("prod")

    answers = [api.get(path, {"environment": "prod"}).json()["items"] for path in LISTS[1:]]

    assert answers == [[]] * 5


@pytest.mark.django_db
def test_totals_of_services_count_its_environments_alone(api):
    stock("dev"), stock("prod")

    page = api.get("services").json()

    assert (page["total"], page["summary"]["total_instances"]) == (1, 1)


@pytest.mark.django_db
def test_percentiles_are_of_its_environments_alone(api):
    for environment in ("dev", "prod"):
        instance, _command, _event = stock(environment)
        EventFactory(instance=instance, kind="task.succeeded", duration_ms=5)

    answers = [api.get("metrics/durations", query).json()["count"] for query in ({}, {"environment": "prod"})]

    assert answers == [1, 0]
