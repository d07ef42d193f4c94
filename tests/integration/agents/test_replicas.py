"""Which processes of the portal are dead, by what their host says of them."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from django.utils import timezone

from agents.models import Replica
from agents.services.replicas import dead_replicas, host_id, start_replica
from tests.factories import ReplicaFactory

pytestmark = pytest.mark.django_db
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="Only Linux tells ticks and namespaces.")


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


@on_linux
def test_a_process_outlives_a_step_of_the_clock(monkeypatch):
    start_replica(Replica.Kind.WEB)
    created = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: created(process) + 7200)

    assert dead_replicas(timezone.now()) == []


def test_a_process_without_ticks_outlives_a_small_step_of_the_clock():
    started = psutil.Process().create_time()
    at = timezone.now() - timedelta(seconds=timezone.now().timestamp() - started + 3)
    ReplicaFactory(host_id=host_id(), pid=os.getpid(), process_started_at=at, last_seen_at=timezone.now())

    assert dead_replicas(timezone.now()) == []


@on_linux
def test_a_process_id_that_was_given_anew_is_no_life():
    mine = start_replica(Replica.Kind.WEB)
    Replica.objects.update(start_ticks=mine.start_ticks - 1)

    assert dead_replicas(timezone.now()) == [mine]


@on_linux
def test_a_killed_process_is_dead_at_once(child):
    mine = start_replica(Replica.Kind.WEB)
    ticks = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])
    Replica.objects.update(pid=child.pid, start_ticks=ticks)
    assert dead_replicas(timezone.now()) == []

    child.send_signal(signal.SIGKILL)
    child.wait()

    assert dead_replicas(timezone.now()) == [mine]


@on_linux
def test_a_process_that_proc_hides_lives(monkeypatch):
    start_replica(Replica.Kind.WEB)
    monkeypatch.setattr("agents.services.replicas._start_ticks", lambda _pid: None)

    assert dead_replicas(timezone.now()) == []


@on_linux
def test_process_ids_of_another_namespace_are_not_judged(child):
    assert host_id().endswith(f"/{Path('/proc/self/ns/pid').readlink()}")
    elsewhere = f"{host_id().rpartition('/')[0]}/pid:[1]"
    ReplicaFactory(host_id=elsewhere, pid=child.pid, start_ticks=1, last_seen_at=timezone.now())

    assert dead_replicas(timezone.now()) == []
