"""Rollups count each window once, in the minute and the hour in which it ended, for its environment."""

import importlib
from datetime import UTC, datetime, timedelta

import pytest
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.services.reports import Window
from controlplane.common import copying
from tasks_app.models import MetricWindow, WorkRollup
from tasks_app.models.rollup import HOUR_S, MINUTE_S, SHARDS
from tasks_app.selectors.series import WINDOWS, Counts, Scope, count_series, total_counts
from tasks_app.services.metrics import store_windows
from tasks_app.services.storage import apply_retention
from tests.factories import InstanceFactory, MetricWindowFactory, ServiceFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 4, 12, 34, 56, tzinfo=UTC)


@pytest.fixture(params=["insert", pytest.param("copy", marks=pytest.mark.needs_postgres)])
def way(request, monkeypatch):
    """How windows reach their table: by COPY, which takes new ones only, or by INSERT."""
    monkeypatch.setattr(copying, "ROWS_MIN", 1 if request.param == "copy" else 10_000)
    monkeypatch.setattr(copying, "_wary_until", {})


def window(instance, ended_at, *, window_id="", **counts):
    zeros = dict.fromkeys(
        ("fetched", "started", "succeeded", "retried", "failed", "dead_lettered", "cancelled", "timeouts"), 0
    )
    return Window(
        instance_id=instance.pk,
        service_id=instance.service_id,
        task_name="sync",
        window_id=window_id or ended_at.isoformat(),
        started_at=ended_at - timedelta(minutes=1),
        ended_at=ended_at,
        received_at=ended_at,
        inflight=0,
        avg_duration_ms=None,
        p95_duration_ms=None,
        **zeros | counts,
    )


def rows(width_s):
    found = WorkRollup.objects.filter(width_s=width_s).order_by("environment", "started_at")
    return [(row.environment, f"{row.started_at:%H:%M:%S}", row.started) for row in found]


def test_window_counts_in_the_minute_and_the_hour_in_which_it_ended(way):
    instance = InstanceFactory(service__environment="prod")
    for text in ("12:10:00", "12:10:00.000001", "12:10:59.5", "12:11:00", "13:00:00", "13:00:00.5"):
        store_windows([window(instance, datetime.fromisoformat(f"2026-03-04T{text}+00:00"), started=1)])

    assert rows(MINUTE_S) == [
        ("prod", "12:09:00", 1), ("prod", "12:10:00", 3), ("prod", "12:59:00", 1), ("prod", "13:00:00", 1),
    ]  # fmt: skip
    assert rows(HOUR_S) == [("prod", "12:00:00", 5), ("prod", "13:00:00", 1)]


def test_window_that_comes_again_counts_once(way):
    instance = InstanceFactory(service__environment="prod")
    first, second = (window(instance, NOW, window_id=name, started=1) for name in ("w1", "w2"))

    store_windows([first, first])
    store_windows([first, second])

    assert rows(MINUTE_S) == [("prod", "12:34:00", 2)]


def test_each_environment_is_counted_apart(way):
    prod, dev = (InstanceFactory(service=ServiceFactory(environment=name)) for name in ("prod", "dev"))

    store_windows([window(prod, NOW, started=2), window(dev, NOW, started=3)])

    assert rows(HOUR_S) == [("dev", "12:00:00", 3), ("prod", "12:00:00", 2)]
    day = WINDOWS["24h"]
    told = {
        name: [each.started for each in count_series(Scope(environments=seen), day, now=NOW).counts if each]
        for name, seen in (("all", None), ("dev", ["dev"]), ("none", []))
    }
    assert told == {"all": [5], "dev": [3], "none": []}


def test_dead_letter_that_is_told_as_failed_too_fails_once(way):
    instance = InstanceFactory()

    store_windows(
        [
            window(instance, NOW, window_id="w1", started=5, succeeded=2, failed=3, dead_lettered=3, retried=4),
            window(instance, NOW, window_id="w2", failed=1, dead_lettered=2, cancelled=7),
        ]
    )

    [found] = [each for each in count_series(Scope(), WINDOWS["7d"], now=NOW).counts if each]
    assert found == Counts(started=5, succeeded=2, failed=5, retried=4, dead_lettered=5, cancelled=7)


