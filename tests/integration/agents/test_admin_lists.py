"""The lists of the console: what they cost, what they show, and that nothing is changed through them."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controlplane.common.partitions import PARTITIONS_JOB, partitioned_tables
from tests.factories import (
    AgentTokenFactory,
    ApiTokenFactory,
    BackgroundJobFactory,
    CommandFactory,
    EventFactory,
    InstanceFactory,
    ReplicaFactory,
    ServiceFactory,
    SessionFactory,
    TaskFactory,
    UserFactory,
)
from tests.integration.console import console_as, text_of, url

pytestmark = pytest.mark.django_db

# Session, user, permissions (two) and role come with every page; date hierarchy takes two, the list count and rows.
LISTS = {
    "agents_service": (lambda: InstanceFactory(online=True), 10),
    "agents_instance": (lambda: InstanceFactory(online=True), 15),
    "agents_session": (SessionFactory, 10),
    "agents_command": (CommandFactory, 12),
    "agents_event": (EventFactory, 11),
    "agents_agenttoken": (AgentTokenFactory, 9),
    "agents_replica": (ReplicaFactory, 8),
    "agents_backgroundjob": (lambda: BackgroundJobFactory(last_started_at="2026-01-01T00:00Z"), 8),
    "tasks_app_task": (TaskFactory, 17),
    "access_apitoken": (ApiTokenFactory, 8),
    "auth_user": (UserFactory, 10),
}
READ_ONLY = ["service", "instance", "session", "command", "event", "replica", "backgroundjob"]


def queries_of(client, path):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        response = client.get(path)
    assert response.status_code == 200
    return captured


@pytest.mark.parametrize("name", LISTS)
def test_list_costs_the_same_at_one_row_and_at_four(name):
    make, most = LISTS[name]
    client = console_as("admin")
    make()
    one = queries_of(client, url(f"{name}_changelist"))
    for _ in range(3):
        make()

    four = queries_of(client, url(f"{name}_changelist"))

    assert len(four) == len(one), [query["sql"][:120] for query in four]
    assert len(four) <= most, [query["sql"][:120] for query in four]


@pytest.mark.parametrize("name", [*LISTS, "auth_group", "django_celery_beat_periodictask"])
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_list_shows_in_both_languages(name, language):
    make, _ = LISTS.get(name, (lambda: None, 0))
    make()
    client = console_as("superuser")

    page = client.get(url(f"{name}_changelist"), headers={"accept-language": language})

    assert page.status_code == 200
    assert f'<html lang="{language}"' in text_of(page)
    assert ("总览" in text_of(page)) == (language == "zh-hans")


@pytest.mark.parametrize("name", READ_ONLY)
def test_nobody_adds_changes_or_deletes_by_hand(name):
    make, _ = LISTS[f"agents_{name}"]
    made = make()
    row = made.service if name == "service" else made
    client = console_as("superuser")

    assert client.get(url(f"agents_{name}_add")).status_code == 403
    assert client.post(url(f"agents_{name}_change", row.pk), {"name": "x"}).status_code == 405
    assert client.post(url(f"agents_{name}_delete", row.pk), {"post": "yes"}).status_code == 403
    assert type(row).objects.filter(pk=row.pk).exists()


def test_search_finds_a_command_by_its_id_on_the_wire():
    wanted, other = CommandFactory.create_batch(2)

    page = console_as().get(url("agents_command_changelist"), {"q": wanted.public_id})

    assert list(page.context["cl"].result_list) == [wanted]
    assert other.public_id not in text_of(page)


def test_search_takes_anything(client):
    console = console_as()

    for term in ["cmd_", "cmd_zz", "%", "'", "\\", "a" * 500]:
        assert console.get(url("agents_command_changelist"), {"q": term}).status_code == 200


@pytest.mark.parametrize("bad", ["?instance__id__exact=nonsense", "?status__exact=nonsense", "?p=999", "?e=1"])
def test_list_survives_a_nonsense_query_string(bad):
    CommandFactory()

    assert console_as().get(url("agents_command_changelist") + bad).status_code in {200, 302}


def test_history_is_counted_up_to_a_bound(monkeypatch):
    monkeypatch.setattr("controlplane.console.admin.BoundedPaginator.COUNT_MAX", 2)
    CommandFactory.create_batch(3)

    page = console_as().get(url("agents_command_changelist"))

    assert page.context["cl"].result_count == 2
    assert "Only the first 2 are listed" in text_of(page)


def test_filters_narrow_the_list():
    failed = CommandFactory(status="failed")
    CommandFactory(status="succeeded")

    page = console_as().get(url("agents_command_changelist"), {"status__exact": "failed"})

    assert list(page.context["cl"].result_list) == [failed]


def test_event_families_narrow_the_list():
    task = EventFactory(kind="task.failed")
    EventFactory(kind="instance.online")

    page = console_as().get(url("agents_event_changelist"), {"family": "task."})

    assert list(page.context["cl"].result_list) == [task]


def test_list_of_events_shows_the_level_with_the_kind_and_who_did_it():
    EventFactory(kind="command.cancelled", level="warn", actor="ann")

    response = console_as("admin").get(url("agents_event_changelist"))

    badges = re.findall(r'data-state="(\w+)"[^>]*>\s*<span[^>]*>\w+</span>([^<]*)</span>', text_of(response))
    assert badges == [("warn", "Command cancelled")]
    assert "by ann" in text_of(response)


def test_names_from_agents_are_escaped():
    evil = "<script>alert(1)</script>"
    service = ServiceFactory(name=evil)
    instance = InstanceFactory(service=service, node_name=evil, deployment_version=evil, online=True)
    EventFactory(instance=instance, task_name=evil, message=evil, exception_type=evil)
    CommandFactory(instance=instance, task_name=evil, error_message=evil, created_by_name=evil)
    client = console_as()

    for name in ("service", "instance", "event", "command"):
        assert evil not in text_of(client.get(url(f"agents_{name}_changelist")))
    assert evil not in text_of(client.get(url("index")))


def test_a_search_of_events_looks_a_day_back_unless_a_time_is_chosen():
    now = timezone.now()
    old = EventFactory(kind="task.failed", message="the disk is full", occurred_at=now - timedelta(days=3))
    new = EventFactory(kind="task.failed", instance=old.instance, message="the disk is full", occurred_at=now)
    client = console_as()

    def found(**query):
        page = client.get(url("agents_event_changelist"), {"q": "disk"} | query)
        return list(page.context["cl"].result_list)

    assert found() == [new]
    assert found(since="7d") == [new, old]
    assert found(since="1h") == [new]


def test_the_page_of_the_partition_job_shows_every_partition():
    job = BackgroundJobFactory(name=PARTITIONS_JOB)

    shown = text_of(console_as().get(url("agents_backgroundjob_change", job.pk)))

    for table in partitioned_tables():
        assert table in shown
    assert shown.count("All other times") == len(partitioned_tables())
