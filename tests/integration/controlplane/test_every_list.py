"""Every list of the console: what it costs with few rows, and that with many no statement reads a big table whole."""

import json
import os
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group as UserGroup
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from agents.models import BackgroundJob, Command, Event, InstanceLabels, Removal, Service, Session
from bench.history import Size, fill
from controlplane.access.models import FailedLogin, SuccessfulLogin
from controlplane.console.admin import CheapChangeList, HistoryAdmin, ModelAdmin
from tasks_app.models import MetricWindow
from tests.factories import (
    AgentTokenFactory,
    AlertMemberFactory,
    ApiTokenFactory,
    AttemptFactory,
    BackgroundJobFactory,
    ChannelFactory,
    CommandFactory,
    DeliveryFactory,
    EventFactory,
    FanOutFactory,
    GroupFactory,
    InstanceFactory,
    ReplicaFactory,
    RuleFactory,
    SessionFactory,
    SilenceFactory,
    TaskFactory,
    UserFactory,
)
from tests.integration.agents.listed import make_node
from tests.integration.console import console_as, url

pytestmark = pytest.mark.django_db

# Rows that one look at a list may read of a big table: its count is bounded, and so is what a search looks through.
READ_MAX = 45_000
WASTED_MAX = 25_000
BIG = tuple(model._meta.db_table for model in (Event, MetricWindow, Command, Session))


def attempt(model):
    def make(number):
        model.objects.create(username=f"u{number}", ip_address="10.0.0.1", path_info="/", http_accept="", user_agent="")

    return make


MAKE = {
    "agents.service": lambda _n: InstanceFactory(online=True),
    "agents.instance": lambda _n: InstanceFactory(online=True),
    "agents.node": lambda n: make_node(n + 1),
    "agents.session": lambda _n: SessionFactory(),
    "agents.command": lambda _n: CommandFactory(),
    "agents.fanout": lambda _n: FanOutFactory(),
    "agents.group": lambda _n: GroupFactory(),
    "agents.event": lambda _n: EventFactory(kind="task.failed"),
    "agents.replica": lambda _n: ReplicaFactory(),
    "agents.backgroundjob": lambda _n: BackgroundJobFactory(last_started_at="2026-01-01T00:00Z"),
    "agents.removal": lambda n: Removal.objects.create(**removal(n)),
    "agents.agenttoken": lambda _n: AgentTokenFactory(),
    "tasks_app.task": lambda _n: TaskFactory(),
    "notifications.channel": lambda _n: AttemptFactory().channel,
    "notifications.rule": lambda _n: RuleFactory(channels=[ChannelFactory()]),
    "notifications.alert": lambda _n: AlertMemberFactory(),
    "notifications.delivery": lambda _n: DeliveryFactory(rule=RuleFactory(), failed=True),
    "notifications.silence": lambda _n: SilenceFactory(),
    "access.apitoken": lambda _n: ApiTokenFactory(),
    "access.successfullogin": attempt(SuccessfulLogin),
    "access.failedlogin": attempt(FailedLogin),
    "auth.user": lambda _n: UserFactory(role="viewer"),
    "auth.group": lambda n: UserGroup.objects.create(name=f"g{n}"),
    "django_celery_beat.intervalschedule": lambda n: IntervalSchedule.objects.create(every=n + 100, period="days"),
    "django_celery_beat.crontabschedule": lambda n: CrontabSchedule.objects.create(minute=str(n)),
    "django_celery_beat.solarschedule": lambda n: SolarSchedule.objects.create(event="sunset", latitude=n, longitude=n),
    "django_celery_beat.clockedschedule": lambda _n: ClockedSchedule.objects.create(clocked_time=timezone.now()),
    "django_celery_beat.periodictask": lambda n: PeriodicTask.objects.create(
        name=f"p{n}",
        task="t",
        interval=IntervalSchedule.objects.create(every=n + 200, period="days"),
    ),
}
# Session, user, role and saved views come with nearly every list, and the bounded count.
QUERIES_MAX = {
    "tasks_app.task": 17,
    "agents.instance": 16,
    "agents.node": 14,
    "agents.fanout": 13,
    "agents.event": 12,
    "auth.user": 12,
    "notifications.delivery": 13,
    "notifications.rule": 15,
}


def removal(number):
    return {
        "kind": "instance",
        "target_id": str(number),
        "name": f"r{number}",
        "environment": "dev",
        "requested_at": timezone.now(),
    }


def labels():
    return sorted(model._meta.label_lower for model in admin.site._registry)


def test_every_registered_admin_is_walked():
    assert set(MAKE) == set(labels())


