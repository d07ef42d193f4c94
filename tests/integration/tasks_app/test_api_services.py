"""Services, their tasks and their metric windows, as the API shows them."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.utils import timezone

from agents.models import Instance
from agents.models.event import EventKind
from tests.factories import (
    AppSnapshotFactory,
    EventFactory,
    InstanceFactory,
    MetricWindowFactory,
    ServiceFactory,
    SessionFactory,
    TaskControlsFactory,
    TaskFactory,
    task_control,
)
from tests.integration.api_client import api_as, service_path

pytestmark = pytest.mark.django_db
DEV = {"environment": "dev"}


@pytest.fixture
def api():
    return api_as("viewer")


def ago(**kwargs):
    return timezone.now() - timedelta(**kwargs)


def stale(instance, **kwargs):
    """Let the instance have been seen last that long ago, and created then."""
    at = ago(**kwargs)
    Instance.objects.filter(pk=instance.pk).update(
        last_seen_at=at, created_at=at, connectivity="offline", last_sync_at=None
    )
    return instance


# Services.


def test_service_that_only_exists(api):
    service = ServiceFactory(name="billing")

    response = api.get("services/billing", DEV)

    assert response.status_code == 200
    assert response.json() == {
        "name": "billing",
        "environment": "dev",
        "description": None,
        "latest_deployment_version": "",
        "service_status": "offline",
        "latest_topology_hash": None,
        "latest_sync_at": None,
        "instance_count": 0,
        "online_instance_count": 0,
        "last_seen_at": None,
        "source_kinds": [],
        "task_count": 0,
        "failing_task_count": 0,
        "view_status": "stopped",
        "success_rate": 100.0,
        "throughput_per_min": 0,
        "error_count": 0,
        "uptime_reference_at": None,
        "online_task_count": 0,
        "standby_instance_count": 0,
        "created_at": service.created_at.isoformat(),
        "updated_at": service.updated_at.isoformat(),
    }


def test_service_tells_the_same_alone_and_in_the_list(api):
    service = ServiceFactory(description="pays", latest_deployment_version="2.1", latest_topology_hash="sha256:1")
    seen = InstanceFactory(service=service, online=True)
    InstanceFactory(service=service, offline=True)
    stale(InstanceFactory(service=service), hours=2)
    TaskFactory(service=service, name="pay", source_kind="interval")
    TaskFactory(service=service, name="refund", source_kind="memory_queue")
    TaskFactory(service=service, name="sourceless")
    MetricWindowFactory(
        instance=seen, task_name="pay", fetched=46, started=4, succeeded=2, failed=1, cancelled=1, timeouts=3
    )
    MetricWindowFactory(instance=seen, task_name="pay", window_ended_at=ago(minutes=16), failed=100, fetched=1000)
    EventFactory(instance=seen, kind=EventKind.TASK_FAILED, task_name="pay")
    EventFactory(instance=seen, kind=EventKind.TASK_DEAD_LETTERED, task_name="pay")
    EventFactory(instance=seen, kind=EventKind.TASK_FAILED, task_name="refund", occurred_at=ago(minutes=16))
    EventFactory(instance=seen, kind=EventKind.TASK_RETRIED, task_name="refund")

    alone = api.get(service_path(service), DEV).json()
    listed = api.get("services").json()

    assert listed["items"] == [alone]
    expected = {
        "description": "pays",
        "latest_deployment_version": "2.1",
        "latest_topology_hash": "sha256:1",
        "service_status": "attention",
        "view_status": "degraded",
        "instance_count": 2,
        "online_instance_count": 1,
        "standby_instance_count": 1,
        "source_kinds": ["interval", "memory_queue"],
        "task_count": 3,
        "failing_task_count": 1,
        "online_task_count": 2,
        "success_rate": 50.0,
        "throughput_per_min": 3.07,
        "error_count": 4,
    }
    assert {name: alone[name] for name in expected} == expected
    assert alone["last_seen_at"] == alone["uptime_reference_at"]
    assert listed["summary"] == {
        "total_services": 1,
        "online_services": 0,
        "attention_services": 1,
        "offline_services": 0,
        "ready_services": 0,
        "total_instances": 2,
        "online_instances": 1,
        "total_tasks": 3,
        "failing_tasks": 1,
    }
    assert listed["source_kind_counts"] == {"interval": 1, "memory_queue": 1}
    assert (listed["total"], listed["limit"], listed["offset"]) == (1, 50, 0)


def test_services_come_by_status_environment_and_name(api):
    for name, environment, online, offline in [
        ("z", "dev", 1, 0),
        ("b", "prod", 1, 0),
        ("a", "prod", 1, 0),
        ("c", "dev", 1, 1),
        ("d", "dev", 0, 1),
        ("e", "dev", 0, 0),
    ]:
        service = ServiceFactory(name=name, environment=environment)
        InstanceFactory.create_batch(online, service=service, online=True)
        InstanceFactory.create_batch(offline, service=service, offline=True)

    body = api.get("services").json()

    assert [(item["name"], item["service_status"]) for item in body["items"]] == [
        ("z", "online"),
        ("a", "online"),
        ("b", "online"),
        ("c", "attention"),
        ("d", "offline"),
        ("e", "offline"),
    ]


def test_instance_that_is_online_counts_however_long_the_portal_was_away(api):
    service = ServiceFactory()
    instance = InstanceFactory(service=service, online=True)
    Instance.objects.update(last_seen_at=ago(hours=5))

    body = api.get(service_path(service), DEV).json()

    assert (body["instance_count"], body["online_instance_count"], body["service_status"]) == (1, 1, "online")
    assert api.get(service_path(service, "/instances"), DEV).json()["items"][0]["instance_id"] == str(instance.pk)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["Billing", "other", "shop"]),
        ({"environment": "prod"}, ["shop"]),
        ({"q": "ILL"}, ["Billing"]),
        ({"q": "  ill "}, ["Billing"]),
        ({"q": ""}, ["Billing", "other", "shop"]),
        ({"q": "%"}, []),
        ({"source_kind": "cron"}, ["other"]),
        ({"source_kind": "unheard"}, []),
        ({"environment": "dev", "limit": 1}, ["Billing"]),
        ({"environment": "dev", "limit": 1, "offset": 1}, ["other"]),
        ({"offset": 3}, []),
        ({"unknown": "ignored"}, ["Billing", "other", "shop"]),
    ],
)
def test_services_are_narrowed(api, query, names):
    ServiceFactory(name="Billing")
    TaskFactory(service=ServiceFactory(name="other"), source_kind="cron")
    ServiceFactory(name="shop", environment="prod")

    body = api.get("services", query).json()

    assert [item["name"] for item in body["items"]] == names


def test_totals_are_of_all_pages_and_of_what_is_asked_for(api):
    TaskFactory(service=InstanceFactory(online=True).service, source_kind="cron")
    TaskFactory(service=InstanceFactory(online=True).service, source_kind="interval")
    ServiceFactory(environment="prod")

    body = api.get("services", {"environment": "dev", "limit": 1}).json()
    narrowed = api.get("services", {"environment": "dev", "source_kind": "cron"}).json()

    assert (body["total"], len(body["items"])) == (2, 1)
    assert (body["summary"]["total_services"], body["summary"]["total_tasks"]) == (2, 2)
    assert (narrowed["total"], narrowed["summary"]["total_tasks"]) == (1, 1)
    assert narrowed["source_kind_counts"] == {"cron": 1, "interval": 1}


@pytest.mark.parametrize("count", [1, 3])
def test_service_list_costs_the_same_for_many(api, django_assert_num_queries, count):
    for _ in range(count):
        window = MetricWindowFactory()
        TaskFactory(service=window.instance.service)
        EventFactory(instance=window.instance, kind=EventKind.TASK_FAILED)
    api.get("services")

    # Token, role, totals, failing and all tasks, kinds of source, the page, its windows, events and tasks.
    with django_assert_num_queries(9):
        body = api.get("services").json()

    assert len(body["items"]) == count


def test_service_that_never_told_its_tasks_shows_those_that_it_reported(api):
    window = MetricWindowFactory(task_name="a")
    EventFactory(instance=window.instance, task_name="b")
    EventFactory(instance=window.instance, task_name="", kind=EventKind.INSTANCE_ONLINE)
    EventFactory(instance=window.instance, task_name="old", occurred_at=ago(days=2))

    service = window.instance.service

    assert api.get(service_path(service), DEV).json()["task_count"] == 2
    tasks = api.get(service_path(service, "/tasks"), DEV).json()
    assert sorted(item["task_name"] for item in tasks["items"]) == ["a", "b"]


BELOW = [
    "",
    "/dashboard",
    "/tasks",
    "/tasks/t",
    "/tasks/t/events",
    "/instances",
    "/metric-windows",
    "/events",
    "/commands",
    "/sessions",
]


@pytest.mark.parametrize("rest", BELOW)
@pytest.mark.parametrize("query", [{}, {"environment": "qa"}, {"environment": ""}, {"environment": "DEV"}])
def test_environment_is_needed_below_a_service(api, rest, query):
    service = ServiceFactory()

    response = api.get(service_path(service, rest), query)

    assert response.status_code == 422
    assert [(problem["type"], problem["loc"]) for problem in response.json()["detail"]] == [
        ("enum" if query else "missing", ["query", "environment"])
    ]


@pytest.mark.parametrize("rest", BELOW)
def test_unknown_service(api, rest):
    ServiceFactory(name="ghost", environment="prod")

    response = api.get(f"services/ghost{rest}", DEV)

    assert (response.status_code, response.json()) == (404, {"detail": "service ghost/dev was not found"})


# Tasks.


@pytest.mark.parametrize(
    ("events", "timeouts", "errors"),
    [
        # A dead-lettered delivery is told as dead_lettered and as failed: once it counts.
        ([("dead_lettered", "error"), ("failed", "error")], 0, 1),
        ([("dead_lettered", "error")], 0, 1),
        ([("failed", "error"), ("dead_lettered", "error"), ("failed", "error")], 0, 2),
        # A timeout that failed for good is one of the failures; one that was tried again counts by itself.
        ([("failed", "timeout")], 1, 1),
        ([("failed", "timeout")], 3, 3),
        ([("failed", "error")], 2, 3),
        ([], 2, 2),
    ],
)
def test_each_failure_of_a_task_counts_once(api, events, timeouts, errors):
    window = MetricWindowFactory(task_name="pay", timeouts=timeouts)
    for kind, failure_kind in events:
        EventFactory(instance=window.instance, kind=f"task.{kind}", task_name="pay", failure_kind=failure_kind)

    service = window.service
    (task,) = api.get(service_path(service, "/tasks"), DEV).json()["items"]
    alone = api.get(service_path(service), DEV).json()

    assert (task["error_count"], alone["error_count"]) == (errors, errors)


@pytest.mark.parametrize(
    ("counters", "rate"),
    [
        ({"succeeded": 8, "failed": 2, "dead_lettered": 2}, 80.0),
        ({"succeeded": 8, "failed": 2, "dead_lettered": 1}, 80.0),
        ({"succeeded": 8, "dead_lettered": 2}, 80.0),
        ({"succeeded": 1, "failed": 1, "cancelled": 2}, 25.0),
        ({}, 100.0),
    ],
)
def test_success_rate_counts_each_delivery_once(api, counters, rate):
    window = MetricWindowFactory(task_name="pay", **counters)

    assert api.get(service_path(window.service), DEV).json()["success_rate"] == rate


@pytest.mark.parametrize(("fetched", "per_minute"), [(0, 0), (1, 0.07), (7, 0.47), (150, 10)])
def test_throughput_of_a_slow_service_is_not_nothing(api, fetched, per_minute):
    window = MetricWindowFactory(task_name="pay", fetched=fetched)

    assert api.get(service_path(window.service), DEV).json()["throughput_per_min"] == per_minute


def test_task_with_all_that_is_known_of_it(api):
    session = SessionFactory()
    instance, service = session.instance, session.instance.service
    TaskFactory(
        service=service,
        name="pay",
        description="pays bills",
        source_name="every minute",
        source_kind="interval",
        source_config={"seconds": 60},
        emit=[{"kind": "memory_queue", "name": "done", "config": {}}],
        concurrency=4,
        timeout_s=1.5,
        retry_policy={"kind": "max_attempts", "config": {"max_attempts": 3, "delay_s": 1}},
        topology_hash="sha256:1",
    )
    TaskControlsFactory(
        instance=instance, controls=[task_control("pay", supported_commands=["pause_task", "run_task_once"])]
    )
    now = timezone.now().replace(microsecond=0)
    first = MetricWindowFactory(
        instance=instance, task_name="pay", window_ended_at=now - timedelta(minutes=2),
        fetched=31, started=3, succeeded=2, failed=1, timeouts=1, avg_duration_ms=10, p95_duration_ms=50,
    )  # fmt: skip
    second = MetricWindowFactory(
        instance=instance, task_name="pay", window_ended_at=now - timedelta(minutes=1),
        fetched=1, started=1, succeeded=1, avg_duration_ms=30, p95_duration_ms=40,
    )  # fmt: skip
    MetricWindowFactory(instance=instance, task_name="other", started=9)
    event = EventFactory(instance=instance, task_name="pay", kind=EventKind.TASK_FAILED, occurred_at=now)
    EventFactory(instance=instance, task_name="pay", occurred_at=now - timedelta(minutes=20))

    body = api.get(service_path(service, "/tasks"), {**DEV, "task_name": "pay"}).json()

    assert (body["total"], body["limit"], body["offset"], body["lookback_minutes"]) == (1, 50, 0, 15)
    assert body["items"] == [
        {
            "task_name": "pay",
            "description": "pays bills",
            "source_name": "every minute",
            "source_kind": "interval",
            "source_config": {"seconds": 60},
            "emit": [{"kind": "memory_queue", "name": "done", "config": {}}],
            "concurrency": 4,
            "timeout_s": 1.5,
            "retry_policy": {"kind": "max_attempts", "config": {"max_attempts": 3, "delay_s": 1}},
            "topology_hash": "sha256:1",
            "metric_window_count": 2,
            "latest_window_started_at": second.window_started_at.isoformat(),
            "latest_window_ended_at": second.window_ended_at.isoformat(),
            "fetched": 32,
            "started": 4,
            "succeeded": 3,
            "retried": 0,
            "failed": 1,
            "dead_lettered": 0,
            "cancelled": 0,
            "timeouts": 1,
            "weighted_avg_duration_ms": 15.0,
            "max_p95_duration_ms": 50.0,
            "last_event_at": event.occurred_at.isoformat(),
            "event_counts": {
                "started": 0,
                "succeeded": 0,
                "retried": 0,
                "failed": 1,
                "dead_lettered": 0,
                "cancelled": 0,
            },
            "pause_requested": False,
            "supported_commands": ["pause_task", "run_task_once"],
            "view_status": "failed",
            "success_rate": 75.0,
            "throughput_per_min": 2.13,
            "error_count": 2,
            "retry_attempts": 3,
            "source_label": "every minute",
            "sink_label": "done",
            "config_yaml": 'id: "pay"\n'
            'topology_hash: "sha256:1"\n'
            "concurrency: 4\n"
            "timeout_s: 1.5\n"
            "retry:\n"
            '  kind: "max_attempts"\n'
            '  config: {"delay_s": 1, "max_attempts": 3}\n'
            "source:\n"
            '  kind: "interval"\n'
            '  name: "every minute"\n'
            '  config: {"seconds": 60}\n'
            "sink:\n"
            '  kind: "memory_queue"\n'
            '  name: "done"\n'
            "  config: {}\n",
            "uptime_reference_at": event.occurred_at.isoformat(),
        }
    ]
    assert first.window_ended_at < second.window_ended_at


def test_task_that_was_only_defined(api):
    service = ServiceFactory()
    TaskFactory(service=service, name="pay")

    (item,) = api.get(service_path(service, "/tasks"), DEV).json()["items"]

    unknown = (
        "description", "source_name", "source_kind", "source_config", "concurrency", "timeout_s", "retry_policy",
        "topology_hash", "latest_window_started_at", "latest_window_ended_at", "weighted_avg_duration_ms",
        "max_p95_duration_ms", "last_event_at", "pause_requested", "source_label", "sink_label", "uptime_reference_at",
    )  # fmt: skip
    assert {name for name, value in item.items() if value is None} == set(unknown)
    assert (item["emit"], item["supported_commands"], item["retry_attempts"]) == ([], [], 0)
    assert (item["view_status"], item["success_rate"]) == ("offline", 100.0)


def status_of(api, service):
    (item,) = api.get(service_path(service, "/tasks"), DEV).json()["items"]
    return item["view_status"]


def test_task_status_is_the_gravest_that_holds(api):
    session = SessionFactory()
    service = session.instance.service
    TaskFactory(service=service, name="pay")

    seen = [status_of(api, service)]
    MetricWindowFactory(instance=session.instance, task_name="pay", succeeded=1)
    seen.append(status_of(api, service))
    EventFactory(instance=session.instance, task_name="pay", kind=EventKind.TASK_DEAD_LETTERED)
    seen.append(status_of(api, service))
    TaskControlsFactory(instance=session.instance, controls=[task_control("pay", pause_requested=True)])
    seen.append(status_of(api, service))

    assert seen == ["idle", "running", "failed", "paused"]


def test_pause_and_commands_are_those_of_online_instances(api):
    service = ServiceFactory()
    TaskFactory(service=service, name="pay")
    SessionFactory(
        instance=TaskControlsFactory(
            instance__service=service, controls=[task_control("pay", supported_commands=["pause_task"])]
        ).instance,
        accepted_capabilities=["command.pause_task", "command.run_task_once"],
    )
    SessionFactory(
        instance=TaskControlsFactory(
            instance__service=service,
            controls=[task_control("pay", pause_requested=True, supported_commands=["run_task_once", "resume_task"])],
        ).instance,
        accepted_capabilities=["command.run_task_once"],
    )
    offline = InstanceFactory(service=service, offline=True)
    TaskControlsFactory(instance=offline, controls=[task_control("gone")])

    body = api.get(service_path(service, "/tasks"), DEV).json()

    assert [item["task_name"] for item in body["items"]] == ["pay"]
    assert body["items"][0]["pause_requested"] is True
    assert body["items"][0]["supported_commands"] == ["pause_task", "run_task_once"]


def test_task_that_only_an_online_instance_knows_is_shown(api):
    instance = TaskControlsFactory(controls=[task_control("fresh")]).instance
    TaskFactory(service=instance.service, name="pay")

    body = api.get(service_path(instance.service, "/tasks"), DEV).json()

    assert [item["task_name"] for item in body["items"]] == ["pay", "fresh"]


def test_unknown_state_offers_what_every_agent_can(api):
    session = SessionFactory()
    TaskFactory(service=session.instance.service, name="pay")

    (item,) = api.get(service_path(session.instance.service, "/tasks"), DEV).json()["items"]

    assert item["supported_commands"] == ["pause_task", "resume_task", "restart_task"]
    assert item["pause_requested"] is None


def test_tasks_come_by_activity_then_name_backwards(api):
    instance = InstanceFactory(online=True)
    for name in ("a", "b", "c", "d"):
        TaskFactory(service=instance.service, name=name)
    EventFactory(instance=instance, task_name="b", occurred_at=ago(days=3))
    MetricWindowFactory(instance=instance, task_name="c", window_ended_at=ago(minutes=1))

    body = api.get(service_path(instance.service, "/tasks"), DEV).json()
    page = api.get(service_path(instance.service, "/tasks"), {**DEV, "limit": 2, "offset": 1}).json()

    assert [item["task_name"] for item in body["items"]] == ["c", "b", "d", "a"]
    assert [item["task_name"] for item in page["items"]] == ["b", "d"]
    assert (page["total"], page["limit"], page["offset"]) == (4, 2, 1)


def test_lookback_is_what_is_asked_for(api):
    window = MetricWindowFactory(window_ended_at=ago(minutes=30), fetched=120, started=1)
    TaskFactory(service=window.instance.service, name="sync")

    short = api.get(service_path(window.instance.service, "/tasks"), DEV).json()
    long = api.get(service_path(window.instance.service, "/tasks"), {**DEV, "lookback_minutes": 60}).json()

    assert (short["items"][0]["fetched"], long["items"][0]["fetched"]) == (0, 120)
    assert long["items"][0]["throughput_per_min"] == 2
    assert long["lookback_minutes"] == 60
    started = datetime.fromisoformat(long["lookback_started_at"])
    assert timedelta(minutes=59) < timezone.now() - started < timedelta(minutes=61)


@pytest.mark.parametrize("count", [1, 3])
def test_task_list_costs_the_same_for_many(api, django_assert_num_queries, count):
    service = ServiceFactory()
    for number in range(count):
        name = f"task-{number}"
        TaskFactory(service=service, name=name)
        session = SessionFactory(instance=InstanceFactory(service=service, online=True))
        TaskControlsFactory(instance=session.instance, controls=[task_control(name)])
        MetricWindowFactory(instance=session.instance, task_name=name)
        EventFactory(instance=session.instance, task_name=name)
    api.get("services")

    with django_assert_num_queries(8):
        body = api.get(service_path(service, "/tasks"), DEV).json()

    assert len(body["items"]) == count


def test_task_in_detail(api):
    session = SessionFactory()
    service = session.instance.service
    TaskFactory(service=service, name="pay", source_name="queue")
    TaskControlsFactory(instance=session.instance, controls=[task_control("pay", paused=True, inflight_task_count=2)])
    silent = InstanceFactory(service=service)
    window = MetricWindowFactory(
        instance=session.instance, task_name="pay", started=2, inflight=3, avg_duration_ms=5.5, p95_duration_ms=9
    )
    MetricWindowFactory(instance=session.instance, task_name="other")
    event = EventFactory(instance=session.instance, task_name="pay")
    EventFactory(instance=session.instance, task_name="other")

    body = api.get(service_path(service, "/tasks/pay"), {**DEV, "lookback_minutes": 5}).json()

    assert set(body) == {
        "service", "task_name", "lookback_minutes", "lookback_started_at", "summary", "task_control",
        "recent_metric_points", "recent_metric_windows", "recent_events",
    }  # fmt: skip
    assert (body["service"]["name"], body["task_name"], body["summary"]["task_name"]) == (service.name, "pay", "pay")
    controls = {control["instance_id"]: control for control in body["task_control"]["instances"]}
    assert controls[str(session.instance_id)] == {
        "instance_id": str(session.instance_id),
        "node_name": session.instance.node_name,
        "connectivity": "online",
        "status": "ok",
        "last_seen_at": session.instance.last_seen_at.isoformat(),
        "supported_commands": [
            "pause_task", "resume_task", "restart_task", "run_task_once", "replay_dead_letters", "discard_dead_letters",
        ],
        "state_known": True,
        "pause_requested": False,
        "paused": True,
        "accepting_new_work": True,
        "runner_count": 1,
        "parked_runner_count": 0,
        "fetching_runner_count": 1,
        "inflight_task_count": 2,
    }  # fmt: skip
    assert controls[str(silent.pk)] == {
        "instance_id": str(silent.pk),
        "node_name": silent.node_name,
        "connectivity": "never_reported",
        "status": "unknown",
        "last_seen_at": None,
        "supported_commands": [],
        "state_known": False,
        **dict.fromkeys(
            ("pause_requested", "paused", "accepting_new_work", "runner_count", "parked_runner_count",
             "fetching_runner_count", "inflight_task_count")
        ),
    }  # fmt: skip
    assert [item["window_id"] for item in body["recent_metric_windows"]] == [window.window_id]
    assert [(item["event_id"], item["source_label"]) for item in body["recent_events"]] == [(event.event_id, "queue")]
    points = body["recent_metric_points"]
    assert len(points) == 5
    minute = window.window_ended_at.replace(second=0, microsecond=0)
    (filled,) = [point for point in points if point["reported_window_count"]]
    assert filled == {
        "bucket_started_at": minute.isoformat(),
        "bucket_ended_at": (minute + timedelta(minutes=1)).isoformat(),
        "reported_window_count": 1,
        "fetched": 0,
        "started": 2,
        "succeeded": 0,
        "retried": 0,
        "failed": 0,
        "dead_lettered": 0,
        "cancelled": 0,
        "timeouts": 0,
        "inflight": 3,
        "avg_duration_ms": 5.5,
        "p95_duration_ms": 9.0,
    }
    starts = [datetime.fromisoformat(point["bucket_started_at"]) for point in points]
    assert [later - earlier for earlier, later in pairwise(starts)] == [timedelta(minutes=1)] * 4


def test_unknown_task(api):
    service = TaskFactory(name="pay").service

    response = api.get(service_path(service, "/tasks/refund"), DEV)

    assert (response.status_code, response.json()) == (
        404,
        {"detail": f"task refund was not found for service {service.name}/dev"},
    )


# Metric windows.


def test_metric_window(api):
    window = MetricWindowFactory(fetched=1, inflight=2, avg_duration_ms=1.25)

    body = api.get(service_path(window.instance.service, "/metric-windows"), DEV).json()

    assert body == {
        "total": 1,
        "limit": 50,
        "offset": 0,
        "items": [
            {
                "instance_id": str(window.instance_id),
                "task_name": "sync",
                "window_id": window.window_id,
                "window_started_at": window.window_started_at.isoformat(),
                "window_ended_at": window.window_ended_at.isoformat(),
                "fetched": 1,
                "started": 0,
                "succeeded": 0,
                "retried": 0,
                "failed": 0,
                "dead_lettered": 0,
                "cancelled": 0,
                "timeouts": 0,
                "inflight": 2,
                "avg_duration_ms": 1.25,
                "p95_duration_ms": None,
                "received_at": window.received_at.isoformat(),
                "created_at": window.received_at.isoformat(),
            }
        ],
    }


def test_metric_windows_are_ordered_and_narrowed(api):
    service = ServiceFactory()
    one, two = InstanceFactory.create_batch(2, service=service)
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    for instance, task_name, window_id, minutes in [
        (one, "a", "w1", 0),
        (two, "a", "w2", 0),
        (one, "b", "w0", 0),
        (one, "a", "w9", 1),
    ]:
        MetricWindowFactory(
            instance=instance, task_name=task_name, window_id=window_id, window_ended_at=at + timedelta(minutes=minutes)
        )
    MetricWindowFactory()

    def ids(**query):
        body = api.get(service_path(service, "/metric-windows"), {**DEV, **query}).json()
        return [item["window_id"] for item in body["items"]]

    assert ids() == ["w9", "w1", "w2", "w0"]
    assert ids(task_name="b") == ["w0"]
    assert ids(instance_id=str(two.pk)) == ["w2"]
    assert ids(ended_after=(at + timedelta(minutes=1)).isoformat()) == ["w9"]
    assert ids(ended_before=at.isoformat()) == ["w1", "w2", "w0"]
    assert ids(limit=2, offset=1) == ["w1", "w2"]


# Instances of a service.


def test_instance_of_a_service(api):
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    service = ServiceFactory()
    instance = InstanceFactory(
        service=service, online=True, node_name="n1", hostname="h1", pid=42, deployment_version="2.1",
        agent_version="1.15.0", python_version="3.11.7", started_at=at, last_sync_at=at, last_topology_hash="sha256:1",
        last_heartbeat_sent_at=at, last_heartbeat_sequence=7,
    )  # fmt: skip
    session = SessionFactory(instance=instance, connected_at=at, capabilities=["a"], accepted_capabilities=["b"])
    SessionFactory(instance=instance, status="superseded")

    body = api.get(service_path(service, "/instances"), DEV).json()

    instance.refresh_from_db()
    session.refresh_from_db()
    assert (body["total"], body["limit"], body["offset"]) == (1, 50, 0)
    assert body["items"] == [
        {
            "instance_id": str(instance.pk),
            "node_name": "n1",
            "hostname": "h1",
            "pid": 42,
            "deployment_version": "2.1",
            "onestep_version": "1.15.0",
            "python_version": "3.11.7",
            "started_at": "2026-01-02T03:04:05+00:00",
            "last_sync_at": "2026-01-02T03:04:05+00:00",
            "last_topology_hash": "sha256:1",
            "last_heartbeat_sent_at": "2026-01-02T03:04:05+00:00",
            "last_heartbeat_sequence": 7,
            "last_seen_at": instance.last_seen_at.isoformat(),
            "status": "ok",
            "connectivity": "online",
            "active_session": {
                "session_id": f"sess_{session.pk.hex}",
                "instance_id": str(instance.pk),
                "node_name": "n1",
                "hostname": "h1",
                "status": "active",
                "protocol_version": "1",
                "capabilities": ["a"],
                "accepted_capabilities": ["b"],
                "connected_at": "2026-01-02T03:04:05+00:00",
                "last_hello_at": "2026-01-02T03:04:05+00:00",
                "last_message_at": "2026-01-02T03:04:05+00:00",
                "superseded_at": None,
                "disconnected_at": None,
                "created_at": session.created_at.isoformat(),
                "updated_at": session.updated_at.isoformat(),
            },
            "view_status": "running",
            "created_at": instance.created_at.isoformat(),
            "updated_at": instance.updated_at.isoformat(),
        }
    ]


@pytest.mark.parametrize(
    ("connectivity", "health", "view_status"),
    [
        ("online", "ok", "running"),
        ("online", "starting", "starting"),
        ("online", "error", "failed"),
        ("online", "degraded", "running"),
        ("online", "unknown", "stopped"),
        ("offline", "ok", "stopped"),
        ("never_reported", "ok", "stopped"),
    ],
)
def test_view_status_of_an_instance(api, connectivity, health, view_status):
    instance = InstanceFactory(connectivity=connectivity, health=health)

    (item,) = api.get(service_path(instance.service, "/instances"), DEV).json()["items"]

    assert item["view_status"] == view_status


def test_instances_of_a_service_are_ordered_and_narrowed(api):
    service = ServiceFactory()
    now = timezone.now()
    newest = InstanceFactory(service=service, online=True, health="degraded", last_seen_at=now)
    older = InstanceFactory(service=service, offline=True, last_seen_at=now - timedelta(minutes=5))
    never = sorted(InstanceFactory.create_batch(2, service=service), key=lambda instance: instance.pk)
    stale(InstanceFactory(service=service), hours=1, seconds=5)

    def ids(**query):
        body = api.get(service_path(service, "/instances"), {**DEV, **query}).json()
        return [item["instance_id"] for item in body["items"]]

    assert ids() == [str(instance.pk) for instance in (newest, older, *never)]
    assert ids(connectivity="online") == [str(newest.pk)]
    assert ids(connectivity="never_reported") == [str(instance.pk) for instance in never]
    assert ids(status="degraded") == [str(newest.pk)]
    assert ids(limit=1, offset=1) == [str(older.pk)]


@pytest.mark.parametrize("count", [1, 3])
def test_instance_list_costs_the_same_for_many(api, django_assert_num_queries, count):
    service = ServiceFactory()
    for _ in range(count):
        SessionFactory(instance=InstanceFactory(service=service, online=True))
    api.get("services")

    # Token, role, service, count, page, sessions.
    with django_assert_num_queries(5):
        body = api.get(service_path(service, "/instances"), DEV).json()

    assert len(body["items"]) == count


def test_instance_in_detail(api):
    snapshot = AppSnapshotFactory(app={"name": "billing", "tasks": [{"name": "pay"}]})
    instance = snapshot.instance
    TaskControlsFactory(instance=instance, controls=[task_control("pay")])
    TaskFactory(service=instance.service, name="pay", source_config={"queue": "bills"})
    session = SessionFactory(instance=instance, status="disconnected")
    window = MetricWindowFactory(instance=instance, task_name="pay")
    MetricWindowFactory(instance=instance, window_ended_at=ago(hours=1))
    event = EventFactory(instance=instance, task_name="pay")
    EventFactory(instance=InstanceFactory(service=instance.service), task_name="pay")

    body = api.get(service_path(instance.service, f"/instances/{instance.pk}"), DEV).json()

    assert set(body) == {
        "service", "lookback_minutes", "lookback_started_at", "instance", "latest_session", "app_snapshot",
        "recent_metric_windows", "recent_events",
    }  # fmt: skip
    assert body["service"]["task_count"] == 1
    assert (body["instance"]["instance_id"], body["instance"]["active_session"]) == (str(instance.pk), None)
    assert body["latest_session"]["session_id"] == session.public_id
    assert body["app_snapshot"] == {
        "name": "billing",
        "tasks": [{"name": "pay"}],
        "task_control_states": [task_control("pay")],
    }
    assert [item["window_id"] for item in body["recent_metric_windows"]] == [window.window_id]
    assert [(item["event_id"], item["source_label"]) for item in body["recent_events"]] == [(event.event_id, "bills")]


def test_instance_in_detail_that_never_said_anything(api):
    instance = stale(InstanceFactory(), days=9)

    body = api.get(service_path(instance.service, f"/instances/{instance.pk}"), DEV).json()

    assert (body["latest_session"], body["app_snapshot"]) == (None, None)
    assert (body["recent_metric_windows"], body["recent_events"]) == ([], [])


def test_instance_of_another_service_is_unknown(api):
    instance, service = InstanceFactory(), ServiceFactory()

    response = api.get(service_path(service, f"/instances/{instance.pk}"), DEV)

    assert (response.status_code, response.json()) == (
        404,
        {"detail": f"instance {instance.pk} was not found for service {service.name}/dev"},
    )


# What a query may say.


@pytest.mark.parametrize(
    ("rest", "name", "value", "problem"),
    [
        ("", "limit", None, None),
        ("/tasks", "limit", "0", "greater_than_equal"),
        ("/tasks", "limit", "201", "less_than_equal"),
        ("/tasks", "limit", "x", "int_parsing"),
        ("/tasks", "limit", "", "int_parsing"),
        ("/tasks", "limit", "1.0", "int_parsing"),
        ("/tasks", "limit", "١", "int_parsing"),
        ("/tasks", "limit", "9" * 30, "int_parsing"),
        ("/tasks", "limit", "200", None),
        ("/tasks", "offset", "-1", "greater_than_equal"),
        ("/tasks", "offset", str(2**31), "less_than_equal"),
        ("/tasks", "lookback_minutes", "0", "greater_than_equal"),
        ("/tasks", "lookback_minutes", "1441", "less_than_equal"),
        ("/tasks", "lookback_minutes", "1440", None),
        ("/instances", "connectivity", "away", "enum"),
        ("/instances", "status", "fine", "enum"),
        ("/instances", "offset", str(2**31 - 1), None),
        ("/sessions", "status", "open", "enum"),
        ("/sessions", "instance_id", "x", "uuid_parsing"),
        ("/commands", "kind", "reboot", "enum"),
        ("/commands", "status", "done", "enum"),
        ("/events", "kind", "fetched", "enum"),
        ("/events", "kind", "task.failed", "enum"),
        ("/events", "instance_id", "x", "uuid_parsing"),
        ("/events", "occurred_after", "yesterday", "datetime_parsing"),
        ("/events", "occurred_after", "2026-13-01", "datetime_parsing"),
        ("/events", "occurred_after", "0001-01-01T00:00:00+23:00", "datetime_parsing"),
        ("/events", "occurred_after", "9999-12-31T23:59:59-23:00", "datetime_parsing"),
        ("/events", "occurred_after", "999999999999", "datetime_parsing"),
        ("/events", "occurred_after", "0001-01-01T00:00:00Z", None),
        ("/events", "occurred_before", "9999-12-31T23:59:59Z", None),
        ("/events", "occurred_before", "2026-01-02", None),
        ("/events", "task_name", "a\0b", "string_unstorable"),
        ("/events", "unheard\0of", "x", "string_unstorable"),
        ("/metric-windows", "ended_after", "1", None),
    ],
)
def test_query_is_checked(api, rest, name, value, problem):
    service = ServiceFactory()
    query = DEV if value is None else {**DEV, name: value}

    response = api.get(service_path(service, rest), query)

    if problem is None:
        assert response.status_code == 200, response.content
    else:
        assert response.status_code == 422
        assert [(each["type"], each["loc"]) for each in response.json()["detail"]] == [
            (problem, ["query", name.replace("\0", "\ufffd")])
        ]


@pytest.mark.parametrize("limit", ["0", "101", "x"])
@pytest.mark.parametrize("name", ["metric_window_limit", "event_limit"])
def test_recent_limits_are_checked(api, name, limit):
    service = TaskFactory(name="pay").service

    assert api.get(service_path(service, "/tasks/pay"), {**DEV, name: limit}).status_code == 422
