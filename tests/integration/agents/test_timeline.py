"""The timeline of an instance: everything once, in order, at any page; as cheap with a long history as with a short."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Session
from agents.models.event import EventKind
from agents.selectors import timeline as selector
from agents.selectors.timeline import Place, timeline
from tests.factories import CommandFactory, EventFactory, InstanceFactory, SessionFactory
from tests.integration.console import console_as, text_of, url

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def ago(seconds):
    return NOW - timedelta(seconds=seconds)


def session(instance, at, **fields):
    ended = {"status": Session.Status.DISCONNECTED, "disconnected_at": at + timedelta(seconds=30)}
    return SessionFactory(instance=instance, connected_at=at, **{**ended, "end_reason": "closed_1001", **fields})


def busy(instance, rounds=6):
    """Some of everything, of which several share their moment."""
    rows = set()
    for number in range(rounds):
        at = ago(100 * number)
        rows.add(session(instance, at))
        rows |= {CommandFactory(instance=instance, created_at=at) for _ in range(2)}
        rows |= {EventFactory(instance=instance, kind=EventKind.TASK_FAILED, occurred_at=at) for _ in range(2)}
        rows.add(EventFactory(instance=instance, kind=EventKind.INSTANCE_ONLINE, occurred_at=at - timedelta(seconds=7)))
        # Told by the session and the command themselves, or routine.
        EventFactory(instance=instance, kind=EventKind.SESSION_OPENED, occurred_at=at)
        EventFactory(instance=instance, kind=EventKind.COMMAND_QUEUED, occurred_at=at)
        EventFactory(instance=instance, kind=EventKind.TASK_STARTED, occurred_at=at)
    return rows


def pages(instance, **narrowing):
    before, found = None, []
    while True:
        page = timeline(instance.pk, before=before, **narrowing)
        found.append(page.entries)
        if page.older is None:
            return found
        assert len(found) < 100
        # As it goes through an address.
        before = Place.parse(str(page.older))


@pytest.mark.parametrize("page_size", [1, 2, 3, 5, 30])
@pytest.mark.parametrize("look", [2, 1000])
def test_everything_comes_once_and_in_order(monkeypatch, page_size, look):
    monkeypatch.setattr(selector, "PAGE_SIZE", page_size)
    monkeypatch.setattr(selector, "LOOK_MAX", look)
    instance = InstanceFactory()
    rows = busy(instance)
    busy(InstanceFactory(), rounds=1)

    found = [entry for page in pages(instance) for entry in page]

    assert len(found) == len(rows)
    assert {entry.row for entry in found} == rows
    assert [entry.at for entry in found] == sorted((entry.at for entry in found), reverse=True)


@pytest.mark.parametrize(
    ("show", "sources"),
    [
        ("sessions", {"session"}),
        ("commands", {"command"}),
        ("tasks", {"event"}),
        ("health", {"event"}),
    ],
)
def test_it_shows_one_kind_alone(show, sources):
    instance = InstanceFactory()
    busy(instance, rounds=2)

    entries = timeline(instance.pk, show=show).entries

    assert {entry.source for entry in entries} == sources
    if show == "health":
        assert {entry.row.kind for entry in entries} == {EventKind.INSTANCE_ONLINE}


def test_live_part_goes_down_to_where_the_page_was_opened(monkeypatch):
    monkeypatch.setattr(selector, "PAGE_SIZE", 3)
    instance = InstanceFactory()
    busy(instance)
    opened = timeline(instance.pk)
    newer = EventFactory(instance=instance, kind=EventKind.TASK_FAILED, occurred_at=NOW + timedelta(seconds=5))

    live = timeline(instance.pk, down_to=opened.older)
    older = timeline(instance.pk, before=opened.older)

    assert [entry.row for entry in live.entries] == [newer, *(entry.row for entry in opened.entries)]
    assert live.older is None
    assert live.entries[-1].key > older.entries[0].key


def test_live_part_has_a_bound_and_says_that_there_is_more(monkeypatch):
    monkeypatch.setattr(selector, "LIVE_MAX", 4)
    instance = InstanceFactory()
    busy(instance)
    floor = timeline(instance.pk).entries[-1].place

    live = timeline(instance.pk, down_to=floor)
    page = text_of(console_as().get(url("agents_instance_live", instance.pk), {"floor": str(floor)}))

    assert len(live.entries) == 4
    assert live.older is not None
    assert "More happened since this page was opened than it shows." in page


@pytest.mark.parametrize(
    "text", ["", "x", "2026-01-01_0_5", "2026-01-01T00:00:00+00:00_1_x", "2026-01-01T00:00:00+00:00_9_1"]
)
def test_nonsense_is_no_place(text):
    assert Place.parse(text) is None
    instance = InstanceFactory()
    answer = console_as().get(url("agents_instance_timeline", instance.pk), {"before": text, "show": text})
    assert answer.status_code == 200


def test_session_is_a_span_and_its_end_has_a_reason():
    instance = InstanceFactory()
    session(instance, ago(3600))

    page = text_of(console_as().get(url("agents_instance_change", instance.pk)))

    assert "for 30.0 s" in page
    assert "The agent went away." in page


def test_older_part_goes_on_and_ends():
    instance = InstanceFactory()
    for number in range(selector.PAGE_SIZE + 2):
        CommandFactory(instance=instance, created_at=ago(number), kind="ping" if number < 30 else "sync_now")
    client = console_as()

    page = client.get(url("agents_instance_change", instance.pk))
    older = text_of(client.get(url("agents_instance_timeline", instance.pk), {"before": str(page.context["older"])}))

    assert "data-older" in text_of(page)
    assert (older.count('data-source="command"'), "Sync now" in older, "Ping" in older) == (2, True, False)
    assert "data-older" not in older
    assert "<html" not in older


def test_node_has_a_timeline_of_its_own():
    instance = InstanceFactory()
    assert console_as().get(url("agents_node_timeline", instance.pk)).status_code == 404


@pytest.mark.parametrize("count", [1, 3])
def test_it_costs_the_same_however_much_there_is(count, django_assert_num_queries):
    instance = InstanceFactory()
    busy(instance, rounds=count)

    with django_assert_num_queries(4):
        timeline(instance.pk)


@pytest.mark.needs_postgres
@pytest.mark.parametrize("paged", [False, True])
def test_each_source_is_read_from_its_index(paged):
    instance = InstanceFactory()
    with connection.cursor() as cursor, CaptureQueriesContext(connection) as asked:
        # What a table of a test is too small for, and what no table should be.
        for way in ("seqscan", "bitmapscan", "sort"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
        timeline(instance.pk, before=Place(NOW, 1, "5") if paged else None)
        read = [each["sql"] for each in asked if " LIMIT " in each["sql"]]
        plans = []
        for sql in read:
            cursor.execute(f"EXPLAIN {sql}")
            plans.append("\n".join(line for (line,) in cursor.fetchall()))

    # Partitions name their indexes themselves.
    indexes = ("command_instance_newest", "instance_id_occurred_at_id_idx", "session_instance_newest")
    assert len(plans) == 3
    for plan, index in zip(plans, indexes, strict=True):
        assert index in plan
        assert "Seq Scan" not in plan
        # What is sorted is of one moment.
        assert not re.search(r"(?<!Incremental )Sort  \(", plan)


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_a_moment_that_is_none_in_utc_is_no_place(moment):
    assert Place.parse(f"{moment}_1_5") is None
    instance = InstanceFactory(online=True)
    answer = console_as("viewer").get(url("agents_instance_timeline", instance.pk), {"before": f"{moment}_1_5"})
    assert answer.status_code == 200