def test_counts_without_bounds_spoil_nothing(way):
    instance = InstanceFactory()

    store_windows([window(instance, NOW, window_id=f"w{number}", started=2**63 - 1) for number in range(3)])
    store_windows([window(instance, NOW, window_id="w9", started=2**63 - 1)])

    assert WorkRollup.objects.get(width_s=HOUR_S).started == pytest.approx(4 * 2**63)


def test_nothing_new_costs_no_statement_and_many_windows_as_many_as_few():
    instances = InstanceFactory.create_batch(20)
    statements = []
    for number, some in enumerate((instances[:1], instances)):
        with CaptureQueriesContext(connection) as captured:
            store_windows([window(each, NOW, window_id=f"w{number}", started=1) for each in some])
        statements.append(sum("workrollup" in each["sql"] for each in captured.captured_queries))
    with CaptureQueriesContext(connection) as captured:
        store_windows([window(each, NOW, window_id="w1", started=1) for each in instances])

    assert statements == [1, 1]
    assert not any("workrollup" in each["sql"] for each in captured.captured_queries)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ages=st.lists(st.tuples(st.integers(0, 7 * 86_400_000), st.integers(0, 9)), max_size=12))
@pytest.mark.parametrize("key", WINDOWS)
def test_fleet_is_told_the_same_by_rollups_as_its_one_service_by_windows(key, ages):
    MetricWindow.objects.all().delete()
    WorkRollup.objects.all().delete()
    instance = InstanceFactory()
    ends = [(NOW - timedelta(milliseconds=age_ms), started) for age_ms, started in ages]
    store_windows([window(instance, at, window_id=str(number), started=n) for number, (at, n) in enumerate(ends)])

    fleet, service = (
        count_series(scope, WINDOWS[key], now=NOW) for scope in (Scope(), Scope(service=instance.service))
    )

    assert fleet == service


def test_retention_takes_minutes_after_two_days_and_hours_with_their_windows(settings):
    settings.RETENTION_TASK_METRIC_WINDOWS_DAYS = 10
    instance = InstanceFactory()
    now = timezone.now()
    store_windows([window(instance, now - timedelta(days=days), started=1) for days in (1, 3, 9, 11)])

    apply_retention(now)

    assert WorkRollup.objects.filter(width_s=MINUTE_S).count() == 1
    assert WorkRollup.objects.filter(width_s=HOUR_S).count() == 3


@pytest.mark.needs_postgres
def test_connections_write_rows_of_their_own():
    instance = InstanceFactory()

    store_windows([window(instance, NOW, started=1)])

    [shard] = set(WorkRollup.objects.values_list("shard", flat=True))
    assert shard == connection.connection.info.backend_pid % SHARDS


def test_migration_counts_the_windows_that_are_stored():
    now = timezone.now()
    prod, dev = (InstanceFactory(service=ServiceFactory(environment=name)) for name in ("prod", "dev"))
    begin = now.replace(second=0, microsecond=0) - timedelta(minutes=5)
    for instance, ended_at in (
        (prod, begin),
        (prod, begin + timedelta(microseconds=1)),
        (prod, begin + timedelta(seconds=60)),
        (dev, begin + timedelta(seconds=1)),
        (dev, now - timedelta(days=4)),
    ):
        MetricWindowFactory(instance=instance, window_ended_at=ended_at, started=3, failed=1, dead_lettered=2)
    migration = importlib.import_module("tasks_app.migrations.0010_rollups")

    migration.fill(apps, connection.schema_editor())

    minutes = WorkRollup.objects.filter(width_s=MINUTE_S).order_by("environment", "started_at")
    assert [(row.environment, row.started_at, row.started, row.failed) for row in minutes] == [
        ("dev", begin, 3, 2),
        ("prod", begin - timedelta(minutes=1), 3, 2),
        ("prod", begin, 6, 4),
    ]
    assert sum(row.started for row in WorkRollup.objects.filter(width_s=HOUR_S)) == 15
    week = count_series(Scope(), WINDOWS["7d"], now=now)
    assert sum(each.started for each in week.counts if each) == total_counts(Scope(), week.times[0], now).started
