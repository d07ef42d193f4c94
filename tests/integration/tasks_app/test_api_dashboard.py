"""One service at a glance: GET .../dashboard."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import Instance
from tests.factories import (
    CommandFactory,
    EventFactory,
    InstanceFactory,
    MetricWindowFactory,
    ServiceFactory,
    SessionFactory,
    TaskFactory,
)
from tests.integration.api_client import api_as, service_path

pytestmark = pytest.mark.django_db
DEV = {"environment": "dev"}


@pytest.fixture
def api():
    return api_as("viewer")


def dashboard_of(api, service, **query):
    response = api.get(service_path(service, "/dashboard"), DEV | query)
    assert response.status_code == 200
    return response.json()


def test_an_empty_service(api):
    body = dashboard_of(api, ServiceFactory())

    assert body["instance_connectivity"] == {"total": 0, "online": 0, "offline": 0, "never_reported": 0}
    assert body["instance_statuses"] == {"ok": 0, "degraded": 0, "error": 0, "starting": 0, "unknown": 0}
    assert body["command_overview"] == {
        "statuses": {
            "pending": 0, "dispatched": 0, "accepted": 0, "expired": 0, "rejected": 0, "succeeded": 0, "failed": 0,
            "timeout": 0, "cancelled": 0, "in_flight": 0, "total": 0,
        },
        "active_session_count": 0,
        "last_command_at": None,
        "last_completed_at": None,
    }  # fmt: skip
    assert (body["topology_hashes"], body["topology_consistent"], body["recent_events"]) == ([], True, [])
    assert (body["lookback_minutes"], body["task_count"], body["failing_task_count"]) == (15, 0, 0)


def test_instances_that_take_part_are_counted_by_state(api):
    service, past = ServiceFactory(), timezone.now() - timedelta(hours=2)
    InstanceFactory.create_batch(2, service=service, online=True, health="degraded")
    InstanceFactory(service=service, offline=True, health="ok")
    InstanceFactory(service=service)
    gone = InstanceFactory(service=service, offline=True)
    Instance.objects.filter(pk=gone.pk).update(last_seen_at=past, created_at=past)
    InstanceFactory(online=True)

    body = dashboard_of(api, service)

    assert body["instance_connectivity"] == {"total": 4, "online": 2, "offline": 1, "never_reported": 1}
    assert body["instance_statuses"] == {"ok": 1, "degraded": 2, "error": 0, "starting": 0, "unknown": 1}


def test_commands_are_counted_by_status(api):
    session = SessionFactory()
    instance, now = session.instance, timezone.now().replace(microsecond=0)
    for status in ("pending", "accepted", "accepted", "succeeded", "cancelled"):
        CommandFactory(instance=instance, status=status, created_at=now - timedelta(minutes=1))
    newest = CommandFactory(instance=instance, status="failed", created_at=now, finished_at=now - timedelta(seconds=9))
    CommandFactory(status="pending")

    overview = dashboard_of(api, instance.service)["command_overview"]

    statuses = {name: count for name, count in overview["statuses"].items() if count}
    assert statuses == {
        "pending": 1, "accepted": 2, "succeeded": 1, "cancelled": 1, "failed": 1, "in_flight": 3, "total": 6,
    }  # fmt: skip
    assert overview["active_session_count"] == 1
    assert overview["last_command_at"] == now.isoformat()
    assert overview["last_completed_at"] == newest.finished_at.isoformat()


@pytest.mark.parametrize(("hashes", "consistent"), [(("a", "a"), True), (("b", "a"), False), (("a", ""), True)])
def test_topologies_of_online_instances_are_compared(api, hashes, consistent):
    service = ServiceFactory()
    for each in hashes:
        InstanceFactory(service=service, online=True, last_topology_hash=each)
    InstanceFactory(service=service, offline=True, last_topology_hash="of the past")

    body = dashboard_of(api, service)

    assert body["topology_hashes"] == sorted({each for each in hashes if each})
    assert body["topology_consistent"] is consistent


def test_figures_are_those_of_the_service(api):
    window = MetricWindowFactory(task_name="pay", fetched=30, succeeded=1, failed=1)
    TaskFactory(service=window.service, name="pay")
    EventFactory(instance=window.instance, kind="task.failed", task_name="pay")

    body = dashboard_of(api, window.service, lookback_minutes=60)
    alone = api.get(service_path(window.service), DEV).json()

    assert body["service"] == alone | {"throughput_per_min": 0.5}
    assert (body["task_count"], body["failing_task_count"]) == (1, 1)


def test_the_newest_events_come_first_and_are_limited(api):
    instance = InstanceFactory(online=True)
    now = timezone.now()
    for age in range(12):
        EventFactory(instance=instance, event_id=f"e{age}", occurred_at=now - timedelta(days=age))
    EventFactory(instance=instance, kind="instance.online", event_id="of the portal")

    def events(**query):
        return [event["event_id"] for event in dashboard_of(api, instance.service, **query)["recent_events"]]

    assert events() == [f"e{age}" for age in range(10)]
    assert events(recent_event_limit=2) == ["e0", "e1"]


@pytest.mark.parametrize(
    ("name", "value"), [("recent_event_limit", "51"), ("recent_event_limit", "0"), ("lookback_minutes", "1441")]
)
def test_limits_out_of_range_are_refused(api, name, value):
    response = api.get(service_path(ServiceFactory(), "/dashboard"), DEV | {name: value})

    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["query", name])


@pytest.mark.parametrize("count", [1, 3])
def test_dashboard_costs_the_same_for_many(api, django_assert_num_queries, count):
    service = ServiceFactory()
    TaskFactory.create_batch(count, service=service)
    for _ in range(count):
        session = SessionFactory(instance__service=service)
        CommandFactory(instance=session.instance)
        EventFactory(instance=session.instance, kind="task.failed")

    with django_assert_num_queries(14):
        body = dashboard_of(api, service)

    assert body["instance_connectivity"]["online"] == count
