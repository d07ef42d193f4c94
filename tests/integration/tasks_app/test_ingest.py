"""Reports become rows: order, deduplication, and what a bad one costs. Through the agent's real frames."""

import threading
import uuid
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.gateways.onestep import protocol
from agents.gateways.onestep.protocol import SessionContext
from agents.gateways.onestep.reading import parse_envelope
from agents.models import Event, Instance, Service
from controlplane.common.batching import MicroBatcher
from tasks_app.models import AppSnapshot, CustomMetric, MetricWindow, Task, TaskControls
from tasks_app.services.ingest import report_poison, store_reports
from tests import frames
from tests.factories import AppSnapshotFactory, InstanceFactory, ServiceFactory, SessionFactory
from tests.frames import Agent

LATER = "2026-03-01T00:00:00Z"


@pytest.fixture
def agent(db):
    return enrolled()


def enrolled(service=None):
    """An agent whose session is open, as a hello would leave it."""
    service = service or ServiceFactory(name="demo")
    agent = Agent(name=service.name)
    instance = InstanceFactory(id=uuid.UUID(agent.instance_id), service=service, online=True)
    agent.session = SessionFactory(instance=instance)
    return agent


def enrolled_as(number, service):
    """The same with an instance id that sorts by `number`."""
    agent = Agent(instance_id=str(uuid.UUID(int=number)), name=service.name)
    agent.session = SessionFactory(instance=InstanceFactory(id=uuid.UUID(int=number), service=service, online=True))
    return agent


def reports(agent, *sent):
    context = SessionContext(
        session_id=agent.session.pk,
        instance_id=agent.session.instance_id,
        service_id=agent.session.instance.service_id,
        service_name=agent.name,
        environment=agent.environment,
    )
    found = []
    for frame in sent:
        payload = parse_envelope(frames.text(frame)).payload
        found += protocol.parse_telemetry(payload, context, timezone.now()).reports
    return found


def store(agent, *sent):
    store_reports(reports(agent, *sent))


def instance_of(agent):
    return Instance.objects.get(pk=agent.instance_id)


# --- heartbeats


def test_a_heartbeat_moves_health_facts_and_last_seen(agent):
    before = timezone.now()

    store(agent, agent.heartbeat(status="degraded", controls=[frames.control("tick", "pause_task", paused=True)]))

    instance = instance_of(agent)
    assert (instance.health, instance.uptime_s, instance.inflight_tasks, instance.agent_version) == (
        "degraded",
        5,
        1,
        "1.15.0",
    )
    assert instance.last_seen_at >= before
    assert instance.last_heartbeat_sent_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    (control,) = TaskControls.objects.get(pk=instance.pk).controls
    assert (control["task_name"], control["paused"], control["supported_commands"]) == ("tick", True, ["pause_task"])


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"sequence": 11}, True),
        ({"sequence": 10, "sent_at": LATER}, True),
        ({"sequence": 9, "sent_at": LATER}, False),
    ],
)
@pytest.mark.parametrize("together", [True, False], ids=["one-batch", "two-batches"])
def test_heartbeats_are_ordered_by_number_then_time(agent, changes, counts, together):
    first = agent.heartbeat(sequence=10, status="error", controls=[frames.control("tick", paused=True)])
    second = agent.heartbeat(status="ok", controls=[frames.control("tick", paused=False)], **changes)

    if together:
        store(agent, first, second)
    else:
        store(agent, first)
        store(agent, second)

    assert instance_of(agent).health == ("ok" if counts else "error")
    assert TaskControls.objects.get().controls[0]["paused"] is not counts


def test_a_heartbeat_with_the_same_number_and_time_is_the_same_heartbeat(agent):
    store(agent, agent.heartbeat(sequence=10, status="error"))

    store(agent, agent.heartbeat(sequence=10, status="ok"))

    assert instance_of(agent).health == "error"


def test_a_new_process_counts_from_one_at_once(agent):
    store(agent, agent.heartbeat(sequence=500, status="error"))
    agent.started_at = "2026-01-02T05:00:00Z"

    store(agent, agent.heartbeat(sequence=1, status="ok"))

    assert (instance_of(agent).health, instance_of(agent).last_heartbeat_sequence) == ("ok", 1)


