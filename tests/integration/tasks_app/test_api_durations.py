"""Percentiles of task durations: GET /api/v1/metrics/durations and .../series."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.models import Event
from tasks_app.selectors import durations as selector
from tasks_app.selectors.durations import Durations, Group, duration_series, durations
from tests.factories import EventFactory, InstanceFactory, ServiceFactory
from tests.integration.api_client import api_as

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = {"started_at": START.isoformat(), "ended_at": (START + timedelta(hours=1)).isoformat()}


@pytest.fixture
def api():
    return api_as("viewer")


def ran(instance, duration_ms, *, minute=0.0, **fields):
    at = START + timedelta(minutes=minute)
    return EventFactory(
        instance=instance, duration_ms=duration_ms, **{"kind": "task.succeeded", "occurred_at": at} | fields
    )


def figures(api, query=None, path="metrics/durations"):
    response = api.get(path, HOUR | (query or {}))
    assert response.status_code == 200, response.content
    return response.json()


def nearest_rank(values, share):
    return sorted(values)[math.ceil(len(values) * share) - 1]


@pytest.fixture
def many_instances():
    return InstanceFactory.create_batch(3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 10**12), st.integers(0, 3599)), max_size=40))
def test_percentiles_are_those_of_the_single_durations(many_instances, told):
    Event.objects.all().delete()
    Event.objects.bulk_create(
        Event(
            event_id=f"e{number}", kind="task.succeeded", occurred_at=START + timedelta(seconds=second),
            received_at=START, instance=many_instances[place], service=many_instances[place].service,
            task_name="t", duration_ms=duration_ms,
        )
        for number, (place, duration_ms, second) in enumerate(told)
    )  # fmt: skip
    group = Group(started_at=START, ended_at=START + timedelta(hours=1))

    whole = durations(group)
    width_s, buckets = duration_series(group, width_s=600)

    def expected(values):
        if not values:
            return Durations()
        return Durations(len(values), min(values), *(nearest_rank(values, p) for p in (0.5, 0.95, 0.99)), max(values))

    assert whole == expected([duration_ms for _, duration_ms, _ in told])
    assert width_s == 600
    assert [bucket.durations for bucket in buckets] == [
        expected([duration_ms for _, duration_ms, second in told if second // 600 == number]) for number in range(6)
    ]


def test_what_the_answer_looks_like(api):
    instance = InstanceFactory()
    for duration_ms in range(1, 101):
        ran(instance, duration_ms)

    assert figures(api) == HOUR | {"count": 100, "min_ms": 1, "p50_ms": 50, "p95_ms": 95, "p99_ms": 99, "max_ms": 100}


def test_an_empty_stretch(api):
    nothing = {"count": 0, "min_ms": None, "p50_ms": None, "p95_ms": None, "p99_ms": None, "max_ms": None}

    assert figures(api) == HOUR | nothing


@pytest.mark.parametrize(
    ("kind", "outcome", "counts"),
    [
        ("task.succeeded", None, 1),
        ("task.retried", None, 1),
        ("task.failed", None, 1),
        # Told beside failed, of the same delivery.
        ("task.dead_lettered", None, 0),
        ("task.started", None, 0),
        ("task.failed", ["failed", "retried"], 1),
        ("task.failed", ["succeeded"], 0),
    ],
)
def test_which_deliveries_count(api, kind, outcome, counts):
    ran(InstanceFactory(), 5, kind=kind)

    assert figures(api, {"outcome": outcome} if outcome else {})["count"] == counts


def test_the_stretch_holds_its_beginning_and_not_its_end(api):
    instance = InstanceFactory()
    for minute in (-0.001, 0, 59.999, 60):
        ran(instance, 1, minute=minute)

    assert figures(api)["count"] == 2


def test_groups_of_instances_tasks_services_and_environments(api):
    prod, dev = ServiceFactory(environment="prod"), ServiceFactory()
    first, second, third = (InstanceFactory(service=service) for service in (prod, prod, dev))
    ran(first, 10, task_name="a"), ran(second, 20, task_name="a"), ran(third, 40, task_name="b")

    def longest(**query):
        found = figures(api, query)
        return found["count"], found["max_ms"]

    assert longest() == (3, 40)
    assert longest(environment="prod") == (2, 20)
    assert longest(environment="prod", service=prod.name) == (2, 20)
    assert longest(environment="prod", service=prod.name, task_name="b") == (0, None)
    assert longest(task_name="a") == (2, 20)
    assert longest(task_name="a", environment="dev") == (0, None)
    assert longest(task_name="nobody's") == (0, None)
    assert longest(instance_id=[str(first.pk), str(third.pk)]) == (2, 40)


def test_a_series_marks_its_gaps(api):
    instance = InstanceFactory()
    ran(instance, 10, minute=1), ran(instance, 30, minute=2), ran(instance, 50, minute=40)

    body = figures(api, {"bucket_s": 1200}, "metrics/durations/series")

    assert [(point["count"], point["p50_ms"], point["max_ms"], point["is_gap"]) for point in body["points"]] == [
        (2, 10, 30, False),
        (0, None, None, True),
        (1, 50, 50, False),
    ]
    assert body["points"][0]["started_at"] == HOUR["started_at"]
    assert body["points"][-1]["ended_at"] == HOUR["ended_at"]


@pytest.mark.parametrize(
    ("minutes", "bucket_s"), [(15, 10), (60, 30), (24 * 60, 900), (30 * 24 * 60, 6 * 3600), (399 * 24 * 60, 86400)]
)
def test_the_width_of_buckets_fits_the_stretch(api, minutes, bucket_s):
    end = START + timedelta(minutes=minutes)

    body = figures(api, {"ended_at": end.isoformat()}, "metrics/durations/series")

    assert body["bucket_s"] == bucket_s
    assert body["points"][0]["started_at"] <= body["started_at"]
    assert body["points"][-1]["ended_at"] >= body["ended_at"]
    assert len(body["points"]) <= 401


def test_buckets_are_the_same_whenever_they_are_asked_for(api):
    ran(InstanceFactory(), 7, minute=30)
    later = {"started_at": (START + timedelta(seconds=7)).isoformat(), "bucket_s": 300}

    whole = figures(api, {"bucket_s": 300}, "metrics/durations/series")["points"]

    assert figures(api, later, "metrics/durations/series")["points"] == whole


def test_without_times_the_last_hour_counts(api):
    instance, now = InstanceFactory(), timezone.now()
    for minutes in (1, 59, 61):
        ran(instance, 1, occurred_at=now - timedelta(minutes=minutes))

    assert api.get("metrics/durations").json()["count"] == 2


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"service": "x"}, "environment"),
        ({"started_at": HOUR["ended_at"], "ended_at": HOUR["started_at"]}, "started_at"),
        ({"started_at": "2020-01-01T00:00:00Z"}, "started_at"),
        ({"started_at": "soon"}, "started_at"),
        ({"outcome": ["started"]}, "outcome"),
        ({"instance_id": ["x"]}, "instance_id"),
        ({"bucket_s": "0"}, "bucket_s"),
        ({"bucket_s": "1"}, "bucket_s"),
        ({"task_name": "a\0b"}, "task_name"),
    ],
)
def test_what_cannot_be_answered_is_refused(api, query, field):
    response = api.get("metrics/durations/series", HOUR | query)

    assert (response.status_code, response.json()["detail"][0]["loc"][:2]) == (422, ["query", field])


@pytest.mark.parametrize("query", [{"ended_at": "0001-01-01T00:00:00Z"}, {"ended_at": "9999-12-31T23:59:59.999999Z"}])
@pytest.mark.parametrize("path", ["metrics/durations", "metrics/durations/series"])
def test_the_ends_of_the_calendar(api, settings, path, query):
    settings.TIME_ZONE = "Asia/Shanghai"

    response = api.get(path, query | {"bucket_s": 7 * 86400})

    assert response.status_code == 200


def test_an_unknown_service(api):
    response = api.get("metrics/durations", {"service": "ghost", "environment": "dev"})

    assert (response.status_code, response.json()) == (404, {"detail": "service ghost/dev was not found"})


@pytest.mark.needs_postgres
def test_who_asks_for_too_much_is_told_so(api, monkeypatch):
    instance = InstanceFactory()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO agents_event (event_id, kind, level, occurred_at, received_at, service_id, instance_id, "
            "task_name, actor, message, duration_ms, failure_kind, exception_type, traceback, meta) "
            "SELECT 'e' || n, 'task.succeeded', 'info', %s, %s, %s, %s, 't', '', '', n, '', '', '', '{}' "
            "FROM generate_series(1, 20000) AS n",
            [START, START, instance.service_id, instance.pk],
        )
    monkeypatch.setattr(selector, "READ_MAX_MS", 1)

    response = api.get("metrics/durations", HOUR)

    assert (response.status_code, response.json()["detail"][0]["type"]) == (422, "too_much_to_read")
    monkeypatch.undo()
    assert figures(api)["count"] == 20000


@pytest.mark.parametrize("count", [1, 3])
def test_percentiles_cost_the_same_for_many(api, django_assert_max_num_queries, count):
    for number in range(count):
        ran(InstanceFactory(), 5, task_name=f"t{number}")
    api.get("services")

    with django_assert_max_num_queries(5):
        assert figures(api)["count"] == count
