"""Archive and restore: what is left out, who is refused, and that whoever reports comes back by itself."""

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connections, transaction
from django.utils import timezone

from agents.models import Event, Instance, Replica, Service
from agents.models.instance import Connectivity, Dialect
from agents.selectors.census import census
from agents.selectors.figures import instance_counts
from agents.selectors.instances import instances, service_instances
from agents.selectors.services import presences
from agents.services.archive import (
    archive_instance,
    archive_instances,
    archive_service,
    restore_instances,
    restore_service,
)
from agents.services.errors import InstanceOnline
from agents.services.forgetting import forget_service
from agents.services.instances import record_presence
from agents.services.replicas import start_replica
from agents.services.reports import Heartbeat
from agents.services.sessions import open_sessions
from agents.services.telemetry import apply_heartbeats
from controlplane.common.actors import Actor
from tasks_app.selectors.controls import instance_controls
from tests.factories.agents import InstanceFactory, SessionFactory
from tests.integration.agents.test_opening import opening
from tests.integration.api_client import api_as, service_path

ANN = Actor("ann", address="10.0.0.7", via="api")


def kinds(**of):
    return list(Event.objects.filter(**of).order_by("id").values_list("kind", flat=True))


@pytest.fixture
def replica(db):
    return start_replica(Replica.Kind.WEB)


@pytest.fixture
def absent(db):
    return InstanceFactory(offline=True)


def test_an_archived_instance_is_left_out_of_lists_and_figures(absent):
    other = InstanceFactory(offline=True, service=absent.service)

    assert archive_instance(absent, actor=ANN)

    now = timezone.now()
    service = absent.service
    assert list(instances()) == list(service_instances(service, now=now)) == [other]
    assert list(instances(archived="true")) == [absent]
    assert set(instances(archived="all")) == {absent, other}
    assert [each.instance_id for each in instance_controls(service, online_only=False)] == [other.pk]
    assert [each.instance_count for each in presences(Service.objects.all(), now=now)] == [1]
    counted = census(now)
    assert (counted.instances, counted.total("offline")) == (1, 1)
    assert [(group.service_id, group.count, group.among) for group in counted.offline] == [(service.pk, 1, 1)]
    assert ("onestep", "dev", "offline", 1) in set(instance_counts())


@pytest.mark.django_db
def test_a_node_that_never_reported_and_was_called_offline_lately_is_in_trouble(settings):
    now = timezone.now()
    window = timedelta(seconds=settings.INSTANCE_HEALTH_PARTICIPATION_WINDOW_S)
    fields = {"dialect": "argus", "connectivity": "offline", "last_seen_at": None}
    lately = InstanceFactory(connectivity_changed_at=now - window / 2, **fields)
    InstanceFactory(connectivity_changed_at=now - window * 2, **fields)

    assert [(group.service_id, group.count) for group in census(now).offline] == [(lately.service_id, 1)]


def test_archiving_is_told_once_with_who_did_it(absent):
    archive_instance(absent, actor=ANN)

    assert not archive_instance(absent, actor=ANN)

    event = Event.objects.get(kind="instance.archived")
    assert (event.actor, event.instance_id, event.subject) == ("ann", absent.pk, f"agents.instance:{absent.pk}")
    assert event.meta == {"address": "10.0.0.7", "via": "api"}


@pytest.mark.parametrize("online", [True, False])
def test_who_is_online_or_connected_is_not_archived(online, absent):
    present = InstanceFactory(online=True) if online else SessionFactory(instance=InstanceFactory()).instance

    with pytest.raises(InstanceOnline, match=present.node_name):
        archive_instance(present, actor=ANN)
    done = archive_instances([absent.pk, present.pk, uuid.uuid4()], actor=ANN)

    assert (done.changed, done.refused) == ([absent.pk], [present.pk])
    assert Instance.objects.filter(archived_at=None).get() == present


def test_a_service_is_archived_with_all_its_instances_and_comes_back_with_them(absent):
    service = absent.service
    before = InstanceFactory(service=service, offline=True)
    archive_instance(before, actor=ANN)

    assert archive_service(service, actor=ANN) == 1
    assert archive_service(service, actor=ANN) == 0
    assert set(Instance.objects.filter(archived_at__isnull=False)) == {absent, before}
    assert census(timezone.now()).services == 0

    assert restore_service(service, actor=ANN) == 1
    assert Instance.objects.filter(archived_at__isnull=False).get() == before
    assert kinds(subject=f"agents.service:{service.pk}") == ["service.archived", "service.restored"]


def test_a_service_with_an_online_instance_stays(absent):
    InstanceFactory(service=absent.service, online=True)

    with pytest.raises(InstanceOnline, match="1 instance of dev/"):
        archive_service(absent.service, actor=ANN)

    assert Instance.objects.filter(archived_at=None).count() == 2
    assert kinds() == []


def test_restoring_an_instance_restores_its_service(absent):
    InstanceFactory(service=absent.service, offline=True)
    archive_service(absent.service, actor=ANN)

    assert restore_instances([absent.pk], actor=ANN) == 1
    assert restore_instances([absent.pk], actor=ANN) == 0

    assert Service.objects.get().archived_at is None
    assert Instance.objects.get(archived_at=None) == absent


def hello(replica, each):
    open_sessions([each], replica_id=replica.pk)


def presence(_replica, each):
    record_presence(each.hello.service, dialect=Dialect.ONESTEP, at=timezone.now() + timedelta(seconds=1))


