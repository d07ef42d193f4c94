"""What the live stream says on the wire, and who gets what."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from agents.api.live.messages import (
    CHANNEL_OF_FAMILY,
    STREAMED_KINDS,
    Channel,
    Control,
    Filter,
    channel_of,
    control_frame,
    event_message,
    keepalive_frame,
)
from agents.models.event import ROUTINE_KINDS, EventKind
from agents.selectors.stream import Cursor, Position, StreamedEvent

NOW = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
INSTANCE = UUID("85a51e59-7ca4-41f0-b3ae-86f878d910e1")


def streamed(**changes):
    fields = {
        "position": Position(700, 12),
        "event_id": "e-1",
        "kind": "command.queued",
        "level": "info",
        "occurred_at": NOW,
        "instance_id": INSTANCE,
        "command_id": INSTANCE,
        "task_name": "sync",
        "message": "ping",
        "subject": "",
        "service_name": "shop",
        "environment": "dev",
    }
    return StreamedEvent(**fields | changes)


def lines_of(frame):
    assert frame.endswith(b"\n\n")
    return frame.decode().removesuffix("\n\n").split("\n")


def test_event_is_one_unnamed_message_with_its_id():
    place, data = lines_of(event_message(streamed(), life="0a1b2c3d", now=NOW).frame)

    assert place == f"id: 0a1b2c3d-700-12-{int(NOW.timestamp())}"
    assert json.loads(data.removeprefix("data: ")) == {
        "channel": "commands",
        "published_at": "2026-01-02T03:04:05.600000+00:00",
        "event_id": "e-1",
        "kind": "command.queued",
        "level": "info",
        "occurred_at": "2026-01-02T03:04:05.600000+00:00",
        "service": {"name": "shop", "environment": "dev"},
        "instance_id": str(INSTANCE),
        "command_id": f"cmd_{INSTANCE.hex}",
        "task_name": "sync",
        "message": "ping",
    }


def test_what_an_event_does_not_have_is_null():
    event = streamed(
        kind="token.created",
        instance_id=None,
        command_id=None,
        task_name="",
        message="",
        service_name=None,
        environment=None,
    )

    _place, data = lines_of(event_message(event, life="0a1b2c3d", now=NOW).frame)

    body = json.loads(data.removeprefix("data: "))
    assert {name for name, value in body.items() if value is None} == {
        "service",
        "instance_id",
        "command_id",
        "task_name",
        "message",
    }


@pytest.mark.parametrize("text", ["a\nb\r\nc\rd", "data: x\n\nid: 7", "中\u2028\u2029\x85", 'quote " and \\'])
def test_text_of_any_kind_stays_within_its_line(text):
    _place, data = lines_of(event_message(streamed(message=text), life="0a1b2c3d", now=NOW).frame)

    assert json.loads(data.removeprefix("data: "))["message"] == text


def test_text_that_is_not_unicode_is_escaped():
    frame = event_message(streamed(message="a\ud800b"), life="0a1b2c3d", now=NOW).frame

    assert json.loads(lines_of(frame)[1].removeprefix("data: "))["message"] == "a\ud800b"


def test_control_message_can_carry_a_place_and_a_hint():
    cursor = Cursor("0a1b2c3d", Position(700, 0), 1_767_323_045)

    lines = lines_of(control_frame(Control.STATUS, now=NOW, cursor=cursor, retry_ms=3000, state="live"))

    assert lines[:2] == ["retry: 3000", "id: 0a1b2c3d-700-0-1767323045"]
    assert json.loads(lines[2].removeprefix("data: ")) == {
        "channel": "status",
        "published_at": "2026-01-02T03:04:05.600000+00:00",
        "state": "live",
    }


def test_keepalive_is_a_comment_that_moves_the_place():
    cursor = Cursor("0a1b2c3d", Position(700, 0), 1_767_323_045)

    assert keepalive_frame(cursor) == b": keepalive\nid: 0a1b2c3d-700-0-1767323045\n\n"
    assert keepalive_frame(None) == b": keepalive\n\n"


@pytest.mark.parametrize(
    ("kind", "channel"),
    [
        (EventKind.COMMAND_FAILED, Channel.COMMANDS),
        (EventKind.SESSION_OPENED, Channel.SESSIONS),
        (EventKind.INSTANCE_OFFLINE, Channel.INSTANCES),
        (EventKind.TOPOLOGY_CHANGED, Channel.SERVICES),
        (EventKind.TASK_FAILED, Channel.TASKS),
        (EventKind.TOKEN_CREATED, Channel.EVENTS),
        (EventKind.AGENT_REFUSED, Channel.EVENTS),
        (EventKind.INGEST_REJECTED, Channel.EVENTS),
        ("job.started", Channel.JOBS),
        ("of.a.later.release", Channel.EVENTS),
    ],
)
def test_channel_is_the_most_specific_one(kind, channel):
    assert channel_of(kind) == channel


def test_every_channel_but_that_of_the_rest_has_a_family():
    assert set(CHANNEL_OF_FAMILY.values()) == set(Channel) - {Channel.EVENTS}


def test_every_kind_but_routine_is_streamed():
    assert set(STREAMED_KINDS) == set(EventKind.values) - set(ROUTINE_KINDS)


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        (Filter(), True),
        (Filter(channels=frozenset({Channel.COMMANDS, Channel.TASKS})), True),
        (Filter(channels=frozenset({Channel.TASKS})), False),
        (Filter(channels=frozenset({Channel.EVENTS})), True),
        (Filter(environment="dev", service="shop", instance_id=INSTANCE, kind="command.queued", level="info"), True),
        (Filter(environment="prod"), False),
        (Filter(service="Shop"), False),
        (Filter(instance_id=UUID(int=1)), False),
        (Filter(kind="command.failed"), False),
        (Filter(level="error"), False),
    ],
)
def test_filter_takes_what_fulfils_all_of_it(wanted, takes):
    assert wanted.takes(streamed()) is takes


def test_filter_of_a_service_leaves_out_what_is_of_none():
    assert not Filter(environment="dev").takes(streamed(service_name=None, environment=None))
