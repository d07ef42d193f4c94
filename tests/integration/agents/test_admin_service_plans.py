"""How PostgreSQL answers the pages of a large service and of an order for many, over a fleet with a past."""

import json
import os
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Command, Event, FanOut, FanOutTarget, Instance, Service, Session
from bench.history import Size, fill
from tasks_app.models import AppSnapshot
from tests.integration.console import console_as, url
from tests.integration.tasks_app.test_plans import nodes_of, read_rows

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs_postgres]

SIZE = Size(services=20, instances=6000, sessions=8000, commands=20_000, events=60_000, windows=2000)
LARGE = 2222
TARGETS = 2000
BIG = tuple(model._meta.db_table for model in (Event, Command, Session, FanOutTarget, AppSnapshot, Instance))
# A page may read the instances of its service, or the targets of its order, and little else.
READ_MAX = 3 * LARGE


@pytest.fixture(scope="module")
def statements(django_db_setup, django_db_blocker):
    """What each page asks the database, by its path."""
    with django_db_blocker.unblock():
        parts = urlsplit(os.environ["DATABASE_URL"])
        fill(urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}")), SIZE)
        service, fan_out = enlarge()
        client = console_as("operator")
        paths = {
            url("agents_service_change", service.pk): {},
            url("agents_service_live", service.pk): {"p": "40"},
            url("agents_fanout_change", fan_out.pk): {"p": "30"},
            url("agents_fanout_live", fan_out.pk): {"show": "failed"},
            url("agents_fanout_changelist"): {"running": "yes"},
            "/admin/fan-outs/send/": {"retry": str(fan_out.pk)},
        }
        found = {}
        for path, query in paths.items():
            client.get(path, query)
            with CaptureQueriesContext(connection) as captured:
                assert client.get(path, query).status_code == 200
            found[path] = [each["sql"] for each in captured.captured_queries if each["sql"].startswith("SELECT")]
        yield found


def enlarge():
    """A service with LARGE instances that run two topologies, and an order for TARGETS of these among older ones."""
    service, now = Service.objects.order_by("pk")[0], timezone.now()
    Instance.objects.filter(pk__in=Instance.objects.order_by("pk").values("pk")[:LARGE]).update(service=service)
    instances = list(service.instances.order_by("pk"))
    for number, instance in enumerate(instances):
        instance.last_topology_hash = "sha256:b" if number % 4 else "sha256:a"
    Instance.objects.bulk_update(instances, ["last_topology_hash"], batch_size=1000)
    app = {"tasks": [{"name": "a", "source": {"kind": "cron", "name": "daily"}}]}
    AppSnapshot.objects.bulk_create(
        (AppSnapshot(instance=each, app=app, updated_at=now) for each in instances), ignore_conflicts=True
    )
    for age in range(6):
        fan_out = FanOut.objects.create(
            kind="ping",
            target_mode="all_online",
            service=service,
            timeout_s=10,
            created_at=now - timedelta(hours=6 - age),
        )
        commands = [
            Command(
                instance=instance,
                service=service,
                kind="ping",
                timeout_s=10,
                status="failed" if number % 3 else "succeeded" if age < 5 or number % 50 else "pending",
                created_at=fan_out.created_at,
                deadline_at=now + timedelta(hours=1),
            )
            for number, instance in enumerate(instances[:TARGETS])
        ]
        Command.objects.bulk_create(commands)
        FanOutTarget.objects.bulk_create(
            FanOutTarget(fan_out=fan_out, instance=command.instance, outcome="dispatched", command=command)
            for command in commands
        )
    with connection.cursor() as cursor:
        for table in (*BIG, FanOut._meta.db_table):
            cursor.execute(f"ANALYZE {table}")
    return service, fan_out


def scans(sql):
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        (document,) = cursor.fetchone()
    plan = (document if isinstance(document, list) else json.loads(document))[0]["Plan"]
    return [node for node in nodes_of(plan) if node.get("Relation Name", "").startswith(BIG)]


def test_no_page_reads_more_than_what_it_is_about(statements):
    much = {
        f"{path}: {node['Relation Name']} {node['Node Type']} {read_rows(node)}: {sql[:2000]}"
        for path, asked in statements.items()
        for sql in asked
        for node in scans(sql)
        if read_rows(node) > READ_MAX
    }

    assert much == set()


def test_no_page_reads_the_history_from_end_to_end(statements):
    history = tuple(model._meta.db_table for model in (Event, FanOutTarget, AppSnapshot))
    scanned = {
        f"{path}: {node['Relation Name']}: {sql[:2000]}"
        for path, asked in statements.items()
        for sql in asked
        for node in scans(sql)
        if node["Node Type"].endswith("Seq Scan")
        and node["Relation Name"].startswith(history)
        and read_rows(node) > 1000
    }

    assert scanned == set()