@pytest.mark.parametrize("report", [hello, presence])
@pytest.mark.parametrize("is_new", [True, False])
def test_whoever_reports_comes_back_by_itself(replica, report, is_new):
    each = opening()
    hello(replica, each)
    instance = Instance.objects.get()
    instance.sessions.all().delete()
    Instance.objects.update(connectivity=Connectivity.OFFLINE)
    archive_service(instance.service, actor=ANN)
    reporting = opening() if is_new else each

    with transaction.atomic():
        report(replica, reporting)

    back = Instance.objects.get(archived_at=None)
    assert (back.pk, back.connectivity) == (reporting.hello.service.instance_id, "online")
    assert Service.objects.get().archived_at is None
    restored = ["service.restored"] if is_new else ["instance.restored", "service.restored"]
    assert [kind for kind in kinds() if kind.endswith(".restored")] == restored
    assert Event.objects.get(kind="service.restored").actor == ""


def test_a_heartbeat_restores(replica):
    each = opening()
    hello(replica, each)
    Instance.objects.update(connectivity=Connectivity.OFFLINE, archived_at=timezone.now())
    now = timezone.now()
    beat = Heartbeat(
        service=each.hello.service,
        runtime=each.hello.runtime,
        sequence=1,
        sent_at=now,
        received_at=now,
        health="ok",
        uptime_s=1,
        inflight_tasks=0,
    )

    with transaction.atomic():
        apply_heartbeats([beat])

    assert Instance.objects.get().archived_at is None
    assert kinds(kind__startswith="instance.re") == ["instance.restored"]


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("archive", ["instance", "service"])
def test_archiving_and_a_hello_at_once_never_end_archived_and_online(archive):
    replica = start_replica(Replica.Kind.WEB)
    for _round in range(8):
        each = opening(name=f"s{_round}")
        hello(replica, each)
        instance = Instance.objects.get(pk=each.hello.service.instance_id)
        instance.sessions.all().delete()
        Instance.objects.filter(pk=instance.pk).update(connectivity=Connectivity.OFFLINE)
        barrier = threading.Barrier(2)

        def archiving(instance=instance, barrier=barrier):
            barrier.wait()
            try:
                if archive == "instance":
                    archive_instance(instance, actor=ANN)
                else:
                    archive_service(instance.service, actor=ANN)
            except InstanceOnline:
                pass
            finally:
                connections.close_all()

        def greeting(each=each, barrier=barrier, name=f"s{_round}"):
            barrier.wait()
            try:
                open_sessions([each, opening(name=name)], replica_id=replica.pk)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=archiving), threading.Thread(target=greeting)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    online = Instance.objects.filter(connectivity=Connectivity.ONLINE)
    assert online.count() == 16
    assert not online.filter(archived_at__isnull=False).exists()
    assert not Service.objects.filter(archived_at__isnull=False).exists()


@pytest.mark.django_db
def test_the_api_archives_and_restores(absent):
    api = api_as("operator")

    answer = api.post(f"instances/{absent.pk}/archive")

    assert answer.status_code == 200
    assert answer.json()["archived_at"] is not None
    assert api.get("instances").json()["items"] == []
    assert [row["id"] for row in api.get("instances", {"archived": "true"}).json()["items"]] == [str(absent.pk)]
    assert api.get(f"instances/{absent.pk}").status_code == 200
    assert api.get("instances", {"archived": "yes"}).status_code == 422
    assert api.post(f"instances/{absent.pk}/restore").json()["archived_at"] is None
    assert Event.objects.get(kind="instance.archived").actor.startswith("user")


@pytest.mark.django_db
def test_the_api_restores_nothing_that_is_being_forgotten(absent):
    forget_service(absent.service, name=absent.service.name, actor=ANN)
    api, environment = api_as("operator"), {"environment": absent.service.environment}

    answers = [
        api.post(f"instances/{absent.pk}/restore"),
        api.post(service_path(absent.service, "/restore"), query=environment),
    ]

    assert [answer.status_code for answer in answers] == [409, 409]
    assert Instance.objects.get().archived_at is not None
    assert Service.objects.get().archived_at is not None


@pytest.mark.django_db
def test_the_api_archives_a_service(absent):
    api, service = api_as("operator"), absent.service
    environment = {"environment": service.environment}

    answer = api.post(service_path(service, "/archive"), query=environment)

    assert answer.json()["changed_instances"] == 1
    assert api.get("services").json()["total"] == 0
    assert api.get("services", {"archived": "all"}).json()["total"] == 1
    assert api.post(service_path(service, "/restore"), query=environment).json()["archived_at"] is None
    InstanceFactory(service=service, online=True)
    refused = api.post(service_path(service, "/archive"), query=environment)
    assert (refused.status_code, "online or connected" in refused.json()["detail"]) == (409, True)
    assert api.post(service_path(service, "/archive")).status_code == 422
    assert api.post("services/none/archive", query=environment).status_code == 404


@pytest.mark.django_db
def test_environments_of_a_token_bound_what_it_archives(absent):
    api = api_as("operator", environments=["prod"])

    assert api.post(f"instances/{absent.pk}/archive").status_code == 404
    assert api.post(service_path(absent.service, "/archive"), query={"environment": "dev"}).status_code == 404
    assert not Instance.objects.filter(archived_at__isnull=False).exists()
