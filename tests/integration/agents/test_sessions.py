"""Sessions without a socket: races, dead processes, and what a holder learns from its pulse."""

import threading
import uuid
from datetime import timedelta

import psutil
import pytest
from django.db import connections
from django.utils import timezone

from agents.models import Event, Instance, Replica, Service, Session
from agents.services.holding import pulse
from agents.services.replicas import dead_replicas, host_id, start_replica, stop_replica, touch_replica
from agents.services.reports import Hello, RuntimeFacts, ServiceIdentity
from agents.services.sessions import Cut, open_session, reconcile_dead_replicas
from agents.services.tokens import Credential, revoke_agent_token
from controlplane.common.actors import Actor
from tests.factories import AgentTokenFactory, CommandFactory, ReplicaFactory, SessionFactory

NOW = timezone.now()
ANYONE = Credential(token_id=None)


def hello(instance_id, pid=1):
    return Hello(
        dialect="onestep",
        protocol_version="1",
        capabilities=(),
        accepted_capabilities=("command.ping",),
        service=ServiceIdentity(
            name="demo",
            environment="dev",
            node_name="n",
            instance_id=instance_id,
            deployment_version="1",
        ),
        runtime=RuntimeFacts(agent_version="1", python_version="3", hostname="h", pid=pid, started_at=NOW),
    )


@pytest.mark.django_db(transaction=True)
def test_hellos_of_one_new_instance_at_once_leave_one_active_session():
    replica = start_replica(Replica.Kind.WEB)
    instance_id = uuid.uuid4()
    barrier = threading.Barrier(6)
    failures = []

    def say_hello():
        barrier.wait()
        try:
            open_session(hello(instance_id), replica_id=replica.pk, credential=ANYONE, peer_address="")
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=say_hello) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert (Service.objects.count(), Instance.objects.count()) == (1, 1)
    assert sorted(Session.objects.values_list("status", flat=True)) == ["active", *["superseded"] * 5]


@pytest.mark.django_db
def test_a_session_of_a_dead_holder_is_no_clone():
    replica = start_replica(Replica.Kind.WEB)
    instance_id = uuid.uuid4()
    open_session(hello(instance_id, pid=1), replica_id=replica.pk, credential=ANYONE, peer_address="")
    stop_replica(replica.pk)

    other = start_replica(Replica.Kind.WEB)
    open_session(hello(instance_id, pid=2), replica_id=other.pk, credential=ANYONE, peer_address="")

    assert Instance.objects.get().conflict_seen_at is None


@pytest.mark.django_db
def test_dead_processes_are_the_silent_and_those_gone_from_this_host():
    now = timezone.now()
    silent = ReplicaFactory(host_id="elsewhere", last_seen_at=now - timedelta(seconds=60))
    gone = ReplicaFactory(host_id=host_id(), pid=_free_pid(), last_seen_at=now)
    reused = ReplicaFactory(host_id=host_id(), pid=psutil.Process().pid, process_started_at=now - timedelta(days=9))
    start_replica(Replica.Kind.WEB)
    ReplicaFactory(host_id="elsewhere", last_seen_at=now)
    ReplicaFactory(host_id="elsewhere", last_seen_at=now - timedelta(days=1), stopped_at=now)

    assert {replica.pk for replica in dead_replicas(now)} == {silent.pk, gone.pk, reused.pk}


def _free_pid():
    pid = 4_000_000
    while psutil.pid_exists(pid):
        pid += 1
    return pid


@pytest.mark.django_db
def test_reconciling_ends_the_sessions_of_the_dead_and_no_others():
    dead = SessionFactory(replica=ReplicaFactory(host_id="elsewhere", last_seen_at=NOW - timedelta(seconds=60)))
    living = SessionFactory(replica=start_replica(Replica.Kind.WEB))

    assert reconcile_dead_replicas() == 1
    assert reconcile_dead_replicas() == 0

    dead.refresh_from_db()
    living.refresh_from_db()
    assert (dead.status, dead.end_reason, living.status) == ("disconnected", "replica_lost", "active")
    assert list(Event.objects.values_list("kind", "message")) == [("session.closed", "replica_lost")]


@pytest.mark.django_db
def test_a_pulse_after_a_gap_starts_the_sight_anew(settings):
    replica = start_replica(Replica.Kind.WEB)
    started = replica.sight_since

    touch_replica(replica.pk)
    replica.refresh_from_db()
    assert replica.sight_since == started

    Replica.objects.update(last_seen_at=NOW - timedelta(seconds=4 * settings.REPLICA_HEARTBEAT_S))
    touch_replica(replica.pk)
    replica.refresh_from_db()
    assert replica.sight_since > started


@pytest.mark.django_db
def test_a_pulse_tells_a_process_that_it_was_declared_dead():
    replica = start_replica(Replica.Kind.WEB)
    stop_replica(replica.pk)

    assert pulse(replica.pk, since=NOW - timedelta(minutes=1)).is_alive is False


@pytest.mark.django_db
def test_a_pulse_names_what_to_cut_and_whom_to_wake(django_assert_num_queries):
    mine = start_replica(Replica.Kind.WEB)
    revoked = SessionFactory(replica=mine, token=AgentTokenFactory())
    revoke_agent_token(revoked.token, actor=Actor("a"))
    expired = SessionFactory(replica=mine, token=AgentTokenFactory(expires_at=NOW))
    superseded = SessionFactory(replica=mine, status="superseded", disconnected_at=NOW)
    lost = SessionFactory(replica=mine, status="disconnected", end_reason="replica_lost", disconnected_at=NOW)
    SessionFactory(replica=mine, status="disconnected", end_reason="closed_1000", disconnected_at=NOW)
    SessionFactory(status="superseded", disconnected_at=NOW)
    quiet, waiting = SessionFactory(replica=mine), SessionFactory(replica=mine, token=AgentTokenFactory())
    CommandFactory(instance=waiting.instance)
    CommandFactory(instance=quiet.instance, status="dispatched")
    CommandFactory(instance=quiet.instance, deadline_at=NOW - timedelta(seconds=1))
    CommandFactory(instance=SessionFactory().instance)

    with django_assert_num_queries(4):
        found = pulse(mine.pk, since=NOW - timedelta(minutes=1))

    assert found.is_alive
    assert set(found.cuts) == {
        Cut(revoked.pk, "token_revoked"),
        Cut(expired.pk, "token_revoked"),
        Cut(superseded.pk, "superseded"),
        Cut(lost.pk, "lost"),
    }
    assert found.waiting == [waiting.instance_id]
