"""The page Events: search, facets, bars over time, paging by keyset, what came since, and the page of one event."""

import re
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agents.admin import event_list
from agents.admin.event_query import FAMILY_WORDS, families
from agents.models import Event
from agents.models.event import EventKind
from agents.selectors import event_counts
from tests.factories import CommandFactory, EventFactory, InstanceFactory, ServiceFactory, SessionFactory
from tests.integration.console import console_as, said, text_of, url

pytestmark = pytest.mark.django_db
LIST = "agents_event_changelist"


def listed(client, **query):
    return list(client.get(url(LIST), query).context["cl"].result_list)


def in_file(client, page):
    """What the file of a page holds, asked of the API as a page: files are streams of the ASGI server."""
    answer = client.get(page.context["ndjson_url"].replace("format=ndjson", "format=json"))
    assert answer.status_code == 200, answer.content
    return [item["event_id"] for item in answer.json()["items"]]


def facets_of(client, **query):
    response = client.get(reverse("events_facets"), query)
    assert response.status_code == 200
    return {
        facet.name: {str(value.label): value.count for value in facet.values} for facet in response.context["facets"]
    }


def bars_of(client, **query):
    chart = client.get(reverse("events_chart"), query).json()
    return {line["key"]: line for line in chart["lines"]}


def test_every_family_of_kinds_can_be_chosen_and_has_words():
    by_kind = {kind.partition(".")[0] for kind in EventKind.values}

    assert {name.removesuffix(".*") for name, _words in families()} == by_kind
    assert set(FAMILY_WORDS) == by_kind


@pytest.mark.parametrize("kind", EventKind.values)
def test_each_kind_is_found_by_its_family(kind):
    wanted = EventFactory(kind=kind)
    EventFactory(kind="command.failed" if not kind.startswith("command.") else "task.failed")

    assert listed(console_as("admin"), family=f"{kind.partition('.')[0]}.") == [wanted]


def test_search_takes_words_phrases_and_exclusions():
    refused = EventFactory(kind="task.failed", message="connection refused by the broker")
    other = EventFactory(kind="task.failed", message="refused: a connection of others", instance=refused.instance)
    client = console_as()

    assert set(listed(client, q="connection refused")) == {refused, other}
    assert listed(client, q='"connection refused"') == [refused]
    assert listed(client, q="refused -broker") == [other]
    assert listed(client, q="nothing of that") == []


def test_an_event_is_found_by_its_id_however_old_it_is():
    event = EventFactory(occurred_at=timezone.now() - timedelta(days=9))

    assert listed(console_as(), q=event.event_id) == [event]


def test_a_search_without_words_says_so_and_lists_nothing():
    EventFactory()
    page = console_as().get(url(LIST), {"q": "-only"})

    assert list(page.context["cl"].result_list) == []
    assert "search" in said(page)[0]


def test_filters_of_links_and_bookmarks_narrow_the_list():
    instance = InstanceFactory()
    wanted = EventFactory(instance=instance, service=instance.service, kind="task.failed", level="error", task_name="a")
    other = InstanceFactory()
    EventFactory(instance=other, service=other.service, kind="task.retried", level="warn", task_name="b")
    client = console_as()

    for query in (
        {"service__id__exact": instance.service_id},
        {"instance__id__exact": str(instance.pk)},
        {"kind__exact": "task.failed"},
        {"level__exact": "error"},
        {"task": "a"},
        {"service": instance.service.name, "environment": instance.service.environment},
        {"level": "error,info"},
    ):
        assert listed(client, **query) == [wanted], query
    assert len(listed(client, level=["error", "warn"])) == 2
    assert listed(client, service__id__exact="99999") == []


def test_dialect_narrows_the_list_and_its_file():
    argus, onestep = InstanceFactory(dialect="argus"), InstanceFactory()
    wanted = EventFactory(instance=argus, kind="instance.online")
    EventFactory(instance=onestep, kind="instance.online")
    client = console_as()

    page = client.get(url(LIST), {"dialect": "argus"})

    assert list(page.context["cl"].result_list) == [wanted]
    assert in_file(client, page) == [wanted.event_id]


