"""Totals count each window once: whatever comes twice, in whichever process, and however long ago it was deleted."""

import importlib
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Event, Instance
from controlplane.common import copying
from tasks_app.models import CustomMetric, CustomMetricTotals, MetricWindow, TaskTotals
from tasks_app.models.totals import TOTAL_MAX
from tasks_app.services.ingest import store_reports
from tasks_app.services.storage import apply_retention
from tests import frames
from tests.factories import CustomMetricFactory, InstanceFactory, MetricWindowFactory, ServiceFactory
from tests.integration.tasks_app.test_ingest import enrolled, enrolled_as, reports

COUNTERS = ("fetched", "started", "succeeded", "retried", "failed", "dead_lettered", "cancelled", "timeouts")
MANY = 2**53


@pytest.fixture
def agent(db):
    return enrolled()


@pytest.fixture(params=["insert", pytest.param("copy", marks=pytest.mark.needs_postgres)])
def way(request, monkeypatch):
    """How windows reach their table: by COPY, which takes new ones only, or by INSERT."""
    monkeypatch.setattr(copying, "ROWS_MIN", 1 if request.param == "copy" else 10_000)
    monkeypatch.setattr(copying, "_wary_until", {})


def windows(agent, *numbers, name="tick", **changes):
    """A frame of windows, the number of each being its end in minutes and what it succeeded in."""
    return [
        agent.metrics(
            frames.window(name, f"w{number}", succeeded=number, **changes), window={"started_at": START, "ended_at": at}
        )
        for number, at in ((number, (EPOCH + timedelta(minutes=number)).isoformat()) for number in numbers)
    ]


EPOCH = datetime(2026, 1, 2, 3, tzinfo=UTC)
START = EPOCH.isoformat()


def store(agent, sent):
    store_reports(reports(agent, *sent))


def counter(value, name="rows", **labels):
    return {"name": name, "kind": "counter", "value": value, "labels": labels}


def gauge(value, name="depth", **labels):
    return {"name": name, "kind": "gauge", "value": value, "labels": labels}


def succeeded(name="tick"):
    return TaskTotals.objects.get(task_name=name).succeeded


# --- windows


def test_all_counters_of_a_window_are_counted(agent, way):
    counts = {name: number for number, name in enumerate(COUNTERS, 1)}

    store(agent, [agent.metrics(frames.window(window_id="w1", **counts), frames.window(window_id="w2", **counts))])

    totals = TaskTotals.objects.values(*COUNTERS).get()
    assert totals == {name: 2.0 * count for name, count in counts.items()}


def test_a_window_counts_once_however_often_it_comes(agent, way):
    store(agent, windows(agent, 1, 2))

    store(agent, windows(agent, 1, 2))
    store(agent, windows(agent, 2, 2))

    assert succeeded() == 3


def test_of_a_batch_with_known_and_new_windows_the_new_ones_count(agent, way):
    store(agent, windows(agent, 1, 2, 3))

    store(agent, windows(agent, 3, 10, 2, 20, 10, 1))

    assert succeeded() == 1 + 2 + 3 + 10 + 20
    assert MetricWindow.objects.count() == 5


def test_each_task_and_instance_has_its_own_totals(agent, way):
    other = enrolled(agent.session.instance.service)

    store_reports(
        [*reports(agent, *windows(agent, 1), *windows(agent, 2, name="tock")), *reports(other, *windows(other, 4))]
    )

    totals = {(str(row.instance_id), row.task_name): row.succeeded for row in TaskTotals.objects.all()}
    assert totals == {
        (agent.instance_id, "tick"): 1,
        (agent.instance_id, "tock"): 2,
        (other.instance_id, "tick"): 4,
    }


@pytest.mark.parametrize("together", [True, False], ids=["one-batch", "two-batches"])
def test_the_latest_window_by_its_end_gives_the_figures(agent, way, together):
    late = windows(agent, 9, inflight=4, avg_duration_ms=1.5, p95_duration_ms=2.5)
    early = windows(agent, 3, inflight=7, avg_duration_ms=9.5)

    for sent in [[*late, *early]] if together else [late, early]:
        store(agent, sent)

    totals = TaskTotals.objects.get()
    assert (totals.inflight, totals.avg_duration_ms, totals.p95_duration_ms) == (4, 1.5, 2.5)
    assert (totals.window_ended_at, totals.succeeded) == (EPOCH + timedelta(minutes=9), 12)