def healths(agent):
    """What events tell of the health of the agent, the oldest first, as (old, new, level)."""
    told = Event.objects.filter(instance=agent.instance_id, kind="instance.health_changed").order_by("id")
    return [(event.meta["old"], event.meta["new"], event.level) for event in told]


def test_an_agent_that_becomes_unwell_and_well_again_is_told_once_each(agent):
    for number, status in enumerate(("starting", "ok", "degraded", "degraded", "error", "ok", "ok"), 1):
        store(agent, agent.heartbeat(sequence=number, status=status))

    assert healths(agent) == [("ok", "degraded", "warn"), ("degraded", "error", "error"), ("error", "ok", "info")]


def test_health_is_known_since_when(agent):
    store(agent, agent.heartbeat(sequence=1, status="degraded"))
    since = instance_of(agent).health_changed_at

    store(agent, agent.heartbeat(sequence=2, status="degraded"))
    assert instance_of(agent).health_changed_at == since
    store(agent, agent.heartbeat(sequence=3, status="error"))
    assert instance_of(agent).health_changed_at > since


def test_a_stale_or_doubled_heartbeat_tells_nothing_of_health(agent):
    store(agent, agent.heartbeat(sequence=10, status="ok"))
    since = instance_of(agent).health_changed_at
    store(agent, agent.heartbeat(sequence=3, status="error"))
    assert (healths(agent), instance_of(agent).health_changed_at) == ([], since)

    twice = agent.heartbeat(sequence=11, status="error")
    store(agent, twice, twice)
    store(agent, twice)

    assert healths(agent) == [("ok", "error", "error")]


def test_a_stale_heartbeat_is_still_a_sign_of_life(agent):
    store(agent, agent.heartbeat(sequence=10))
    Instance.objects.update(last_seen_at=timezone.now() - timedelta(hours=1), connectivity="offline")

    store(agent, agent.heartbeat(sequence=3, status="error"))

    instance = instance_of(agent)
    assert timezone.now() - instance.last_seen_at < timedelta(minutes=1)
    assert (instance.connectivity, instance.health) == ("online", "ok")
    assert list(Event.objects.values_list("kind", flat=True)) == ["instance.online"]


def test_controls_of_tasks_outside_a_known_topology_are_dropped(agent):
    store(agent, agent.sync(frames.task("tick")))

    store(agent, agent.heartbeat(controls=[frames.control("tick"), frames.control("ghost")]))

    assert [control["task_name"] for control in TaskControls.objects.get().controls] == ["tick"]


def test_tasks_that_were_rejected_do_not_spoil_later_heartbeats(agent):
    store(agent, agent.sync(5, {"name": ["x"]}, {"nope": 1}, frames.task("tick")))

    store(agent, agent.heartbeat(controls=[frames.control("tick"), frames.control("ghost")]))

    assert [control["task_name"] for control in TaskControls.objects.get().controls] == ["tick"]


def test_a_stored_snapshot_of_any_shape_does_not_spoil_heartbeats(agent):
    AppSnapshotFactory(instance=agent.session.instance, app={"tasks": [5, {"name": ["x"]}, {}, {"name": "tick"}]})

    store(agent, agent.heartbeat(controls=[frames.control("tick"), frames.control("ghost")]))

    assert [control["task_name"] for control in TaskControls.objects.get().controls] == ["tick"]


@pytest.mark.parametrize("together", [True, False], ids=["one-batch", "two-batches"])
def test_a_clock_that_once_ran_ahead_does_not_freeze_the_state(agent, together):
    agent.started_at = "2131-01-01T00:00:00Z"
    ahead = reports(
        agent,
        agent.heartbeat(sequence=500, status="error", controls=[frames.control("old")]),
        agent.sync(frames.task("old"), sequence=500),
    )
    agent.started_at = timezone.now().isoformat()
    corrected = reports(
        agent,
        agent.heartbeat(sequence=1, controls=[frames.control("new")]),
        agent.sync(frames.task("new"), sequence=1),
    )

    if together:
        store_reports([*ahead, *corrected])
    else:
        store_reports(ahead)
        assert instance_of(agent).started_at.year == 2131
        store_reports(corrected)

    instance = instance_of(agent)
    assert (instance.health, instance.started_at.isoformat()) == ("ok", agent.started_at)
    assert Task.objects.get().name == "new"
    assert [control["task_name"] for control in TaskControls.objects.get().controls] == ["new"]


