"""Archiving and forgetting a service while somebody new comes to it."""

import threading
import time

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from agents.models import Instance, Replica, Service
from agents.models.instance import Connectivity
from agents.services.archive import archive_service, hold_services, restore_instances
from agents.services.errors import InstanceOnline
from agents.services.forgetting import forget_service
from agents.services.node_reports import StatusReport, record_report
from agents.services.nodes import Registration, register_node
from agents.services.replicas import start_replica
from agents.services.sessions import open_sessions
from controlplane.common.actors import Actor
from tests.factories import InstanceFactory, ServiceFactory
from tests.integration.agents.test_opening import opening

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs_postgres]
ANN = Actor("ann")
DEADLINE_S = 20


def archive(service):
    archive_service(service, actor=ANN)


def forget(service):
    forget_service(service, name=service.name, actor=ANN)


class Meanwhile:
    """Runs in a thread of its own; `error` is what it raised."""

    def __init__(self, work):
        self.error = None
        self._work = work
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            self._work()
        except Exception as error:
            self.error = error
        finally:
            connections.close_all()

    def end(self):
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        return self.error


def until_somebody_waits():
    """Until a statement of another connection waits for a lock, or one second is over."""
    until = time.monotonic() + 1
    while time.monotonic() < until:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0]:
                return
        time.sleep(0.02)


@pytest.mark.parametrize("act", [archive, forget])
def test_a_new_instance_that_says_hello_keeps_its_service(act):
    replica = start_replica(Replica.Kind.WEB)
    each = opening()
    said = each.hello.service
    # Nothing is new of the service: its row is not written.
    service = ServiceFactory(
        name=said.name,
        environment=said.environment,
        latest_deployment_version=said.deployment_version,
        description=said.description or "",
    )

    with transaction.atomic():
        open_sessions([each], replica_id=replica.pk)
        other = Meanwhile(lambda: act(service))
        until_somebody_waits()

    assert isinstance(other.end(), InstanceOnline)
    service.refresh_from_db()
    assert (service.archived_at, service.forget_requested_at) == (None, None)
    assert Instance.objects.get().connectivity == Connectivity.ONLINE


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("act", [archive, forget])
def test_a_node_that_comes_to_a_service_goes_with_it(act, is_known):
    service = ServiceFactory(name="agent", environment="prod", latest_deployment_version="1")
    if is_known:
        register_node(Registration(name="n", type="agent", version="1", meta_data={"env": "dev"}))

    with transaction.atomic():
        register_node(Registration(name="n", type="agent", version="1", meta_data={"env": "prod"}))
        other = Meanwhile(lambda: act(service))
        until_somebody_waits()

    assert other.end() is None
    assert Instance.objects.get(service=service).archived_at is not None
    assert Service.objects.get(pk=service.pk).archived_at is not None


@pytest.mark.parametrize("act", [archive, forget])
def test_who_has_a_known_instance_and_brings_a_new_one_is_not_deadlocked(act):
    """An instance comes between the lock of the instances and that of the service; who has it waits for the service."""
    service = ServiceFactory()
    first = InstanceFactory(service=service, offline=True)

    with transaction.atomic():
        Instance.objects.select_for_update(no_key=True).get(pk=first.pk)
        hold_services([service])
        other = Meanwhile(lambda: act(service))
        until_somebody_waits()
        InstanceFactory(service=service, offline=True)

    assert other.end() is None
    assert not Instance.objects.filter(archived_at=None).exists()


def test_a_node_that_reports_while_its_service_is_archived_brings_both_back():
    node, _is_new = register_node(Registration(name="n", type="agent", version="1", meta_data={}))
    report = StatusReport(node_id=node.id, reported_at=timezone.now(), health={})

    with transaction.atomic():
        archive(Service.objects.get())
        other = Meanwhile(lambda: record_report(report))
        until_somebody_waits()

    assert other.end() is None
    assert (Instance.objects.get().archived_at, Service.objects.get().archived_at) == (None, None)


def test_who_is_forgotten_is_not_restored_with_its_service():
    service = ServiceFactory()
    InstanceFactory(service=service, offline=True)
    archive(service)

    with transaction.atomic():
        forget(service)
        other = Meanwhile(lambda: restore_instances(list(Instance.objects.values_list("pk", flat=True)), actor=ANN))
        until_somebody_waits()

    assert other.end() is None
    assert Service.objects.get().archived_at is not None
