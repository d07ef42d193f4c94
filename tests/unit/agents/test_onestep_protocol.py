import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.gateways.onestep import building, protocol, reading
from agents.gateways.onestep.protocol import SessionContext
from agents.gateways.onestep.reading import ProtocolError, parse_envelope, repair
from agents.services import reports
from tests import frames
from tests.frames import Agent

NOW = datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)


def parse(agent, frame):
    """The telemetry of a frame as this agent's session would see it; `frame` is a dict or literal text."""
    context = SessionContext(
        session_id=uuid.uuid4(),
        instance_id=uuid.UUID(agent.instance_id),
        service_id=1,
        service_name=agent.name,
        environment=agent.environment,
    )
    literal = frame if isinstance(frame, str) else json.dumps(frame)
    return protocol.parse_telemetry(parse_envelope(literal).payload, context, NOW)


@pytest.mark.parametrize(
    "literal",
    ["", "no", "[]", "{}", '{"type":"hello"}', "[" * 100_000, '{"type":1,"message_id":"m","sent_at":"x","payload":{}}'],
)
def test_what_is_no_envelope_is_refused_and_closes(literal):
    with pytest.raises(ProtocolError) as refusal:
        parse_envelope(literal)

    assert (refusal.value.code, refusal.value.closes) == ("invalid_message", True)


@pytest.mark.parametrize("sent_at", ["2026-01-02T03:04:05", "2026-01-02T11:04:05+08:00", 1767323045, 1767323045.5])
def test_times_come_with_offset_naive_and_as_numbers(sent_at):
    agent = Agent()

    (beat,) = parse(agent, agent.heartbeat(sent_at=sent_at)).reports

    assert beat.sent_at.replace(microsecond=0) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_hello_with_unknown_keys_is_taken():
    hello = protocol.parse_hello(parse_envelope(frames.text(Agent().hello(later="addition"))).payload)

    assert hello.service.name == "demo"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"protocol_version": "2"}, "unsupported_protocol_version"),
        ({"protocol_version": None}, "invalid_message"),
        ({"service": Agent().service(environment="production")}, "invalid_message"),
        ({"service": Agent().service(instance_id="not-a-uuid")}, "invalid_message"),
        ({"service": Agent().service(name="")}, "invalid_message"),
        ({"service": Agent().service(name="n" * 256)}, "invalid_message"),
        ({"runtime": Agent().runtime(pid=0)}, "invalid_message"),
        ({"runtime": Agent().runtime(started_at="0001-01-01T00:00:00+14:00")}, "invalid_message"),
        ({"capabilities": "command.ping"}, "invalid_message"),
    ],
)
def test_a_wrong_hello_is_refused_and_closes(changes, code):
    with pytest.raises(ProtocolError) as refusal:
        protocol.parse_hello(parse_envelope(frames.text(Agent().hello(**changes))).payload)

    assert (refusal.value.code, refusal.value.closes) == (code, True)


def test_accepted_capabilities_keep_order_and_doubles_and_volunteer_custom_metrics():
    accepted = protocol.accepted_capabilities(["command.ping", "command.fly", "telemetry.sync", "command.ping"])

    assert accepted == ("command.ping", "telemetry.sync", "command.ping", "telemetry.custom_metrics")


@pytest.mark.parametrize(
    ("given", "stored"),
    [({}, None), ({"description": None}, ""), ({"description": "  x "}, "x"), ({"description": " "}, "")],
)
def test_an_absent_description_differs_from_an_empty_one(given, stored):
    hello = Agent().hello(service=Agent().service(**given))

    parsed = protocol.parse_hello(parse_envelope(frames.text(hello)).payload)

    assert parsed.service.description == stored


def test_a_bad_event_costs_only_itself():
    agent = Agent()

    parsed = parse(agent, agent.events(frames.event(event_id="a"), frames.event("fetched"), frames.event(event_id="b")))

    assert [event.event_id for event in parsed.reports] == ["a", "b"]
    assert parsed.rejected_count == 1
    assert parsed.reasons[0].startswith("events[1]: Invalid enum value 'fetched'")