def test_counts_without_bounds_spoil_nothing(agent, way):
    store(agent, [agent.metrics(*(frames.window(window_id=f"w{n}", succeeded=MANY) for n in range(4)))])
    store(agent, [agent.metrics(frames.window(window_id="w9", succeeded=MANY))])

    assert succeeded() == 5.0 * MANY
    assert MetricWindow.objects.count() == 5


def test_retention_lowers_no_counter(agent, way):
    store(agent, [*windows(agent, 1, 2), agent.metrics(frames.window(window_id="c", custom_metrics=[counter(5)]))])

    apply_retention(timezone.now() + timedelta(days=4000))

    assert not MetricWindow.objects.exists()
    assert not CustomMetric.objects.exists()
    assert (succeeded(), CustomMetricTotals.objects.get().value) == (5, 5)


def test_totals_go_with_their_instance(agent):
    store(agent, [agent.metrics(frames.window(custom_metrics=[counter(1)]))])

    Instance.objects.all().delete()

    assert (TaskTotals.objects.count(), CustomMetricTotals.objects.count()) == (0, 0)


def test_a_batch_that_failed_and_comes_again_counts_once(agent, way, monkeypatch):
    batch = reports(agent, *windows(agent, 1, 2))

    def fail(_rejections):
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr("tasks_app.services.ingest.record_rejections", fail)
        with pytest.raises(RuntimeError):
            store_reports(batch)
    store_reports(batch)

    assert succeeded() == 3


def test_many_windows_cost_as_many_statements_as_few(db):
    service = ServiceFactory(name="demo")
    statements = []
    for count in (1, 30):
        batch = []
        for _ in range(count):
            agent = enrolled(service)
            sent = frames.window(custom_metrics=[counter(1, a="1"), gauge(2)])
            batch += reports(agent, agent.metrics(sent, frames.window("tock")))
        with CaptureQueriesContext(connection) as queries:
            store_reports(batch)
        statements.append(len(queries))

    assert statements[0] == statements[1] <= 12


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rows_min", [1, 10_000], ids=["copy", "insert"])
def test_two_processes_that_store_the_same_windows_count_each_once(monkeypatch, rows_min):
    monkeypatch.setattr(copying, "ROWS_MIN", rows_min)
    monkeypatch.setattr(copying, "WARY_FOR_S", 0.0)
    service = ServiceFactory(name="demo")
    agents = [enrolled_as(number, service) for number in (0x10, 0x20, 0x30)]
    rounds = range(15)
    sent = [
        [
            report
            for agent in agents
            for report in reports(
                agent,
                agent.metrics(frames.window(window_id=f"w{number}", succeeded=1, custom_metrics=[counter(1)])),
            )
        ]
        for number in rounds
    ]
    barrier, failures = threading.Barrier(2), []

    def store_rounds():
        try:
            for batch in sent:
                barrier.wait(10)
                store_reports(batch)
        except Exception as error:
            failures.append(error)
            barrier.abort()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=store_rounds) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert list(TaskTotals.objects.values_list("succeeded", flat=True)) == [len(rounds)] * 3
    assert list(CustomMetricTotals.objects.values_list("value", flat=True)) == [len(rounds)] * 3


# --- custom metrics


def test_deltas_are_added_and_of_gauges_the_latest_counts(agent, way):
    store(
        agent,
        [
            *windows(agent, 5, custom_metrics=[counter(2.5), gauge(50)]),
            *windows(agent, 9, custom_metrics=[counter(1), gauge(90)]),
        ],
    )
    store(agent, [*windows(agent, 7, custom_metrics=[counter(4), gauge(70)]), *windows(agent, 9)])

    values = dict(CustomMetricTotals.objects.values_list("name", "value"))
    assert values == {"rows": 7.5, "depth": 90}


def test_series_are_told_apart_by_task_name_kind_and_labels(agent, way):
    sent = [counter(1), counter(2, a="1"), counter(3, a="2"), counter(4, b="1"), gauge(5, name="rows")]

    store(
        agent, [agent.metrics(frames.window(custom_metrics=sent), frames.window("tock", custom_metrics=[counter(6)]))]
    )

    assert sorted(CustomMetricTotals.objects.values_list("value", flat=True)) == [1, 2, 3, 4, 5, 6]
    assert CustomMetricTotals.objects.get(value=3).labels == {"a": "2"}


def test_a_counter_stands_still_before_it_overflows(agent, way):
    huge = 1.7e308
    sent = [frames.window(window_id=f"w{n}", custom_metrics=[counter(huge)]) for n in range(3)]

    store(agent, [agent.metrics(*sent)])
    store(agent, [agent.metrics(frames.window(window_id="last", custom_metrics=[counter(huge)]))])

    assert CustomMetricTotals.objects.get().value == TOTAL_MAX


