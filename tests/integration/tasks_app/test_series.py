"""Work over time: counts from windows, percentiles from events, and the charts of the console that show them."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.cache import cache
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks_app.models import MetricWindow
from tasks_app.selectors.series import (
    WINDOWS,
    Counts,
    Scope,
    count_series,
    latency_series,
    total_counts,
    total_durations,
)
from tests.factories import EventFactory, InstanceFactory, MetricWindowFactory, ServiceFactory, TaskFactory
from tests.integration.console import console_as

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 4, 12, 34, 56, tzinfo=UTC)
HOUR = WINDOWS["1h"]


@pytest.fixture(autouse=True)
def nothing_kept():
    cache.clear()
    yield
    cache.clear()


def told(series):
    return {moment.strftime("%H:%M"): each for moment, each in zip(series.times, series.counts, strict=True) if each}


def test_counts_stand_in_the_bucket_in_which_their_window_ended():
    instance = InstanceFactory()
    for ended_at in ("12:10:00", "12:10:00.000001", "12:10:59.5", "12:34:56", "12:35:00", "11:35:00"):
        moment = datetime.fromisoformat(f"2026-03-04T{ended_at}+00:00")
        MetricWindowFactory(instance=instance, window_ended_at=moment, started=1)

    series = count_series(Scope(instance=instance), HOUR, now=NOW)

    assert {key: each.started for key, each in told(series).items()} == {"12:09": 1, "12:10": 2, "12:34": 1}
    assert len(series.times) == 60
    assert series.times[-1].strftime("%H:%M") == "12:34"


def test_nothing_reported_is_a_gap_and_nothing_done_is_none():
    window = MetricWindowFactory(window_ended_at=NOW)

    assert count_series(Scope(instance=window.instance), HOUR, now=NOW).counts == [*[None] * 59, Counts()]


def test_dead_letter_that_is_told_as_failed_too_fails_once():
    MetricWindowFactory(window_ended_at=NOW, started=5, succeeded=2, failed=3, dead_lettered=3, retried=4)
    MetricWindowFactory(window_ended_at=NOW, started=1, failed=1)

    found = total_counts(Scope(), NOW - timedelta(hours=1), NOW)

    assert found == Counts(started=6, succeeded=2, failed=4, retried=4, dead_lettered=3)
    assert found.success_rate == 33.33


def test_sums_beyond_64_bit_are_told():
    MetricWindowFactory.create_batch(3, window_ended_at=NOW, started=2**63 - 1)

    assert total_counts(Scope(), NOW - timedelta(hours=1), NOW).started == pytest.approx(3 * 2**63)


def test_scopes_narrow():
    here, there = ServiceFactory(environment="prod"), ServiceFactory(environment="dev")
    one, two = InstanceFactory(service=here), InstanceFactory(service=here)
    other = InstanceFactory(service=there)
    task = TaskFactory(service=here, name="sync")
    for number, (instance, name) in enumerate([(one, "sync"), (two, "sync"), (two, "other"), (other, "sync")]):
        MetricWindowFactory(instance=instance, task_name=name, window_ended_at=NOW, started=10**number)
        EventFactory(instance=instance, task_name=name, occurred_at=NOW - timedelta(seconds=1), duration_ms=10**number)

    def figures(scope):
        counts = total_counts(scope, NOW - timedelta(hours=1), NOW)
        took = total_durations(scope, NOW - timedelta(hours=1), NOW)
        return counts.started, took.count

    assert figures(Scope()) == (1111, 4)
    assert figures(Scope(service=here)) == (111, 3)
    assert figures(Scope(instance=two)) == (110, 2)
    assert figures(Scope(task=task)) == (11, 2)
    assert figures(Scope(task=task, instance=one)) == (1, 1)
    assert figures(Scope(environments=["dev"])) == (1000, 1)
    assert total_counts(Scope(environments=[]), NOW - timedelta(hours=1), NOW) is None


def test_latency_tells_ranks_that_were_measured_and_gaps():
    instance = InstanceFactory()
    for number in range(1, 101):
        EventFactory(instance=instance, occurred_at=NOW - timedelta(seconds=1), duration_ms=number)

    series = latency_series(Scope(service=instance.service), HOUR, now=NOW)

    assert series.durations[:-1] == [None] * 59
    last = series.durations[-1]
    assert (last.p50_ms, last.p95_ms, last.p99_ms) == (50, 95, 99)


@pytest.mark.parametrize("key", WINDOWS)
def test_counts_and_latency_have_the_same_times(key):
    window = WINDOWS[key]

    counts, latency = (read(Scope(), window, now=NOW) for read in (count_series, latency_series))

    assert counts.times == latency.times
    assert len(counts.times) * window.width_s == window.length.total_seconds()
    assert len(latency.durations) == len(latency.times)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ages=st.lists(st.tuples(st.integers(0, 3_700_000), st.integers(0, 9)), max_size=12))
def test_buckets_hold_each_window_once(ages):
    MetricWindow.objects.all().delete()
    instance = InstanceFactory()
    for age_ms, started in ages:
        MetricWindowFactory(instance=instance, window_ended_at=NOW - timedelta(milliseconds=age_ms), started=started)

    series = count_series(Scope(service=instance.service), HOUR, now=NOW)

    for place, (begin, counts) in enumerate(zip(series.times, series.counts, strict=True)):
        end = begin + timedelta(seconds=60)
        inside = [n for age, n in ages if begin < NOW - timedelta(milliseconds=age) <= end]
        assert (counts and counts.started) == (sum(inside) if inside else None), place


def test_day_of_the_fleet_is_read_once_and_tells_its_age(django_assert_num_queries):
    first = latency_series(Scope(), WINDOWS["24h"], now=NOW)
    with django_assert_num_queries(0):
        again = latency_series(Scope(), WINDOWS["24h"], now=NOW + timedelta(seconds=30))

    assert again.read_at == first.read_at == NOW


@pytest.mark.parametrize("rows", [1, 3])
def test_series_cost_the_same_whatever_there_is(rows, django_assert_max_num_queries):
    MetricWindowFactory.create_batch(rows, window_ended_at=NOW)
    EventFactory.create_batch(rows, occurred_at=NOW, duration_ms=1)
    # PostgreSQL's transaction and its limit of time take three.
    with django_assert_max_num_queries(4):
        count_series(Scope(), HOUR, now=NOW)
    with django_assert_max_num_queries(5):
        latency_series(Scope(), HOUR, now=NOW)


def chart(client=None, **query):
    return (client or console_as("viewer")).get(reverse("chart_work"), query)


def test_chart_answers_lines_over_times():
    window = MetricWindowFactory(started=7, succeeded=6, failed=1)

    answer = chart(figure="throughput", service=window.service_id).json()

    lines = {line["key"]: [each for each in line["values"] if each is not None] for line in answer["lines"]}
    assert lines == {"started": [7], "succeeded": [6]}
    assert len(answer["times"]) == 60
    assert answer["width_s"] == 60


@pytest.mark.parametrize("figure", ["throughput", "failures", "latency"])
@pytest.mark.parametrize("window", WINDOWS)
def test_chart_has_each_figure_in_each_window(figure, window):
    event = EventFactory(duration_ms=5, occurred_at=datetime.now(UTC))
    MetricWindowFactory(instance=event.instance)

    answer = chart(figure=figure, window=window, service=event.service_id)

    assert answer.status_code == 200
    assert any(value is not None for line in answer.json()["lines"] for value in line["values"])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"figure": "weather"}, "figure"),
        ({"window": "1y"}, "window"),
        ({"service": "x"}, "service"),
        ({"service": "999999"}, "service"),
        ({"service": "9" * 30}, "service"),
        ({"task": "0"}, "task"),
        ({"instance": "7"}, "instance"),
        ({"instance": "00000000-0000-0000-0000-000000000000"}, "instance"),
    ],
)
def test_chart_says_what_it_cannot_read(query, field):
    answer = chart(**query)

    assert answer.status_code == 422
    assert answer.json()["field"] == field


def test_chart_refuses_what_does_not_belong_together():
    assert chart(service=ServiceFactory().pk, task=TaskFactory().pk).status_code == 422


# --- the fleet's durations, of a sample


def durations_every(seconds, count, **event):
    """Deliveries that end at so many seconds after each other, the last just before NOW; each took its age in ms."""
    for number in range(count):
        EventFactory(occurred_at=NOW - timedelta(seconds=1 + number * seconds), duration_ms=number + 1, **event)


@pytest.mark.parametrize("key", ["6h", "24h", "7d"])
def test_small_fleet_is_told_of_all_its_deliveries(key):
    instance = InstanceFactory()
    durations_every(20 * 60, 18, instance=instance)

    fleet, service = (
        latency_series(scope, WINDOWS[key], now=NOW) for scope in (Scope(), Scope(service=instance.service))
    )

    assert fleet == service
    assert not fleet.is_sampled


@pytest.mark.needs_postgres
def test_of_many_deliveries_the_newest_of_each_part_are_taken_and_that_is_told(monkeypatch):
    monkeypatch.setattr("tasks_app.selectors.durations.SAMPLED_OF_PART", 3)
    # The day's bucket began at 12:30:00, its parts are 112.5 s: of three parts all but the newest three are left out.
    durations_every(10, 29, instance=InstanceFactory())

    series = latency_series(Scope(), WINDOWS["24h"], now=NOW)

    last = series.durations[-1]
    assert (last.count, last.min_ms, last.max_ms) == (9, 1, 22)
    assert series.is_sampled
    assert [each for each in series.durations[:-1] if each] == []


@pytest.mark.needs_postgres
def test_sample_is_of_what_may_be_seen(monkeypatch):
    monkeypatch.setattr("tasks_app.selectors.durations.SAMPLED_OF_PART", 3)
    here, there = (InstanceFactory(service=ServiceFactory(environment=name)) for name in ("prod", "dev"))
    durations_every(1, 5, instance=there)
    durations_every(30, 1, instance=here)

    counts = {
        name: sum(each.count for each in latency_series(Scope(environments=[name]), WINDOWS["6h"], now=NOW).durations
                  if each)
        for name in ("prod", "dev", "nowhere")
    }  # fmt: skip

    assert counts == {"prod": 1, "dev": 3, "nowhere": 0}


@pytest.mark.needs_postgres
def test_chart_says_where_it_is_of_a_sample(monkeypatch):
    monkeypatch.setattr("tasks_app.selectors.durations.SAMPLED_OF_PART", 1)
    instance = InstanceFactory()
    EventFactory.create_batch(2, instance=instance, duration_ms=5, occurred_at=datetime.now(UTC))

    notes = [chart(figure="latency", window=key, **more).json()["note"] for key, more in (
        ("7d", {}), ("7d", {"service": instance.service_id}), ("1h", {}),
    )]  # fmt: skip

    assert notes == ["of a sample of all deliveries", "", ""]
