"""Sessions opened for many hellos at once."""

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Event, Instance, Replica, Service, Session
from agents.services.errors import InstanceConflict, ReplicaStopped
from agents.services.replicas import start_replica, stop_replica
from agents.services.reports import Hello, RuntimeFacts, ServiceIdentity
from agents.services.sessions import OpenedSession, Opening, open_sessions
from agents.services.tokens import Credential

NOW = timezone.now()


def opening(instance_id=None, *, pid=1, name="demo", version="1", hostname="h"):
    service = ServiceIdentity(
        name=name,
        environment="dev",
        node_name="n",
        instance_id=instance_id or uuid.uuid4(),
        deployment_version=version,
    )
    hello = Hello(
        dialect="onestep",
        protocol_version="1",
        capabilities=("telemetry.sync",),
        accepted_capabilities=("command.ping",),
        service=service,
        runtime=RuntimeFacts(agent_version="1", python_version="3", hostname=hostname, pid=pid, started_at=NOW),
    )
    return Opening(hello, Credential(token_id=None), "10.0.0.1")


@pytest.fixture
def replica(db):
    return start_replica(Replica.Kind.WEB)


def active():
    return Session.objects.filter(status=Session.Status.ACTIVE)


def test_new_services_and_instances_are_made_together(replica):
    openings = [opening(name=name) for name in ("a", "b", "a")]

    outcomes = open_sessions(openings, replica_id=replica.pk)

    assert [outcome.instance_id for outcome in outcomes] == [each.hello.service.instance_id for each in openings]
    assert sorted(Service.objects.values_list("name", "latest_deployment_version")) == [("a", "1"), ("b", "1")]
    assert set(Instance.objects.values_list("connectivity", "hostname", "service__name")) == {
        ("online", "h", "a"),
        ("online", "h", "b"),
    }
    assert set(active().values_list("pk", flat=True)) == {outcome.session_id for outcome in outcomes}
    assert sorted(Event.objects.values_list("kind", flat=True)) == ["instance.online"] * 3 + ["session.opened"] * 3


@pytest.mark.parametrize("again", [False, True])
def test_statements_do_not_grow_with_the_agents(replica, again):
    """Also where each supersedes a session that is still active."""
    counts = []
    for count in (2, 20):
        openings = [opening(name=f"s{number % 3}") for number in range(count)]
        open_sessions(openings, replica_id=replica.pk)
        if not again:
            active().update(status=Session.Status.DISCONNECTED)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            open_sessions(openings, replica_id=replica.pk)
        counts.append(len(queries))

    assert counts[0] == counts[1] <= 11


def test_two_hellos_of_one_instance_count_in_their_order(replica):
    instance_id = uuid.uuid4()

    first, other, second = open_sessions([opening(instance_id), opening(), opening(instance_id)], replica_id=replica.pk)

    assert set(active().values_list("pk", flat=True)) == {other.session_id, second.session_id}
    assert Session.objects.get(pk=first.session_id).end_reason == "superseded"
    assert first.opened_at < second.opened_at


def test_each_hello_is_refused_for_itself(replica):
    mine = opening(name="mine")
    open_sessions([mine], replica_id=replica.pk)
    stranger = opening(mine.hello.service.instance_id, name="stranger")

    good, refused = open_sessions([opening(name="mine"), stranger], replica_id=replica.pk)

    assert isinstance(good, OpenedSession)
    assert isinstance(refused, InstanceConflict)
    assert list(Service.objects.values_list("name", flat=True)) == ["mine"]
    assert active().count() == 2


def test_a_clone_within_the_interval_is_refused_and_its_neighbours_are_not(replica, settings):
    settings.TAKEOVER_INTERVAL_S = 60
    instance_id = uuid.uuid4()
    open_sessions([opening(instance_id, pid=1)], replica_id=replica.pk)
    open_sessions([opening(instance_id, pid=2)], replica_id=replica.pk)

    refused, good = open_sessions([opening(instance_id, pid=1), opening()], replica_id=replica.pk)

    assert isinstance(refused, InstanceConflict)
    assert isinstance(good, OpenedSession)
    assert active().get(instance=instance_id).runtime_pid == 2
    assert Event.objects.filter(kind="instance.conflict").count() == 1
    assert Instance.objects.get(pk=instance_id).conflict_seen_at > NOW - timedelta(seconds=1)


def test_a_process_declared_dead_opens_none(replica):
    stop_replica(replica.pk)

    outcomes = open_sessions([opening(), opening()], replica_id=replica.pk)

    assert [type(outcome) for outcome in outcomes] == [ReplicaStopped] * 2
    assert not Instance.objects.exists()


def test_it_tells_whose_topology_is_known(replica):
    known, unknown = opening(), opening()
    open_sessions([known], replica_id=replica.pk)
    Instance.objects.update(last_sync_at=NOW)

    outcomes = open_sessions([known, unknown], replica_id=replica.pk)

    assert [outcome.has_synced for outcome in outcomes] == [True, False]


def test_a_new_version_is_noted_once_for_its_service(replica):
    open_sessions([opening(), opening()], replica_id=replica.pk)

    open_sessions([opening(version="2"), opening(version="2")], replica_id=replica.pk)

    assert Service.objects.get().latest_deployment_version == "2"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("known", [False, True])
def test_processes_that_open_the_same_instances_at_once_neither_fail_nor_open_twice(known):
    replicas = [start_replica(Replica.Kind.WEB) for _ in range(4)]
    instance_ids = [uuid.uuid4() for _ in range(100)]
    if known:
        open_sessions([opening(one, name=f"s{one.int % 3}") for one in instance_ids], replica_id=replicas[0].pk)
    barrier = threading.Barrier(len(replicas))
    outcomes, failures = [], []

    def open_all(replica, ids):
        barrier.wait()
        try:
            outcomes.extend(open_sessions([opening(one, name=f"s{one.int % 3}") for one in ids], replica_id=replica.pk))
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [
        threading.Thread(target=open_all, args=(replica, instance_ids[:: -1 if number % 2 else 1]))
        for number, replica in enumerate(replicas)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failures == []
    assert all(isinstance(outcome, OpenedSession) for outcome in outcomes)
    assert sorted(active().values_list("instance_id", flat=True)) == sorted(instance_ids)
    assert Service.objects.count() == len({one.int % 3 for one in instance_ids})
