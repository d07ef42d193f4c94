"""What pages of lists read: services in their order, spans of events from the newest on, nothing twice."""

import re
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import override
from unfold.admin import ModelAdmin as UnfoldAdmin

from agents.models import Event, Instance
from agents.selectors import event_counts
from agents.selectors.event_counts import bars_of, counts_of, newest
from agents.selectors.events import events_so_far
from controlplane.common.database import read_in_order, statements_within
from tests.factories import CommandFactory, EventFactory, InstanceFactory
from tests.integration.console import console_as, url

pytestmark = pytest.mark.django_db


def setting(name):
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", [name])
        return cursor.fetchone()[0]


@pytest.mark.needs_postgres
def test_instances_in_the_order_of_their_services_are_neither_all_read_nor_sorted():
    with connection.cursor() as cursor:
        # Tables of tests are too small for a choice.
        for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "sort"):
            cursor.execute(f"SET LOCAL enable_{way} = off")

    lines = Instance.objects.select_related("service").filter(archived_at=None)[:50].explain().splitlines()

    assert [line for line in lines if re.search(r"Seq Scan|(^|->)\s*Sort  \(", line)] == []
    assert any("service_environment_name" in line for line in lines), lines


@pytest.mark.needs_postgres
def test_events_of_a_level_are_read_from_the_newest_on():
    now = timezone.now()
    rows = events_so_far().filter(level=Event.Level.ERROR, occurred_at__gte=now - timedelta(days=30))

    with transaction.atomic():
        read_in_order()
        lines = newest(rows)[:100].explain().splitlines()

    assert [line for line in lines if re.search(r"Bitmap|Seq Scan|(^|->)\s*Sort  \(", line)] == []


@pytest.mark.needs_postgres
@pytest.mark.parametrize(
    ("query", "in_order"),
    [
        ({}, False),
        ({"level": "error"}, True),
        ({"kind": "task.failed"}, True),
        ({"kind": "task.failed,task.retried"}, False),
        ({"level": "error", "task_name": "t"}, False),
        ({"q": "refused"}, False),
    ],
)
def test_only_what_no_index_has_first_is_read_in_order(query, in_order):
    EventFactory(kind="task.failed")
    client = console_as("superuser")

    for part in ("facets", "chart"):
        with CaptureQueriesContext(connection) as captured:
            assert client.get(f"/admin/events/{part}/", query).status_code == 200
        assert any("enable_sort" in each["sql"] for each in captured) is in_order, part


@pytest.mark.needs_postgres
def test_what_a_statement_may_take_ends_with_its_transaction(transactional_db):
    before = setting("jit"), setting("enable_sort"), setting("statement_timeout")

    with statements_within(4000):
        read_in_order()
        assert (setting("jit"), setting("enable_sort"), setting("statement_timeout")) == ("off", "off", "4s")

    assert (setting("jit"), setting("enable_sort"), setting("statement_timeout")) == before


def test_reckoned_bars_are_the_same_in_order(monkeypatch):
    monkeypatch.setattr(event_counts, "EXACT_MAX", 3)
    now = timezone.now()
    for minutes in range(1, 9):
        EventFactory(kind="task.failed", level="error", occurred_at=now - timedelta(minutes=minutes))

    bars = bars_of(events_so_far(), now - timedelta(minutes=10), now)

    assert bars.is_estimated
    assert sum(bars.by_level["error"]) == 8


def test_a_search_counts_less_than_a_list(monkeypatch):
    monkeypatch.setattr(event_counts, "SEARCHED_MAX", 2)
    now = timezone.now()
    for minutes in (1, 2, 3):
        EventFactory(kind="task.failed", level="error", occurred_at=now - timedelta(minutes=minutes))

    searched = bars_of(events_so_far(), now - timedelta(minutes=10), now, is_searched=True)
    counted = counts_of(events_so_far(), ["level"], is_searched=True)

    assert searched.is_estimated
    assert (counted.total, counted.is_whole) == (2, False)


def test_a_search_in_vain_reads_the_table_once():
    InstanceFactory()
    client = console_as("superuser")

    with CaptureQueriesContext(connection) as captured:
        page = client.get(url("agents_instance_changelist"), {"q": "nobody"})

    assert page.context["cl"].result_count == 0
    searches = [each for each in captured if "LIKE" in each["sql"] and "NOBODY" in each["sql"].upper()]
    assert len([each for each in searches if 'FROM "agents_instance"' in each["sql"]]) == 1


def test_headers_of_a_list_are_made_once_whatever_the_rows(monkeypatch):
    made = []
    original = ChangeList.get_query_string

    def counted(self, *args, **kwargs):
        made.append(args)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(ChangeList, "get_query_string", counted)
    client = console_as("superuser")
    costs = []
    for _ in range(2):
        CommandFactory()
        made.clear()
        assert client.get(url("agents_command_changelist")).status_code == 200
        costs.append(len(made))

    assert costs[0] == costs[1]


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_the_checkbox_of_a_row_is_the_one_of_unfold(language):
    command = CommandFactory()
    model_admin = admin.site.get_model_admin(type(command))

    with override(language):
        own = model_admin.action_checkbox(command)
        theirs = UnfoldAdmin.action_checkbox(model_admin, command)

    assert own.split() == theirs.split()
