"""How PostgreSQL answers charts of work, lists of tasks and schedules, over a fleet with a past: by indexes."""

import os
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.admin import troubles
from agents.models import Instance
from bench.history import fill
from tasks_app.models import Task
from tasks_app.selectors.durations import SAMPLE_PARTS, SAMPLED_OF_PART
from tasks_app.selectors.series import WINDOWS, Scope, count_series, counts_by_instance, latency_series
from tasks_app.selectors.starts import missed_starts, outlook
from tasks_app.selectors.task_list import FIGURES_OVER, failing_tasks, figures_of
from tests.integration.tasks_app.test_plans import SIZE, SMALL, read_rows, scans

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs_postgres]
# Percentiles meet a start, which has no duration, for each end that they use. And for the last hours of a large service
# PostgreSQL may read those of the whole fleet, in the order of time, rather than the index of the service: six of them
# at the beginning of a week, while its partition is small.
HOURS_OF_FLEET = 12_000


FROM_ROLLUPS = tuple(f"count_series fleet {key}" for key in WINDOWS)
# Half of all events are no end of a delivery.
SAMPLE_READ_MAX = 168 * SAMPLE_PARTS * SAMPLED_OF_PART * 4


@pytest.fixture(scope="module")
def plans(django_db_setup, django_db_blocker):
    """What was asked with the nodes of its plans that read a big table."""
    with django_db_blocker.unblock():
        url = urlsplit(os.environ["DATABASE_URL"])
        fill(urlunsplit(url._replace(path=f"/{connection.settings_dict['NAME']}")), SIZE)
        found = {}
        for name, ask in asked():
            with CaptureQueriesContext(connection) as captured:
                ask()
            statements = [each["sql"].strip() for each in captured.captured_queries]
            found[name] = [
                node
                for sql in statements
                if sql.startswith("SELECT") and "set_config" not in sql
                for node in scans(sql)
            ]
        yield found


def asked():
    now = timezone.now()
    task = Task.objects.select_related("service").order_by("pk").first()
    instance = Instance.objects.filter(service=task.service).select_related("service").first()
    scopes = {
        "fleet": Scope(),
        "service": Scope(service=task.service),
        "task": Scope(task=task),
        "instance": Scope(instance=instance),
    }
    for name, scope in scopes.items():
        for key in WINDOWS:
            for read in (count_series, latency_series):
                yield (
                    f"{read.__name__} {name} {key}",
                    lambda read=read, scope=scope, key=key: read(scope, WINDOWS[key], now=now),
                )
    yield "home", lambda: troubles.take(now)
    yield "by instance", lambda: counts_by_instance(Scope(task=task), now - FIGURES_OVER, now)
    page = list(Task.objects.order_by("pk")[:50])
    yield "figures of a list", lambda: figures_of(page, now=now)
    yield "failing", lambda: failing_tasks(now=now)
    scheduled = Task(
        service=task.service,
        name=task.name,
        source_kind="cron",
        source_config={"expression": "*/5 * * * *", "timezone": "UTC"},
    )
    yield "outlook", lambda: outlook(scheduled, now=now, count=5)
    yield "missed", lambda: missed_starts(scheduled, now - FIGURES_OVER, now)


def test_nothing_reads_a_big_table_from_end_to_end(plans):
    assert {
        f"{name}: {node['Relation Name']}"
        for name, nodes in plans.items()
        for node in nodes
        if node["Node Type"].endswith("Seq Scan") and read_rows(node) > SMALL
    } == set()


def test_nothing_reads_many_rows_that_it_has_no_use_for(plans):
    assert {
        f"{name}: {node['Relation Name']} used {node['Actual Rows']}, not {node['Rows Removed by Filter']}"
        for name, nodes in plans.items()
        for node in nodes
        if wasted(node) > max(HOURS_OF_FLEET, 2 * node["Actual Rows"] * node["Actual Loops"])
    } == set()


def wasted(node):
    return node.get("Rows Removed by Filter", 0) * node["Actual Loops"]


def test_all_that_is_asked_reads_something(plans):
    assert all(nodes for name, nodes in plans.items() if name not in FROM_ROLLUPS)


def test_charts_of_the_fleet_read_no_window(plans):
    assert {name: plans[name] for name in FROM_ROLLUPS} == {name: [] for name in FROM_ROLLUPS}


def test_sample_of_the_fleet_is_read_in_an_index_alone(plans):
    nodes = [node for key in ("6h", "24h", "7d") for node in plans[f"latency_series fleet {key}"]]

    assert {node["Node Type"] for node in nodes if read_rows(node)} <= {"Index Only Scan"}
    assert max(read_rows(node) for node in nodes) <= SAMPLE_READ_MAX