def test_one_process_whose_clock_runs_ahead_counts_on(agent):
    agent.started_at = "2131-01-01T00:00:00Z"
    store(agent, agent.heartbeat(status="error", controls=[frames.control("tick")]))

    store(agent, agent.heartbeat(status="ok", controls=[]))

    assert (instance_of(agent).health, TaskControls.objects.get().controls) == ("ok", [])


def test_many_heartbeats_cost_as_many_statements_as_few(db):
    service = ServiceFactory(name="demo")
    statements = []
    for count in (2, 40):
        batch = []
        for _ in range(count):
            agent = enrolled(service)
            batch += reports(agent, agent.heartbeat(controls=[frames.control()]))
        with CaptureQueriesContext(connection) as queries:
            store_reports(batch)
        statements.append(len(queries))

    assert statements[0] == statements[1] <= 10
    assert set(Instance.objects.values_list("health", flat=True)) == {"ok"}


# --- topologies


def test_a_sync_makes_tasks_and_snapshot(agent):
    store(agent, agent.sync(frames.task("a"), frames.task("b", source=None, emit=[], retry=None, description="d")))

    first, second = Task.objects.order_by("name")
    assert (first.source_name, first.source_kind, first.source_config) == ("a-source", "interval", {"seconds": 2})
    assert first.emit == [{"kind": "memory_queue", "name": "work", "config": {}}]
    assert first.retry_policy == {"kind": "max_attempts", "config": {"max_attempts": 2, "delay_s": 0.2}}
    assert (second.source_name, second.source_config, second.emit, second.retry_policy, second.description) == (
        "",
        None,
        [],
        None,
        "d",
    )
    service = Service.objects.get()
    assert (service.latest_topology_hash, service.latest_deployment_version) == ("sha256:1", "1.15.0")
    assert AppSnapshot.objects.get().app["topology_hash"] == "sha256:1"


def test_a_sync_is_no_sign_of_life(agent):
    Instance.objects.update(last_seen_at=None)

    store(agent, agent.sync(frames.task()))

    assert instance_of(agent).last_seen_at is None


def test_a_sync_replaces_the_tasks_of_the_service_and_tells_of_the_change(agent):
    store(agent, agent.sync(frames.task("a"), frames.task("b")))
    kept = Task.objects.get(name="b")

    store(agent, agent.sync(frames.task("b", concurrency=4), frames.task("c"), topology_hash="sha256:2"))

    assert list(Task.objects.order_by("name").values_list("name", "concurrency")) == [("b", 4), ("c", 1)]
    assert Task.objects.get(name="b").pk == kept.pk
    (event,) = Event.objects.all()
    assert (event.kind, event.meta) == ("service.topology_changed", {"from": "sha256:1", "to": "sha256:2"})


@pytest.mark.parametrize(("sequence", "counts"), [(4, False), (5, False), (6, True)])
def test_syncs_are_ordered(agent, sequence, counts):
    store(agent, agent.sync(frames.task("old"), sequence=5))

    store(agent, agent.sync(frames.task("new"), sequence=sequence, topology_hash="sha256:2"))

    assert Task.objects.get().name == ("new" if counts else "old")


def test_a_sync_of_a_new_process_counts_from_one(agent):
    store(agent, agent.sync(frames.task("old"), sequence=50))
    agent.started_at = "2026-01-02T05:00:00Z"

    store(agent, agent.sync(frames.task("new"), sequence=1))

    assert Task.objects.get().name == "new"


def written_by(store_again):
    """The statements that changed anything."""
    with CaptureQueriesContext(connection) as queries:
        store_again()
    return [query["sql"] for query in queries if query["sql"].startswith(("INSERT", "UPDATE", "DELETE"))]