def test_the_files_hold_what_the_page_shows():
    instance = InstanceFactory()
    for number in range(3):
        EventFactory(instance=instance, kind="task.failed", level="error", message=f"broken {number}", task_name="a")
    EventFactory(instance=instance, kind="task.failed", level="error", message="broken", task_name="b")
    EventFactory(instance=instance, kind="task.retried", level="warn", message="broken", task_name="a")
    client = console_as()

    page = client.get(url(LIST), {"q": "broken", "level": "error", "task_name": "a"})
    rows = [event.event_id for event in page.context["cl"].result_list]

    assert len(rows) == 3
    assert in_file(client, page) == rows
    assert page.context["csv_url"] == page.context["ndjson_url"].replace("format=ndjson", "format=csv")


def test_times_narrow_the_list_and_presets_end_where_times_are_typed():
    now = timezone.now()
    instance = InstanceFactory()
    old, middle, new = (
        EventFactory(instance=instance, kind="instance.online", occurred_at=now - timedelta(hours=hours))
        for hours in (50, 10, 0.1)
    )
    client = console_as()

    assert listed(client) == [new, middle]
    assert listed(client, since="15m") == [new]
    assert listed(client, since="7d") == [new, middle, old]
    times = {"from": (now - timedelta(hours=60)).isoformat(), "to": (now - timedelta(hours=5)).isoformat()}
    assert listed(client, **times) == [middle, old]
    assert listed(client, to=times["to"]) == [middle, old]
    bad = client.get(url(LIST), {"from": "yesterday"})
    assert list(bad.context["cl"].result_list) == []
    assert "yesterday" in said(bad)[0]


def test_what_is_of_one_thing_is_looked_for_in_thirty_days():
    event = EventFactory(occurred_at=timezone.now() - timedelta(days=20))

    assert listed(console_as(), instance__id__exact=str(event.instance_id)) == [event]


def test_pages_lead_on_and_back_without_counting_and_without_gaps(monkeypatch):
    monkeypatch.setattr(event_list, "PAGE_ROWS", 2)
    moment = timezone.now() - timedelta(minutes=5)
    instance = InstanceFactory()
    # All at the same moment: only their keys tell them apart.
    events = [EventFactory(instance=instance, occurred_at=moment) for _ in range(5)]
    newest_first = list(reversed(events))
    client = console_as()

    first = client.get(url(LIST))
    with CaptureQueriesContext(connection) as captured:
        second = client.get(first.context["cl"].older)
    third = client.get(second.context["cl"].older)
    back = client.get(third.context["cl"].newer)

    pages = [list(page.context["cl"].result_list) for page in (first, second, third, back)]
    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:], newest_first[2:4]]
    assert first.context["cl"].newer == ""
    assert third.context["cl"].older == ""
    assert not [each["sql"] for each in captured if "COUNT(" in each["sql"] or "OFFSET" in each["sql"]]


def test_a_row_unfolds_the_head_of_its_traceback():
    EventFactory(kind="task.failed", traceback="Traceback\n" + "x" * 5000 + "END")

    page = text_of(console_as().get(url(LIST)))

    assert re.search(r"<details[^>]*>\s*<summary>Traceback", page)
    assert "x" * 1000 in page
    assert "END" not in page
    assert "All of it" in page


def test_facets_count_what_the_other_filters_leave():
    here, there = ServiceFactory(name="a", environment="prod"), ServiceFactory(name="b", environment="dev")
    one = InstanceFactory(service=here)
    two = InstanceFactory(service=there, dialect="argus")
    for _ in range(2):
        EventFactory(instance=one, service=here, kind="task.failed", level="error", task_name="t", actor="")
    EventFactory(instance=two, service=there, kind="command.failed", level="warn", actor="ann")
    client = console_as()

    whole = facets_of(client)
    narrowed = facets_of(client, level="error")

    assert whole["family"] == {"Tasks": 2, "Commands": 1}
    assert whole["level"] == {"Error": 2, "Warning": 1}
    assert whole["environment"] == {"prod": 2, "dev": 1}
    assert whole["service"] == {"prod/a": 2, "dev/b": 1}
    assert whole["dialect"] == {"OneStep": 2, "Argus": 1} or sum(whole["dialect"].values()) == 3
    assert whole["task_name"]["t"] == 2
    assert whole["actor"] == {"ann": 1}
    assert narrowed["level"] == {"Error": 2, "Warning": 1}
    assert narrowed["family"] == {"Tasks": 2}