@pytest.mark.parametrize("label", sorted(MAKE))
def test_a_list_costs_the_same_at_one_row_and_at_three(label):
    client = console_as("superuser")
    path = url(f"{label.replace('.', '_', 1) if not label.startswith('tasks_app') else 'tasks_app_task'}_changelist")

    def cost():
        with CaptureQueriesContext(connection) as captured:
            assert client.get(path).status_code == 200
        return [each["sql"][:150] for each in captured]

    MAKE[label](0)
    one = cost()
    MAKE[label](1)
    MAKE[label](2)
    three = cost()

    assert len(three) == len(one), three
    assert len(three) <= QUERIES_MAX.get(label, 11), three


@pytest.mark.parametrize("label", sorted(MAKE))
def test_no_list_counts_a_table_or_reads_it_for_links_of_dates(label, rf):
    model_admin = next(each for model, each in admin.site._registry.items() if model._meta.label_lower == label)

    assert isinstance(model_admin, ModelAdmin)
    assert issubclass(model_admin.get_changelist(rf.get("/")), CheapChangeList)
    assert model_admin.show_full_result_count is False
    assert hasattr(model_admin.paginator, "COUNT_MAX")


SIZE = Size(services=40, instances=2500, sessions=60_000, commands=60_000, events=120_000, windows=2_000)
QUERIES = {
    "agents.event": (
        {},
        {"since": "30d", "level": "error"},
        {"since": "30d", "q": "refused"},
        {"since": "30d", "dialect": "argus"},
        {"since": "30d", "task_name": "nobody's"},
        {"since": "all", "environment": "staging"},
    ),
    "agents.command": ({}, {"status__exact": "rejected"}, {"q": "nothing of that"}, {"since": "1d"}, {"p": "100"}),
    "agents.session": ({}, {"status__exact": "active"}, {"q": "nothing of that"}, {"since": "7d"}, {"p": "100"}),
    "agents.instance": ({}, {"q": "service-1"}, {"connectivity__exact": "offline"}),
    "agents.service": ({}, {"q": "service-1"}),
    "tasks_app.task": ({}, {"q": "task-1"}),
}


def nodes_of(plan):
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes_of(inner)


def reads(sql):
    """What the statement, really run, read of big tables: (table, kind of read, rows read, rows of no use)."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        (document,) = cursor.fetchone()
    plan = (document if isinstance(document, list) else json.loads(document))[0]["Plan"]
    for node in nodes_of(plan):
        if node.get("Relation Name", "").startswith(BIG):
            removed = node.get("Rows Removed by Filter", 0) * node["Actual Loops"]
            yield (
                node["Relation Name"],
                node["Node Type"],
                node["Actual Rows"] * node["Actual Loops"] + removed,
                removed,
            )


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_no_list_reads_a_big_table_whole(monkeypatch):
    # As small beside the tables as the real bound is beside millions.
    monkeypatch.setattr(HistoryAdmin, "SEARCHED_MAX", 4000)
    address = urlsplit(os.environ["DATABASE_URL"])
    fill(urlunsplit(address._replace(path=f"/{connection.settings_dict['NAME']}")), SIZE)
    Service.objects.filter(environment="staging").update(environment="dev")
    BackgroundJob.objects.all().delete()
    InstanceLabels.objects.all().delete()
    client = console_as("superuser")
    bad = []
    for label in labels():
        app_label, _dot, name = label.partition(".")
        paths = [(url(f"{app_label}_{name}_changelist"), query) for query in QUERIES.get(label, ({},))]
        if label == "agents.event":
            paths += [
                (f"/admin/events/{part}/", query) for part in ("facets", "chart", "new") for query in QUERIES[label]
            ]
        for path, query in paths:
            with CaptureQueriesContext(connection) as captured:
                assert client.get(path, query).status_code == 200
            for each in captured:
                if not each["sql"].startswith("SELECT") or "set_config" in each["sql"]:
                    continue
                found = list(reads(each["sql"]))
                read = sum(rows for _table, _kind, rows, _removed in found)
                removed = sum(rows for *_, rows in found)
                if read > READ_MAX or removed > WASTED_MAX:
                    bad.append((path, query, read, removed))

    assert bad == []


@pytest.mark.parametrize("since", ["", "ever", "0"])
def test_a_time_that_is_none_does_not_free_a_search_of_its_bound(since, monkeypatch):
    monkeypatch.setattr(HistoryAdmin, "SEARCHED_MAX", 1)
    now = timezone.now()
    for days in range(3):
        CommandFactory(created_at=now - timedelta(days=days), task_name="sought")

    page = console_as("viewer").get(url("agents_command_changelist"), {"q": "sought", "since": since})

    assert page.context["cl"].result_count == 2
