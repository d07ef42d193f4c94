"""How PostgreSQL answers lists and dashboards: by indexes, and without reading what they do not show.

Over a fleet of some thousand instances with a past: on a few rows it would rather read whole tables.
"""

import json
import os
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents.models import Command, Event, Group, Instance, InstanceLabels, Service, Session
from bench.history import Size, fill
from tasks_app.models import MetricWindow
from tests.integration.api_client import api_as, service_path

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs_postgres]

SIZE = Size(services=40, instances=2500, sessions=5000, commands=10_000, events=120_000, windows=60_000)
# Instances are read whole where the totals of all are shown, and only there.
BIG = tuple(model._meta.db_table for model in (Event, MetricWindow, Command, Session))
# What a query may read and not use: so many rows, or so many for each that it uses. A count reaches 20,000 rows beyond
# its page, and where a good part of all is meant, going through all by time is the fastest way to them.
WASTED_MAX = 2_000
WASTED_PER_USED_MAX = 4
# A partition or a table of fewer rows is read at once by any plan.
SMALL = 1_000


@pytest.fixture(scope="module")
def queries(django_db_setup, django_db_blocker):
    """The path of each list with the statements that it ran, once for all tests of the module."""
    with django_db_blocker.unblock():
        url = urlsplit(os.environ["DATABASE_URL"])
        fill(urlunsplit(url._replace(path=f"/{connection.settings_dict['NAME']}")), SIZE)
        # Nothing happens in this environment.
        Service.objects.filter(environment="staging").update(environment="dev")
        label()
        found = {}
        for api, lists in ((api_as("viewer"), paths()), (api_as("viewer", environments=["staging"]), narrowed_paths())):
            for path, query in lists:
                api.get(path, query)
                with CaptureQueriesContext(connection) as captured:
                    response = api.get(path, query)
                assert response.status_code == 200, (path, response.content)
                told = path, json.dumps(query)
                found.setdefault(told, []).extend(each["sql"] for each in captured.captured_queries)
        yield found


def label():
    """Labels that most instances have, few, and one; a group of the few."""
    rows = []
    for number, pk in enumerate(Instance.objects.order_by("pk").values_list("pk", flat=True)):
        labels = {"region": "eu" if number % 50 else "us", "cores": str(number % 16)}
        labels |= {} if number % 250 else {"canary": ""}
        labels |= {} if number else {"rack": "7"}
        rows.append(InstanceLabels(pk=pk, effective=labels))
    InstanceLabels.objects.bulk_create(rows)
    Group.objects.create(name="canary", selector="canary")
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {InstanceLabels._meta.db_table}")


SELECTED = (
    *({"selector": text} for text in ("region=eu", "region!=eu", "canary", "rack=7", "rack=8", "cores>14,!canary")),
    {"selector": "portal/dialect=onestep"},
    {"group": "canary"},
    {"group": "canary", "selector": "region=eu"},
)


def narrowed_paths():
    for name in ("services", "instances", "sessions", "commands", "events", "history", "metrics/durations"):
        yield name, {}


def paths():
    yield "services", {}
    for name in ("instances", "sessions", "commands", "events"):
        yield name, {}
    for name in ("instances", "sessions", "commands", "history"):
        for selected in SELECTED:
            yield name, selected
    yield "events", {"kind": "cancelled"}
    yield "events", {"environment": "dev"}
    yield "events", {"offset": 10_000}
    yield "history", {}
    for narrowed in ({"level": "error"}, {"task_name": "nobody's"}, {"environment": "staging"}, {"kind": "task.*"}):
        yield "history", narrowed
    service = Service.objects.get(name="service-0")
    query = {"environment": service.environment}
    instance = Instance.objects.filter(service=service, connectivity="online").first()
    below = (
        "", "/dashboard", "/tasks", "/tasks/task-0", "/tasks/task-0/events", "/instances", "/metric-windows", "/events",
        "/commands", "/sessions", f"/instances/{instance.pk}",
    )  # fmt: skip
    for rest in below:
        yield service_path(service, rest), query
    for narrowed in ({"task_name": "task-1"}, {"instance_id": str(instance.pk)}, {"kind": "cancelled"}):
        yield service_path(service, "/events"), query | narrowed
    yield service_path(service, "/metric-windows"), query | {"task_name": "task-1"}
    yield service_path(service, "/commands"), query | {"status": "rejected"}
    yield f"instances/{instance.pk}", {}
    yield f"instances/{instance.pk}/commands", {}
    yield "metrics/durations", {}
    yield "metrics/durations", {"task_name": "nobody's"}
    yield "metrics/durations", {"service": service.name, "task_name": "task-0"} | query
    yield "metrics/durations/series", {"service": service.name} | query


def nodes_of(plan):
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes_of(inner)


def scans(sql):
    """The nodes of the plan that read a big table, as it was really run."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        (document,) = cursor.fetchone()
    plan = (document if isinstance(document, list) else json.loads(document))[0]["Plan"]
    return [node for node in nodes_of(plan) if node.get("Relation Name", "").startswith(BIG)]


def read_rows(node):
    return (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]


def test_no_list_reads_a_big_table_from_end_to_end(queries):
    bad = {
        f"{path} {query}: {node['Relation Name']}"
        for (path, query), statements in queries.items()
        for sql in statements
        if sql.startswith("SELECT")
        for node in scans(sql)
        if node["Node Type"].endswith("Seq Scan") and read_rows(node) > SMALL
    }

    assert bad == set()


def test_no_list_reads_many_rows_that_it_has_no_use_for(queries):
    wasted = {
        f"{path} {query}: {node['Relation Name']} {removed}"
        for (path, query), statements in queries.items()
        for sql in statements
        if sql.startswith("SELECT")
        for node in scans(sql)
        if (removed := node.get("Rows Removed by Filter", 0) * node["Actual Loops"]) > WASTED_MAX
        and removed > node["Actual Rows"] * node["Actual Loops"] * WASTED_PER_USED_MAX
    }

    assert wasted == set()