def test_facets_of_a_long_history_say_at_least(monkeypatch):
    monkeypatch.setattr(event_counts, "COUNTED_MAX", 2)
    instance = InstanceFactory()
    for _ in range(4):
        EventFactory(instance=instance, kind="task.failed")

    assert "≥ 3" in text_of(console_as().get(reverse("events_facets")))


def test_choosing_a_value_and_taking_it_away_leads_back():
    EventFactory(kind="task.failed", level="error")
    client = console_as()

    facets = client.get(reverse("events_facets"), {"q": ""}).context["facets"]
    [error] = next(facet for facet in facets if facet.name == "level").values
    chosen = client.get(reverse("events_facets") + "?" + urlsplit(error.url).query).context["facets"]
    [again] = [value for value in next(facet for facet in chosen if facet.name == "level").values if value.is_chosen]

    assert parse_qs(urlsplit(error.url).query)["level"] == ["error"]
    assert "level" not in parse_qs(urlsplit(again.url).query)


def test_bars_count_events_by_level_where_there_are_few():
    now = timezone.now()
    instance = InstanceFactory()
    for minutes, level in ((3, "error"), (3, "error"), (40, "warn"), (50, "info")):
        EventFactory(instance=instance, kind="task.failed", level=level, occurred_at=now - timedelta(minutes=minutes))

    bars = bars_of(console_as(), since="1h")

    assert {key: sum(line["values"]) for key, line in bars.items()} == {"info": 1, "warn": 1, "error": 2}
    assert bars["error"]["values"].index(2) > bars["warn"]["values"].index(1) > bars["info"]["values"].index(1)
    assert bars["error"]["label"] == "Error"


def test_bars_of_many_events_are_reckoned_and_say_so(monkeypatch):
    monkeypatch.setattr(event_counts, "EXACT_MAX", 50)
    monkeypatch.setattr(event_counts, "BAR_MAX", 20)
    end = timezone.now()
    instance = InstanceFactory()
    common = {"instance": instance, "service": instance.service, "kind": "instance.online", "received_at": end}
    rows = [
        Event(event_id=f"e{number}", occurred_at=end - timedelta(seconds=number * 2 + 1), level="info", **common)
        for number in range(450)
    ]
    Event.objects.bulk_create(rows)

    bars = bars_of(console_as(), since="15m")

    assert bars["info"]["label"].startswith("≈")
    assert sum(bars["info"]["values"]) == pytest.approx(450, rel=0.1)


def test_bars_of_a_search_that_finds_much_leave_older_spans_unknown(monkeypatch):
    monkeypatch.setattr(event_counts, "SEARCHED_MAX", 2)
    now = timezone.now()
    instance = InstanceFactory()
    for minutes in (1, 2, 40, 50):
        EventFactory(
            instance=instance, kind="task.failed", message="broken", occurred_at=now - timedelta(minutes=minutes)
        )

    values = bars_of(console_as(), since="1h", q="broken")[
        "error" if Event.objects.first().level == "error" else "info"
    ]

    assert values["values"][0] is None
    assert values["values"][-1] is not None


def test_the_page_tells_how_many_events_came_since():
    instance = InstanceFactory()
    EventFactory(instance=instance, kind="task.failed")
    client = console_as()
    page = client.get(url(LIST), {"kind": "task.*"})

    before = text_of(client.get(page.context["new_url"]))
    EventFactory(instance=instance, kind="task.failed")
    EventFactory(instance=instance, kind="instance.online")
    after = text_of(client.get(page.context["new_url"]))

    assert "new event" not in before
    assert "1 new event" in after
    assert 'id="live-new"' in before


def test_a_list_of_nothing_yet_tells_of_the_first_event():
    client = console_as()
    page = client.get(url(LIST))

    EventFactory(occurred_at=timezone.now())

    assert "1 new event" in text_of(client.get(page.context["new_url"]))