def test_a_topology_that_says_nothing_new_writes_nothing(agent):
    store(agent, agent.sync(frames.task("a"), frames.task("b")))

    assert written_by(lambda: store(agent, agent.sync(frames.task("a"), frames.task("b")))) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"topology_hash": "sha256:2"},
        {"service": {"node_name": "n2"}},
        {"service": {"deployment_version": "2.0.0"}},
        {"runtime": {"onestep_version": "9.9.9"}},
        {"runtime": {"pid": 43}},
        {"runtime": {"started_at": "2026-01-02T05:00:00Z"}},
    ],
    ids=lambda changes: "-".join(
        [*changes, *(key for part in changes.values() if isinstance(part, dict) for key in part)]
    ),
)
def test_a_topology_that_says_anything_new_is_stored(agent, changes):
    store(agent, agent.sync(frames.task()))
    build = {"service": agent.service, "runtime": agent.runtime}
    said = {name: build[name](**part) if name in build else part for name, part in changes.items()}

    store(agent, agent.sync(frames.task(), **said))

    assert instance_of(agent).last_sync_sequence == 2


def test_a_topology_counts_again_where_its_service_has_changed_meanwhile(agent):
    other = enrolled(agent.session.instance.service)
    store(agent, agent.sync(frames.task("mine"), topology_hash="sha256:mine"))
    store(other, other.sync(frames.task("theirs"), topology_hash="sha256:theirs"))

    store(agent, agent.sync(frames.task("mine"), topology_hash="sha256:mine"))

    assert (Task.objects.get().name, Service.objects.get().latest_topology_hash) == ("mine", "sha256:mine")


def test_of_topologies_in_one_batch_the_last_of_a_service_counts_as_if_they_came_one_by_one(agent):
    other = enrolled(agent.session.instance.service)
    store(agent, agent.sync(frames.task("mine"), topology_hash="sha256:mine"))
    theirs = reports(other, other.sync(frames.task("theirs"), topology_hash="sha256:theirs"))
    again = reports(agent, agent.sync(frames.task("mine"), topology_hash="sha256:mine"))

    store_reports([*theirs, *again])

    assert (Task.objects.get().name, Service.objects.get().latest_topology_hash) == ("mine", "sha256:mine")
    changes = Event.objects.order_by("id").values_list("meta__from", "meta__to")
    assert list(changes) == [("sha256:mine", "sha256:theirs"), ("sha256:theirs", "sha256:mine")]


def test_many_topologies_cost_as_many_statements_as_few(db):
    services = [ServiceFactory(name=name) for name in ("one", "two", "three")]
    statements = []
    for count in (2, 30):
        agents = [enrolled(service) for service in services for _ in range(count)]
        batch = [
            report
            for agent in agents
            for report in reports(agent, agent.sync(frames.task("a"), frames.task("b"), topology_hash=f"{count}"))
        ]
        with CaptureQueriesContext(connection) as queries:
            store_reports(batch)
        statements.append(len(queries))

    # The second round also says of each service that it changed.
    assert statements[1] <= statements[0] + 2 <= 20
    assert AppSnapshot.objects.count() == 96
    assert set(Instance.objects.values_list("last_topology_hash", flat=True)) == {"2", "30"}
    assert Task.objects.filter(topology_hash="30").count() == 6


def test_a_topology_of_an_instance_that_was_deleted_spoils_nothing(agent):
    gone = enrolled(agent.session.instance.service)
    batch = reports(gone, gone.sync(frames.task("gone"))) + reports(agent, agent.sync(frames.task("tick")))
    Instance.objects.filter(pk=gone.instance_id).delete()

    store_reports(batch)

    assert Task.objects.get().name == "tick"


def test_controls_that_did_not_change_are_not_written_again(agent):
    store(agent, agent.sync(frames.task("tick")))
    said = [frames.control("tick", paused=True), frames.control("ghost")]
    store(agent, agent.heartbeat(controls=said[:1]))

    again = written_by(lambda: store(agent, agent.heartbeat(controls=said[:1])))

    assert not [statement for statement in again if "taskcontrols" in statement]
    store(agent, agent.heartbeat(controls=[frames.control("tick", paused=False)]))
    assert TaskControls.objects.get().controls[0]["paused"] is False


def test_controls_that_did_not_change_are_looked_at_again_after_a_new_topology(agent):
    said = [frames.control("tick"), frames.control("ghost")]
    store(agent, agent.heartbeat(controls=said))
    assert len(TaskControls.objects.get().controls) == 2
    store(agent, agent.sync(frames.task("tick")))

    store(agent, agent.heartbeat(controls=said))

    assert [control["task_name"] for control in TaskControls.objects.get().controls] == ["tick"]