@pytest.mark.parametrize(
    ("meta", "stored"),
    [
        ('{"v": NaN}', {"v": None}),
        ('{"v": -Infinity}', {"v": None}),
        ('{"v": 1e999}', {"v": None}),
        ('{"v": "a\\u0000b"}', {"v": "a\ufffdb"}),
        ('{"v": "\\ud800"}', {"v": "\ufffd"}),
        ('{"v": 123456789012345678901234567890}', {"v": 123456789012345678901234567890}),
        ('{"v": ' + "9" * 5000 + "}", {"v": None}),
    ],
)
def test_hostile_meta_is_cleaned_and_the_event_kept(meta, stored):
    agent = Agent()
    literal = frames.text(agent.events(frames.event(meta="META"))).replace('"META"', meta)

    (event,) = parse(agent, literal).reports

    assert event.meta == stored


TEXTS = st.text(max_size=12) | st.sampled_from(["\x00", "a\ud800b", "", "x" * 256, "NaN", "1"])
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**53, 2**63, 2**70, 10**12 + 1, "3", "1.5", "nan", True])
TIMES = st.datetimes().map(lambda moment: moment.isoformat() + "Z") | st.sampled_from([frames.SENT_AT, 1e9, "soon"])
ANYTHING = st.none() | TEXTS | NUMBERS | st.lists(NUMBERS, max_size=2) | st.dictionaries(TEXTS, NUMBERS, max_size=2)


def records(build, **fields):
    """Records of which any named field may be anything; most are as they should be."""
    changes = st.fixed_dictionaries({}, optional={name: kind | ANYTHING for name, kind in fields.items()})
    return st.lists(changes.map(lambda change: build(**change)) | ANYTHING, min_size=1, max_size=4)