@pytest.mark.parametrize("bad", ["?before=x", "?after=20260101T000000.0-99999999999999999999", "?level=loud", "?p=3"])
def test_the_list_survives_a_nonsense_address(bad):
    EventFactory()
    client = console_as()

    for path in (url(LIST), reverse("events_facets"), reverse("events_chart"), reverse("events_new")):
        assert client.get(path + bad).status_code == 200


@pytest.mark.parametrize("view", ["events_facets", "events_chart", "events_new"])
def test_the_parts_tell_nobody_of_changes_of_people(view):
    EventFactory(instance=None, service=None, kind="object.changed", subject="auth.user:1", actor="ann")

    viewer, administrator = (
        text_of(console_as(role).get(reverse(view), {"after": "20200101T000000.0-0"})) for role in ("viewer", "admin")
    )

    assert viewer != administrator
    assert "ann" not in viewer


@pytest.mark.parametrize(
    ("view", "most"),
    [("admin:agents_event_changelist", 11), ("events_facets", 11), ("events_chart", 9), ("events_new", 9)],
)
def test_parts_of_the_page_cost_the_same_at_one_row_and_at_three(view, most):
    client = console_as("admin")

    def cost():
        instance = InstanceFactory()
        EventFactory(instance=instance, service=instance.service, kind="task.failed", actor="ann")
        with CaptureQueriesContext(connection) as captured:
            assert client.get(reverse(view), {"after": "20200101T000000.0-0"}).status_code == 200
        return len(captured), [each["sql"][:150] for each in captured]

    one = cost()[0]
    cost()
    three, statements = cost()

    assert three == one, statements
    assert three <= most, statements


def test_the_page_of_an_event_shows_its_neighbours_and_all_of_it():
    session = SessionFactory()
    instance = session.instance
    command = CommandFactory(instance=instance)
    common = {"instance": instance, "service": instance.service}
    before = EventFactory(command_id=command.pk, kind="command.queued", **common)
    event = EventFactory(command_id=command.pk, kind="command.dispatched", meta={"answer": 42}, **common)
    after = EventFactory(command_id=command.pk, kind="command.accepted", **common)
    EventFactory(kind="command.queued")

    page = console_as().get(url("agents_event_change", event.pk))

    [same_command] = [each for each in page.context["neighbours"] if each["title"] == "Same command"]
    assert same_command["events"] == [after, event, before]
    assert page.context["raw"]["event_id"] == event.event_id
    assert page.context["raw"]["meta"] == {"answer": 42}


def test_the_page_of_an_event_shows_no_neighbours_that_one_may_not_read():
    instance = InstanceFactory()
    event = EventFactory(instance=instance, kind="instance.online")
    EventFactory(instance=instance, kind="object.changed", subject="auth.user:1")

    page = console_as().get(url("agents_event_change", event.pk))

    assert all(each.subject == "" for relation in page.context["neighbours"] for each in relation["events"])


@pytest.mark.parametrize(
    "times",
    [
        {"to": "0001-01-01T00:00"},
        {"to": "0001-02-01"},
        {"from": "0001-01-01T00:00", "to": "0001-01-01T00:00"},
        {"from": "9999-12-31T23:59", "to": "9999-12-31T23:59"},
    ],
)
def test_times_at_the_ends_of_the_calendar_are_times(times):
    client = console_as("viewer")
    chart = client.get(reverse("events_chart"), times)
    assert (chart.status_code, client.get(url(LIST), times).status_code) == (200, 200)
    assert chart.json()["times"] == sorted(set(chart.json()["times"]))


def test_page_of_an_event_leads_to_its_task():
    event = EventFactory(kind="task.failed", task_name="ship", instance=InstanceFactory())
    path = url("tasks_app_task_changelist") + f"?service__id__exact={event.service_id}&amp;q=ship"

    assert f'href="{path}">ship</a>' in text_of(console_as().get(url("agents_event_change", event.pk)))


def test_words_for_those_who_hear_the_page_are_not_shown():
    page = text_of(console_as().get(url("agents_event_changelist") + "?kind=task.failed"))

    assert '<span class="c-for-readers">Take this filter away</span>' in page
    assert "sr-only" not in page
