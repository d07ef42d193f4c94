"""What is told, in both languages: titles, fields in their order, groups, and texts that would be more than text."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from notifications.engine.facts import Fact
from notifications.engine.rendering import card_of, cause_of
from notifications.engine.telling import Telling
from notifications.models import EventType

AT = datetime(2026, 3, 1, 10, 2, 3, tzinfo=UTC)
INSTANCE = uuid.UUID(int=7)


def fact(kind="task_failed", **fields):
    return Fact(
        event_id="e1",
        event_type=kind,
        occurred_at=AT,
        received_at=AT,
        service_id=3,
        service_name="billing",
        environment="prod",
        **fields,
    )


def card(telling, language="en", portal_url="https://cp.example/"):
    return card_of(telling, language=language, zone=UTC, portal_url=portal_url)


def told(card):
    return [(line.name, line.value) for line in card.lines]


def test_a_failure_says_what_the_contract_asks_for_in_its_order():
    failed = fact(
        task_name="sync",
        exception_type="ValueError",
        failure_kind="error",
        message="boom",
        duration_ms=1500,
        attempts=2,
        scheduled_at=AT - timedelta(minutes=2),
        instance_id=INSTANCE,
        node_name="db-1",
    )

    found = card(Telling(kind="alert", event_type="task_failed", facts=(failed,)))

    assert found.title == "[Task failed] prod/billing sync"
    assert found.tone == "bad"
    assert told(found) == [
        ("Environment", "prod"),
        ("Service", "billing"),
        ("Task", "sync"),
        ("Planned for", "2026-03-01 10:00:03 UTC"),
        ("Failed", "2026-03-01 10:02:03 UTC"),
        ("Took", "1.5s"),
        ("Cause", "ValueError: error (boom)"),
        ("Attempts", "3"),
        ("Instance", "db-1"),
    ]
    assert [line.name for line in found.lines if line.is_code] == ["Environment", "Service", "Task"]
    assert found.link == f"https://cp.example/admin/agents/instance/{INSTANCE}/change/"


def test_it_is_chinese_where_the_channel_is():
    found = card(Telling(kind="alert", event_type="task_failed", facts=(fact(task_name="sync"),)), "zh-hans")

    assert found.title == "[任务失败] prod/billing sync"
    assert ("环境", "prod") in told(found)


@pytest.mark.parametrize("language", ["en", "zh-hans"])
@pytest.mark.parametrize("kind", EventType.values)
@pytest.mark.parametrize("telling", ["alert", "repeat", "resolved", "summary"])
def test_each_event_type_has_a_title_in_each_language(language, kind, telling):
    found = card(Telling(kind=telling, event_type=kind, facts=(fact(kind, node_name="n"),)), language)

    assert found.title.startswith("[")
    assert kind not in found.title
    assert (language == "zh-hans") == any(character >= "\u4e00" for character in found.title)


def test_what_there_is_nothing_of_is_left_out():
    found = card(Telling(kind="alert", event_type="task_started", facts=(fact("task_started", task_name="sync"),)))

    assert told(found)[2:] == [("Task", "sync"), ("Started", "2026-03-01 10:02:03 UTC")]


def test_a_group_tells_how_many_and_what_covers_them():
    facts = tuple(
        fact("instance_offline", instance_id=uuid.UUID(int=number), node_name=f"n{number}") for number in range(3)
    )
    telling = Telling(
        kind="alert",
        event_type="instance_offline",
        facts=facts,
        event_count=300,
        subject_count=300,
        cover="rack=r7: 300 of 312 instances offline",
        since=AT,
    )

    found = card(telling)

    assert found.title == "[Instance offline] rack=r7: 300 of 312 instances offline"
    assert ("How many", "300") in told(found)
    assert ("Since", "2026-03-01 10:02:03 UTC") in told(found)
    assert len(found.items) == 3


def test_what_is_over_says_how_long_it_lasted():
    over = Telling(
        kind="resolved", event_type="instance_offline", facts=(fact("instance_offline"),), since=AT,
        until=AT + timedelta(hours=1, seconds=5),
    )  # fmt: skip

    found = card(over)

    assert (found.title, found.tone) == ("[Over: Instance offline] prod/billing", "good")
    assert told(found)[-1] == ("Lasted", "1 h 5 s")


def test_a_digest_counts_everything():
    telling = Telling(
        kind="digest", event_count=1000, digest_counts=(("[Task failed] a", 600), ("[Task failed] b", 400))
    )

    found = card(telling)

    assert found.title == "[Digest] 1000 messages in one"
    assert found.items == ("[Task failed] a × 600", "[Task failed] b × 400")


def test_variables_are_those_of_the_contract():
    from notifications.providers.options import VARIABLES

    found = card(Telling(kind="alert", event_type="task_failed", facts=(fact(task_name="sync"),)))

    assert set(VARIABLES) <= set(found.variables)
    assert (found.variables["service_environment"], found.variables["duration_ms"]) == ("prod", "")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"message": "boom"}, "boom"),
        ({"failure_kind": "timeout"}, "timeout"),
        ({"failure_kind": "error", "message": "boom"}, "error (boom)"),
        ({"failure_kind": "error", "exception_type": "E", "message": ""}, "E: error"),
    ],
)
def test_a_cause_of_which_a_part_is_missing(fields, said):
    assert cause_of(fact(**fields)) == said