# --- windows and events


def test_windows_and_samples_are_stored_once(agent):
    metric = {"name": "rows_total", "kind": "counter", "value": 3.5, "labels": {"b": "2", "a": "1"}}
    same = {"name": "rows_total", "kind": "counter", "value": 3.5, "labels": {"a": "1", "b": "2"}}
    frame = agent.metrics(frames.window(succeeded=7, avg_duration_ms=1.5, custom_metrics=[metric, same]))

    store(agent, frame, frame)
    store(agent, frame)

    window = MetricWindow.objects.get()
    assert (window.succeeded, window.avg_duration_ms, window.p95_duration_ms) == (7, 1.5, None)
    assert window.window_ended_at == datetime(2026, 1, 2, 3, 4, 35, tzinfo=UTC)
    sample = CustomMetric.objects.get()
    assert (sample.value, sample.labels) == (3.5, {"a": "1", "b": "2"})


def test_events_are_stored_once_with_their_failure(agent):
    failure = {"kind": "error", "exception_type": "ValueError", "message": "boom", "traceback": "Trace"}
    failed = frames.event("failed", "e1", failure=failure, attempts=2, duration_ms=2**39)

    store(agent, agent.events(failed, frames.event("started", "e2")), agent.events(failed))
    store(agent, agent.events(failed))

    assert Event.objects.count() == 2
    event = Event.objects.get(event_id="e1")
    assert (event.kind, event.level, event.message, event.exception_type, event.attempts, event.duration_ms) == (
        "task.failed",
        "error",
        "boom",
        "ValueError",
        2,
        2**39,
    )
    assert (str(event.instance_id), event.service_id, event.meta) == (
        agent.instance_id,
        Service.objects.get().pk,
        {"source": "tick-source"},
    )


def test_the_same_frames_a_thousand_times_change_nothing(agent):
    sent = [
        agent.sync(frames.task()),
        agent.heartbeat(),
        agent.metrics(frames.window()),
        agent.events(frames.event("succeeded", "once")),
    ]

    for _ in range(10):
        store(agent, *(sent * 100))

    assert (Task.objects.count(), MetricWindow.objects.count(), Event.objects.count()) == (1, 1, 1)


# --- the batcher on a real database


@pytest.mark.django_db(transaction=True)
async def test_a_record_that_the_database_refuses_costs_only_itself():
    agent = await sync_to_async(enrolled)()
    batcher = MicroBatcher(
        "t", store_reports, queue_size=100, batch_size=50, flush_interval_s=0.01, on_poison=report_poison
    )
    batcher.start()
    sent = agent.events(*(frames.event(event_id=f"good-{number}") for number in range(9)))
    good = await sync_to_async(reports)(agent, sent)
    # No parser lets such a thing through, and no database stores one.
    bad = msgspec.structs.replace(good[0], event_id="bad", meta={"v": object()})

    for report in [*good[:4], bad, *good[4:]]:
        await batcher.put(report)
    await batcher.stop(5)

    stored = [row async for row in Event.objects.order_by("event_id").values_list("event_id", "kind")]
    assert [event_id for event_id, kind in stored if kind == "task.started"] == [f"good-{n}" for n in range(9)]
    assert [kind for _event_id, kind in stored if kind != "task.started"] == ["ingest.rejected"]
    assert batcher.stats.poisoned == 1


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_two_processes_that_store_topologies_of_the_same_services_do_not_lock_each_other_out():
    services = ServiceFactory(name="one"), ServiceFactory(name="two")
    # Sorted by instance, the first process meets the services in one order and the second in the other.
    crossing = [[enrolled_as(0x10, services[0]), enrolled_as(0x20, services[1])]]
    crossing.append([enrolled_as(0x30, services[1]), enrolled_as(0x40, services[0])])
    barrier, failures = threading.Barrier(2), []

    def store_rounds(agents):
        try:
            for number in range(40):
                batch = [
                    report
                    for agent in agents
                    for report in reports(
                        agent, agent.sync(frames.task(), topology_hash=f"{number}"), agent.heartbeat()
                    )
                ]
                barrier.wait(10)
                store_reports(batch)
        except Exception as error:
            failures.append(error)
            barrier.abort()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=store_rounds, args=(agents,)) for agents in crossing]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