SAMPLES = records(
    lambda **changes: {"name": "rows_total", "kind": "counter", "value": 3, "labels": {"table": "t"}} | changes,
    value=NUMBERS,
    labels=st.dictionaries(TEXTS, TEXTS, max_size=2),
)
SENT = {
    "events": records(
        frames.event, event_id=TEXTS, occurred_at=TIMES, attempts=NUMBERS, duration_ms=NUMBERS, meta=ANYTHING,
        failure=st.fixed_dictionaries({"kind": TEXTS}, optional={"message": TEXTS, "traceback": TEXTS}),
    ),
    "metrics": records(
        frames.window, window_id=TEXTS, fetched=NUMBERS, inflight=NUMBERS, avg_duration_ms=NUMBERS,
        custom_metrics=SAMPLES,
    ),
    "heartbeat": records(
        frames.control, task_name=TEXTS, paused=st.booleans(), runner_count=NUMBERS,
        supported_commands=st.lists(TEXTS, max_size=2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("channel", SENT)
def test_reading_a_frame_at_once_and_record_by_record_come_to_the_same(channel):
    @given(SENT[channel])
    @settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(sent):
        agent = Agent(instance_id=str(uuid.UUID(int=1)))
        frame = agent.heartbeat(controls=sent) if channel == "heartbeat" else getattr(agent, channel)(*sent)
        literal = json.dumps(frame)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(protocol, "decode_whole", lambda raw: None)
            one_by_one = parse(agent, literal)

        assert parse(agent, literal) == one_by_one

    check()


@pytest.mark.parametrize("channel", SENT)
def test_a_frame_without_fault_is_read_at_once(channel, monkeypatch):
    agent = Agent()
    frame = {
        "events": agent.events(frames.event(), frames.event("failed", failure={"kind": "error"})),
        "metrics": agent.metrics(frames.window(custom_metrics=[{"name": "n", "kind": "gauge", "value": 1}])),
        "heartbeat": agent.heartbeat(controls=[frames.control()]),
    }[channel]
    monkeypatch.setattr(protocol, "_BODIES", {})

    assert parse(agent, frame).rejected_count == 0


def test_long_texts_are_cut():
    agent = Agent()
    failure = {"kind": "k" * 100, "exception_type": "E" * 300, "message": "m" * 10_001, "traceback": "t" * 100_001}

    (event,) = parse(agent, agent.events(frames.event("failed", failure=failure))).reports
    (topology,) = parse(
        agent,
        agent.sync(frames.task(description="d" * 10_001), service=agent.service(description="d" * 10_001)),
    ).reports

    assert (len(event.failure_kind), len(event.exception_type)) == (64, 255)
    assert (len(event.message), len(event.traceback)) == (10_000, 100_000)
    assert (len(topology.service.description), len(topology.tasks[0].description)) == (10_000, 10_000)


def test_a_large_meta_keeps_its_size_and_beginning():
    agent = Agent()
    fits, exceeds = {"v": "\u4e2d" * 10_000}, {"v": "x" * 70_000}

    kept, cut = parse(agent, agent.events(frames.event(meta=fits), frames.event(meta=exceeds))).reports

    assert kept.meta == fits
    assert cut.meta == {"truncated": True, "size_bytes": len(json.dumps(exceeds)), "start": json.dumps(exceeds)[:4000]}


def test_an_event_from_the_future_is_brought_back_and_says_what_was_reported():
    agent = Agent()
    soon = NOW + timedelta(minutes=59)
    sent = [
        frames.event(occurred_at="8999-01-01T00:00:00+00:00", meta={"a": 1}),
        frames.event(occurred_at="8999-01-01T00:00:00+00:00", meta={"v": "x" * 70_000}),
        frames.event(occurred_at=soon.isoformat()),
    ]

    future, large, near = parse(agent, agent.events(*sent)).reports

    assert (future.occurred_at, near.occurred_at) == (NOW + timedelta(hours=1), soon)
    assert future.meta == {"a": 1, "reported_occurred_at": "8999-01-01T00:00:00+00:00"}
    assert large.meta["reported_occurred_at"] == "8999-01-01T00:00:00+00:00"
    assert "reported_occurred_at" not in near.meta


def test_a_window_from_the_future_is_brought_back():
    agent = Agent()
    bounds = {"started_at": "2026-01-02T03:04:00Z", "ended_at": "8999-01-01T00:00:00Z"}

    (window,) = parse(agent, agent.metrics(frames.window(), window=bounds)).reports

    assert (window.started_at, window.ended_at) == (NOW - timedelta(seconds=6), NOW + timedelta(hours=1))


@pytest.mark.parametrize("channel", ["events", "tasks", "task_controls", "windows"])
def test_a_frame_of_too_many_records_is_refused_and_the_session_kept(channel):
    agent, many = Agent(), [0] * 5_001
    frame = {
        "events": agent.events(*many),
        "tasks": agent.sync(*many),
        "task_controls": agent.heartbeat(controls=many),
        "windows": agent.metrics(*many),
    }[channel]

    with pytest.raises(ProtocolError, match=r"5,001 records .* may hold 5,000") as refusal:
        parse(agent, frame)

    assert (refusal.value.code, refusal.value.closes) == ("invalid_message", False)


def test_rejected_records_are_counted_and_only_the_first_say_why():
    agent = Agent()

    parsed = parse(agent, agent.events(*[0] * 5_000))

    assert (parsed.rejected_count, len(parsed.reasons)) == (5_000, protocol.REASONS_MAX)


def test_custom_metrics_are_limited_for_all_windows_of_a_frame_together():
    agent = Agent()

    parsed = parse(
        agent,
        agent.metrics(frames.window("a", custom_metrics=[0] * 15_000), frames.window("b", custom_metrics=[0] * 15_000)),
    )

    assert [window.task_name for window in parsed.reports] == ["a"]
    assert parsed.rejected_count == 15_001


@pytest.mark.parametrize("filling", ["0,", "[],", '{"a":0},'])
def test_a_frame_of_too_many_values_is_refused_before_it_is_read(filling):
    with pytest.raises(ProtocolError, match="A frame may hold") as refusal:
        parse_envelope('{"type":"telemetry","payload":[' + filling * (3_000_000 // len(filling)) + "0]}")

    assert (refusal.value.code, refusal.value.closes) == ("invalid_message", False)


@pytest.mark.parametrize("unclean", ['"\\ud800"', "1e999", '"\\u0000"', "NaN"])
def test_a_frame_is_repaired_once_however_many_records_need_it(unclean, monkeypatch):
    agent, repairs = Agent(), []
    literal = frames.text(agent.events(*[frames.event(meta={"v": "FILL"}) for _ in range(100)]))
    for module in (reading, protocol):
        monkeypatch.setattr(module, "repair", lambda text: repairs.append(1) or repair(text))

    parsed = parse(agent, literal.replace('"FILL"', unclean))

    assert (len(parsed.reports), parsed.rejected_count, len(repairs)) == (100, 0, 1)


def test_what_is_wrong_for_good_is_not_read_again(monkeypatch):
    agent = Agent()
    frame = frames.text(agent.events(*[frames.event("no-such-kind") for _ in range(100)]))
    monkeypatch.setattr(reading.msgspec.json, "decode", pytest.fail)

    assert parse(agent, frame).rejected_count == 100


def test_text_where_a_number_belongs_is_taken_if_it_is_one():
    agent = Agent()

    good, *others = parse(
        agent,
        agent.metrics(
            frames.window("good", fetched="3", avg_duration_ms="1.5"),
            frames.window("nan", avg_duration_ms="nan"),
            frames.window("infinite", p95_duration_ms="inf"),
        ),
    ).reports

    assert (good.fetched, good.avg_duration_ms, others) == (3, 1.5, [])


@pytest.mark.parametrize(
    "bad",
    [
        {"fetched": -1},
        {"fetched": "many"},
        {"fetched": 2**70},
        {"started": 2**53 + 1},
        {"inflight": 2**62},
        {"avg_duration_ms": 1.1e12},
        {"p95_duration_ms": 1e300},
        {"window_id": "w" * 256},
        {"task_name": ""},
    ],
)
def test_a_bad_window_costs_only_itself(bad):
    agent = Agent()

    parsed = parse(agent, agent.metrics(frames.window("good"), frames.window("bad", **bad)))

    assert [window.task_name for window in parsed.reports] == ["good"]
    assert parsed.rejected_count == 1


def test_nan_in_a_duration_is_no_duration():
    agent = Agent()
    literal = frames.text(agent.metrics(frames.window(avg_duration_ms="NAN"))).replace('"NAN"', "NaN")

    (window,) = parse(agent, literal).reports

    assert window.avg_duration_ms is None


def test_a_bad_custom_metric_costs_only_itself():
    agent = Agent()
    metrics = [
        {"name": "rows_total", "kind": "counter", "value": 3, "labels": {"table": "t"}},
        {"name": "rows total", "kind": "counter", "value": 3, "labels": {}},
        {"name": "negative", "kind": "counter", "value": -1, "labels": {}},
        {"name": "reserved", "kind": "gauge", "value": 1, "labels": {"service": "x"}},
        {"name": "temperature", "kind": "gauge", "value": -4.5, "labels": {}},
    ]

    parsed = parse(agent, agent.metrics(frames.window(custom_metrics=metrics)))

    (window,) = parsed.reports
    assert [sample.name for sample in window.custom_metrics] == ["rows_total", "temperature"]
    assert parsed.rejected_count == 3


@pytest.mark.parametrize(
    ("labels", "is_stored"),
    [
        ({f"l{number}": "" for number in range(protocol.LABELS_MAX)}, True),
        ({f"l{number}": "" for number in range(protocol.LABELS_MAX + 1)}, False),
        ({"l": "x" * (protocol.LABELS_CHARS_MAX - 1)}, True),
        ({"l": "x" * protocol.LABELS_CHARS_MAX}, False),
    ],
)
def test_labels_of_a_custom_metric_are_bounded(labels, is_stored):
    agent = Agent()
    metric = {"name": "rows", "kind": "gauge", "value": 1, "labels": labels}

    parsed = parse(agent, agent.metrics(frames.window(custom_metrics=[metric])))

    (window,) = parsed.reports
    assert (len(window.custom_metrics), parsed.rejected_count) == ((1, 0) if is_stored else (0, 1))


@pytest.mark.parametrize(
    "frame",
    [
        frames.telemetry("logs", {}),
        frames.telemetry("events", {"events": []}),
        Agent(instance_id=str(uuid.UUID(int=1))).heartbeat(sequence=-1),
        Agent(instance_id=str(uuid.UUID(int=1))).events(),
        Agent(instance_id=str(uuid.UUID(int=1))).metrics(),
        Agent(instance_id=str(uuid.UUID(int=1))).metrics(
            frames.window(), window={"started_at": frames.SENT_AT, "ended_at": "2020-01-01T00:00:00Z"}
        ),
        Agent(instance_id=str(uuid.UUID(int=1))).sync(app={"name": "other", "topology_hash": "h", "tasks": []}),
        Agent(instance_id=str(uuid.UUID(int=1))).heartbeat(sent_at="9999-12-31T23:59:59-14:00"),
    ],
)
def test_a_body_that_is_wrong_as_a_whole_is_refused_and_the_session_kept(frame):
    with pytest.raises(ProtocolError) as refusal:
        parse(Agent(instance_id=str(uuid.UUID(int=1))), frame)

    assert (refusal.value.code, refusal.value.closes) == ("invalid_message", False)


@pytest.mark.parametrize("changes", [{"name": "other"}, {"environment": "prod"}, {"instance_id": str(uuid.uuid4())}])
def test_reporting_as_another_closes(changes):
    agent = Agent()

    with pytest.raises(ProtocolError) as refusal:
        parse(agent, agent.heartbeat(service=agent.service(**changes)))

    assert (refusal.value.code, refusal.value.closes) == ("instance_conflict", True)


def test_sync_takes_a_single_sink_no_source_and_leaves_out_a_bad_task():
    agent = Agent()
    sink = {"kind": "http_sink", "name": "out", "config": {"url": "x"}}

    parsed = parse(
        agent,
        agent.sync(
            frames.task("a", emit=sink), frames.task("b", source=None, emit=None), frames.task("c", concurrency=0)
        ),
    )

    (topology,) = parsed.reports
    assert isinstance(topology, reports.Topology)
    assert [(task.name, task.source and task.source["kind"], len(task.emit)) for task in topology.tasks] == [
        ("a", "interval", 1),
        ("b", None, 0),
    ]
    assert parsed.reasons[0].startswith("sync[2]:")


def test_the_snapshot_holds_the_accepted_tasks_as_they_were_sent():
    agent = Agent()
    good = frames.task("a", later="addition", emit={"kind": "k", "name": "n"})
    app = {"name": "demo", "topology_hash": "h", "tasks": [5, {"name": ["x"]}, {"nope": 1}, good], "later": [1]}

    parsed = parse(agent, agent.sync(app=app))

    assert parsed.rejected_count == 3
    assert parsed.reports[0].app == app | {"tasks": [good]}


def test_heartbeat_controls_take_their_defaults():
    agent = Agent()

    (beat,) = parse(agent, agent.heartbeat(controls=[{"task_name": "tick"}, {"task_name": 7}])).reports

    assert beat.controls == (
        {
            "task_name": "tick",
            "supported_commands": [],
            "pause_requested": False,
            "paused": False,
            "accepting_new_work": True,
            "runner_count": 0,
            "parked_runner_count": 0,
            "fetching_runner_count": 0,
            "inflight_task_count": 0,
        },
    )


def test_frames_of_the_portal_have_what_the_client_needs():
    ack = json.loads(building.build_hello_ack("sess_1", ["command.ping"], heartbeat_interval_s=30))
    error = json.loads(building.build_error("invalid_message", "why", closes=True))

    assert ack["type"] == "hello_ack"
    assert ack["payload"] | {"server_time": ""} == {
        "session_id": "sess_1",
        "protocol_version": "1",
        "heartbeat_interval_s": 30,
        "accepted_capabilities": ["command.ping"],
        "server_time": "",
    }
    assert ack["sent_at"].endswith("+00:00")
    assert error["payload"] == {"code": "invalid_message", "message": "why", "close_connection": True}