def test_series_beyond_the_limit_are_left_out_and_known_ones_count_on(agent, settings):
    settings.CUSTOM_METRIC_SERIES_MAX = 2
    store(agent, windows(agent, 1, custom_metrics=[counter(1, a="1"), counter(1, a="2"), counter(1, a="3")]))

    store(agent, windows(agent, 2, custom_metrics=[counter(1, a="1"), counter(1, a="4")]))
    store(agent, windows(agent, 3, name="tock", custom_metrics=[counter(1, a="1")]))

    totals = {(row.task_name, row.labels["a"]): row.value for row in CustomMetricTotals.objects.all()}
    assert totals == {("tick", "1"): 2, ("tick", "2"): 1, ("tock", "1"): 1}
    assert CustomMetric.objects.count() == 4


def test_what_was_left_out_is_told_once_an_hour_and_instance(agent, settings):
    settings.CUSTOM_METRIC_SERIES_MAX = 1
    other = enrolled(agent.session.instance.service)

    for number in range(3):
        for each in (agent, other):
            store(each, windows(each, number, custom_metrics=[counter(1, a="1"), counter(1, a="2"), counter(1, a="3")]))

    events = Event.objects.filter(kind="ingest.rejected").order_by("id")
    assert [str(event.instance_id) for event in events] == [agent.instance_id, other.instance_id]
    assert (events[0].service_id, events[0].task_name) == (agent.session.instance.service_id, "tick")
    assert events[0].message == "More than 1 series of custom metrics; new ones are left out."
    assert events[0].meta == {"channel": "metrics", "count": 2}


# --- filled by the migration


def fill():
    migration = importlib.import_module("tasks_app.migrations.0009_fill_totals").Migration
    with connection.cursor() as cursor:
        for operation in migration.operations:
            cursor.execute(operation.sql)


def test_the_migration_counts_the_windows_that_are_stored(db):
    one, other = InstanceFactory.create_batch(2)
    now = timezone.now()
    for minutes, count in ((3, 1), (1, 2), (2, MANY)):
        MetricWindowFactory(
            instance=one, window_ended_at=now - timedelta(minutes=minutes), succeeded=count, failed=1, inflight=minutes
        )
    MetricWindowFactory(instance=one, task_name="other", timeouts=4, avg_duration_ms=2.5)
    MetricWindowFactory(instance=other, succeeded=MANY)
    MetricWindowFactory(instance=other, succeeded=MANY)

    fill()
    fill()

    totals = {(row.instance_id, row.task_name): row for row in TaskTotals.objects.all()}
    assert set(totals) == {(one.pk, "sync"), (one.pk, "other"), (other.pk, "sync")}
    first = totals[one.pk, "sync"]
    assert (first.succeeded, first.failed, first.inflight) == (float(MANY + 3), 3, 1)
    assert first.window_ended_at == now - timedelta(minutes=1)
    assert (totals[one.pk, "other"].timeouts, totals[one.pk, "other"].avg_duration_ms) == (4, 2.5)
    assert totals[other.pk, "sync"].succeeded == 2.0 * MANY


def test_the_migration_counts_the_samples_that_are_stored(db):
    instance = InstanceFactory()
    now = timezone.now()
    for minutes, value in ((3, 0.1), (1, 7), (2, 0)):
        ended_at = now - timedelta(minutes=minutes)
        for kind in ("counter", "gauge"):
            CustomMetricFactory(
                instance=instance, window_ended_at=ended_at, kind=kind, labels={"a": "1"}, labels_hash="a", value=value
            )
    CustomMetricFactory(instance=instance, labels_hash="b", value=1.7e308)
    CustomMetricFactory(instance=instance, labels_hash="b", value=1.7e308)

    fill()
    fill()

    values = {(row.kind, row.labels_hash): row.value for row in CustomMetricTotals.objects.all()}
    assert values == {("counter", "a"): 7.1, ("gauge", "a"): 7, ("counter", "b"): TOTAL_MAX}
    assert CustomMetricTotals.objects.get(kind="gauge").labels == {"a": "1"}


def test_what_comes_after_the_migration_is_counted_on(agent):
    MetricWindowFactory(instance=agent.session.instance, task_name="tick", succeeded=5)
    fill()

    store(agent, windows(agent, 2))

    assert succeeded() == 7
