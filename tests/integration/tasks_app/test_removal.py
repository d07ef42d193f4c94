"""Forgetting an instance or a service: everything of theirs goes, told and counted, whenever the process is killed."""

import json
import threading
import time
from datetime import timedelta

import pytest
from channels.db import database_sync_to_async
from django.apps import apps
from django.db import connection, connections
from django.utils import timezone

from agents.models import (
    CommandTotals,
    Event,
    FanOut,
    FanOutTarget,
    Instance,
    InstanceLabels,
    Node,
    Removal,
    Replica,
    Service,
    Session,
)
from agents.services import archive, forgetting
from agents.services.errors import InstanceLeaving, InstanceOnline, NameNotRepeated, RemovalRunning
from agents.services.inventory import store_facts
from agents.services.nodes import Registration, register_node
from agents.services.replicas import start_replica
from agents.services.sessions import open_sessions
from controlplane.access.policy import LOGGED_IN_AT_KEY
from controlplane.common.actors import Actor
from tasks_app.api.removal import _lines, key_of
from tasks_app.models import CustomMetricTotals, MetricWindow, TaskTotals
from tasks_app.selectors.belongings import OF_INSTANCE, OF_SERVICE, everything_of_instance, everything_of_service
from tasks_app.services import removal as removing
from tests.factories import (
    AppSnapshotFactory,
    CommandFactory,
    CustomMetricFactory,
    EventFactory,
    InstanceFactory,
    MetricWindowFactory,
    ServiceFactory,
    SessionFactory,
    TaskControlsFactory,
    TaskFactory,
)
from tests.integration.agents.test_api_exports import Call
from tests.integration.agents.test_opening import opening
from tests.integration.api_client import api_as, api_in_session, service_path

ANN = Actor("ann", address="10.0.0.7", via="api")
ROWS = 5


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(removing, "BATCH_ROWS", 2)
    monkeypatch.setattr(removing, "_BATCH_OF_COMPOSITE_KEYS", 2)


def furnished(service=None):
    """An instance that is offline, with some of everything that an instance can have."""
    instance = InstanceFactory(offline=True, **({"service": service} if service else {}))
    now = timezone.now()
    fan_out = FanOut.objects.create(kind="ping", target_mode="selected_instances", timeout_s=1, created_at=now)
    FanOutTarget.objects.create(fan_out=fan_out, instance=instance, outcome="skipped")
    # Times over several partitions, some of them the same.
    times = [now - timedelta(days=8 * (number // 2)) for number in range(ROWS)]
    sessions = [SessionFactory(instance=instance, status="disconnected", connected_at=at) for at in times]
    for at, session in zip(times, sessions, strict=True):
        CommandFactory(instance=instance, session=session, created_at=at)
        EventFactory(instance=instance, occurred_at=at)
        MetricWindowFactory(instance=instance, window_ended_at=at)
        CustomMetricFactory(instance=instance, window_ended_at=at)
    latest = {"window_started_at": now, "window_ended_at": now, "inflight": 0}
    counters = dict.fromkeys(
        ("fetched", "started", "succeeded", "retried", "failed", "dead_lettered", "cancelled", "timeouts"), 1
    )
    for number in range(ROWS):
        TaskTotals.objects.create(instance=instance, task_name=f"t{number}", **counters, **latest)
        CustomMetricTotals.objects.create(
            instance=instance, task_name="t", name="n", kind="counter", labels_hash=number, value=1, window_ended_at=now
        )
    TaskControlsFactory(instance=instance)
    AppSnapshotFactory(instance=instance)
    InstanceLabels.objects.create(instance=instance)
    store_facts([(instance.pk, {"mac": "00:1B:44:11:3A:B7"})])
    number = Node.objects.count() + 1
    Node.objects.create(
        instance=instance, number=number, name=f"n{number}", type="a", version="1", registered_at=now, updated_at=now
    )
    return instance


OF_ONE = {
    "instance": 1,
    "command": ROWS,
    "fan_out_target": 1,
    "event": ROWS,
    "custom_metric": ROWS,
    "metric_window": ROWS,
    "custom_metric_totals": ROWS,
    "task_totals": ROWS,
    "task_controls": 1,
    "app_snapshot": 1,
    "session": ROWS,
    "labels": 1,
    "host_address": 1,
    "facts": 1,
    "node": 1,
}


def exported(everything):
    """The counts of an export, checked against its lines."""
    lines = [json.loads(json.dumps(line, default=str)) for batch in _lines(everything) for line in batch]
    counts = lines[-1]["counts"]
    assert sum(counts.values()) == len(lines) - 1
    return counts


def everything_left():
    """How many rows there are in each table of the portal that may belong to an instance or a service."""
    counts = {}
    for model in [*apps.get_app_config("agents").get_models(), *apps.get_app_config("tasks_app").get_models()]:
        owners = {"instance", "service"} & {field.name for field in model._meta.concrete_fields}
        if owners and model is not FanOut:
            counts[model.__name__] = model._base_manager.count()
    return {name: count for name, count in counts.items() if count}


def forget(instance):
    return forgetting.forget_instance(instance, name=forgetting.name_to_repeat(instance), actor=ANN)


def run_to_the_end():
    for _run in range(1000):
        if removing.remove_forgotten():
            return
    raise AssertionError("The removal does not end.")


@pytest.mark.django_db
def test_what_is_exported_is_what_is_forgotten():
    instance = furnished()
    bystander = furnished()
    counts = exported(everything_of_instance(instance))
    kept = exported(everything_of_instance(bystander))

    removal = forget(instance)
    run_to_the_end()

    removal.refresh_from_db()
    assert counts == removal.removed == OF_ONE
    assert exported(everything_of_instance(bystander)) == kept
    assert not Instance.objects.filter(pk=instance.pk).exists()


@pytest.mark.django_db
def test_no_column_takes_the_place_of_the_type_of_a_line():
    instance = furnished()
    Node.objects.update(type="end")

    lines = [line for batch in _lines(everything_of_instance(instance)) for line in batch]

    [node] = [line for line in lines if line["type"] == "node"]
    assert (node["node_type"], [line["type"] for line in lines].count("end")) == ("end", 1)


@pytest.mark.parametrize("each", [*OF_INSTANCE, *OF_SERVICE], ids=lambda each: each.kind)
def test_each_column_of_a_line_has_a_key_of_its_own(each):
    columns = [field.attname for field in each.model._meta.concrete_fields]

    keys = {key_of(each.kind, column) for column in columns}

    assert len(keys | {"type"}) == len(columns) + 1


@pytest.mark.django_db
def test_a_service_goes_with_its_tasks_events_and_instances():
    service = ServiceFactory()
    instances = [furnished(service) for _number in range(2)]
    TaskFactory.create_batch(3, service=service)
    EventFactory.create_batch(3, instance=None, service=service, kind="service.topology_changed")
    counts = exported(everything_of_service(service))

    removal = forgetting.forget_service(service, name=service.name, actor=ANN)
    assert Instance.objects.filter(archived_at=None).count() == 0
    run_to_the_end()

    removal.refresh_from_db()
    both = {kind: count * len(instances) for kind, count in OF_ONE.items()}
    assert counts == removal.removed == both | {"service": 1, "task": 3, "event": both["event"] + 3}
    assert everything_left() == {"Event": 2}


def moved_node():
    """A node that came from dev to prod, and the service that it left."""
    for environment in ("dev", "prod"):
        register_node(Registration(name="n", type="agent", version="1", meta_data={"env": environment}))
    return Instance.objects.get(node__name="n"), Service.objects.get(name="agent", environment="dev")


@pytest.mark.django_db
def test_events_of_a_node_that_moved_on_stay_with_it():
    node, left = moved_node()
    EventFactory.create_batch(3, instance=node, service=left)
    EventFactory(instance=None, service=left, kind="service.topology_changed")
    of_node = exported(everything_of_instance(node))
    assert exported(everything_of_service(left)) == {"service": 1, "event": 1}

    removal = forgetting.forget_service(left, name=left.name, actor=ANN)
    run_to_the_end()

    removal.refresh_from_db()
    assert (removal.removed, removal.kept_reason) == ({"service": 1, "event": 1}, "")
    assert exported(everything_of_instance(node)) == of_node
    assert set(Event.objects.filter(instance=node).values_list("service", flat=True)) == {node.service_id}


@pytest.mark.django_db
def test_an_export_has_nothing_of_environments_that_are_not_the_tokens():
    node, left = moved_node()
    EventFactory.create_batch(3, instance=node, service=left)
    of_prod = Event.objects.filter(instance=node, service=node.service).count()

    assert exported(everything_of_instance(node, environments=["prod"]))["event"] == of_prod
    assert exported(everything_of_service(node.service, environments=["prod"]))["event"] == of_prod
    assert exported(everything_of_instance(node))["event"] > of_prod


@pytest.mark.django_db
def test_a_removal_that_fails_keeps_no_other_from_going_on():
    stuck, other = furnished(), furnished()
    with connection.cursor() as cursor:
        of_instance = Instance._meta.pk.db_type(connection)
        cursor.execute(f"CREATE TABLE holding (instance_id {of_instance} REFERENCES agents_instance (id))")
        cursor.execute("INSERT INTO holding VALUES (%s)", [stuck.pk.hex if connection.vendor == "sqlite" else stuck.pk])
    first, second = forget(stuck), forget(other)

    assert not removing.remove_forgotten()

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.finished_at, "tried again" in first.kept_reason) == (None, True)
    assert (second.finished_at is not None, second.kept_reason) == (True, "")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM holding")
    assert removing.remove_forgotten()
    first.refresh_from_db()
    assert (first.finished_at is not None, first.kept_reason) == (True, "")


@pytest.mark.django_db
def test_the_end_is_told_with_who_asked_and_how_much_went():
    removal = forget(instance := furnished())
    run_to_the_end()

    asked, event = Event.objects.order_by("id")
    assert (asked.kind, asked.actor, asked.subject) == ("object.changed", "ann", f"agents.instance:{instance.pk}")
    assert (event.kind, event.actor, event.subject) == ("object.deleted", "ann", f"agents.instance:{instance.pk}")
    assert event.message == removal.name
    assert event.meta == {"address": "10.0.0.7", "via": "api", "before": {"removed rows": OF_ONE}}


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.django_db(transaction=True)
def test_a_removal_that_is_killed_goes_on_and_counts_everything_once(monkeypatch):
    instance = furnished()
    removal = forget(instance)
    real, calls = removing._count, [0]

    def dies_often(stored, removed):
        """After the rows of a batch are gone, before or after they are counted; each third time it lives."""
        if not removed:
            return
        calls[0] += 1
        if calls[0] % 3 == 0:
            raise Killed
        real(stored, removed)
        if calls[0] % 3 == 1:
            raise Killed

    monkeypatch.setattr(removing, "_count", dies_often)
    for _run in range(200):
        try:
            if removing.remove_forgotten():
                break
        except Killed:
            continue

    removal.refresh_from_db()
    assert removal.finished_at is not None
    assert removal.removed == OF_ONE
    assert everything_left() == {"Event": 2}


@pytest.mark.django_db
def test_a_run_that_is_out_of_time_leaves_the_rest_to_the_next(monkeypatch):
    removal = forget(furnished())
    monkeypatch.setattr(removing, "STEP_MAX_S", -1.0)
    assert not removing.remove_forgotten()
    monkeypatch.undo()

    assert removing.remove_forgotten()

    removal.refresh_from_db()
    assert removal.removed == OF_ONE


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_two_runs_at_once_count_everything_once():
    removals = [forget(furnished()) for _number in range(2)]
    failures = []

    def run():
        try:
            run_to_the_end()
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert [Removal.objects.get(pk=each.pk).removed for each in removals] == [OF_ONE, OF_ONE]
    assert Event.objects.filter(kind="object.deleted").count() == 2


@pytest.mark.django_db
def test_who_is_there_is_not_forgotten():
    online = InstanceFactory(online=True)
    connected = SessionFactory(instance=InstanceFactory()).instance

    for instance in (online, connected):
        with pytest.raises(InstanceOnline, match=instance.node_name):
            forget(instance)
        with pytest.raises(InstanceOnline, match="1 instance of"):
            forgetting.forget_service(instance.service, name=instance.service.name, actor=ANN)

    assert Removal.objects.count() == 0
    assert not Instance.objects.filter(forget_requested_at__isnull=False).exists()


@pytest.mark.django_db
def test_the_name_is_asked_for_and_it_is_forgotten_once():
    instance = furnished()

    with pytest.raises(NameNotRepeated, match=instance.node_name):
        forgetting.forget_instance(instance, name="another", actor=ANN)
    forget(instance)
    with pytest.raises(RemovalRunning):
        forget(instance)

    assert archive.restore_instances([instance.pk], actor=ANN) == 0
    assert Removal.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("whole_service", [True, False])
def test_who_comes_meanwhile_is_told_to_come_again_and_is_new_then(whole_service):
    replica = start_replica(Replica.Kind.WEB)
    each = opening()
    open_sessions([each], replica_id=replica.pk)
    instance = Instance.objects.get()
    Session.objects.all().delete()
    Instance.objects.update(connectivity="offline")
    if whole_service:
        forgetting.forget_service(instance.service, name="demo", actor=ANN)
    else:
        forget(instance)

    [refused, other] = open_sessions([each, opening()], replica_id=replica.pk)

    assert isinstance(refused, InstanceLeaving)
    assert refused.retryable
    assert "Come again" in str(refused)
    assert isinstance(other, InstanceLeaving) == whole_service
    run_to_the_end()
    open_sessions([each], replica_id=replica.pk)
    back = Instance.objects.get(pk=instance.pk)
    assert (back.connectivity, back.archived_at, back.created_at > instance.created_at) == ("online", None, True)


@pytest.mark.django_db
def test_totals_that_count_for_ever_stay():
    CommandTotals.objects.create(status="succeeded", count=7)
    forget(furnished())
    run_to_the_end()

    assert CommandTotals.objects.get().count == 7


@pytest.mark.django_db
def test_a_service_to_which_an_instance_came_back_is_kept():
    service = furnished().service
    removal = forgetting.forget_service(service, name=service.name, actor=ANN)
    newcomer = InstanceFactory(service=service, online=True)

    run_to_the_end()

    removal.refresh_from_db()
    assert (removal.kept_reason != "", Service.objects.get().forget_requested_at) == (True, None)
    assert list(Instance.objects.all()) == [newcomer]


@pytest.mark.django_db
def test_the_api_forgets_and_shows_how_far_it_is():
    admin, operator = api_as("admin"), api_as("operator")
    instance = furnished()
    name = {"name": instance.node_name}

    assert operator.post(f"instances/{instance.pk}/forget", name).status_code == 403
    wrong = admin.post(f"instances/{instance.pk}/forget", {"name": "x"})
    answer = admin.post(f"instances/{instance.pk}/forget", name)
    again = admin.post(f"instances/{instance.pk}/forget", name)

    assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["body", "name"])
    assert (answer.status_code, answer.json()["finished_at"], again.status_code) == (200, None, 409)
    path = f"removals/{answer.json()['id']}"
    run_to_the_end()
    assert operator.get(path).json()["removed"] == OF_ONE
    assert operator.get(path).json()["removed_count"] == sum(OF_ONE.values())
    assert [row["id"] for row in operator.get("removals", {"finished": "true"}).json()["items"]] == [
        answer.json()["id"]
    ]
    assert operator.get("removals", {"finished": "false"}).json()["items"] == []
    assert admin.get(f"instances/{instance.pk}").status_code == 404
    assert api_as("viewer", environments=["prod"]).get(path).status_code == 404


@pytest.mark.django_db
def test_the_api_forgets_a_service():
    admin, service = api_as("admin"), furnished().service
    path = service_path(service, "/forget")

    assert admin.post(path, {"name": service.name}).status_code == 422
    answer = admin.post(path, {"name": service.name}, query={"environment": service.environment})

    assert (answer.status_code, answer.json()["kind"]) == (200, "service")


@pytest.mark.django_db
def test_a_session_forgets_only_after_a_recent_login():
    instance = furnished()

    api = api_in_session("admin")
    path, name = f"instances/{instance.pk}/forget", {"name": instance.node_name}
    session = api.client.session
    session[LOGGED_IN_AT_KEY] = 0
    session.save()

    refused = api.post(path, name)

    assert (refused.status_code, Removal.objects.count()) == (401, 0)
    session[LOGGED_IN_AT_KEY] = time.time()
    session.save()
    assert api.post(path, name).status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("of", ["instance", "service"])
async def test_the_export_is_one_document_a_line(of):
    instance = await database_sync_to_async(furnished)()
    api = await database_sync_to_async(api_as)("viewer")
    service = instance.service
    path = f"instances/{instance.pk}/export" if of == "instance" else f"services/{service.name}/export"

    call = await Call(path, api.headers, query=f"environment={service.environment}").whole()

    lines = [json.loads(line) for line in call.body.splitlines()]
    assert call.headers["content-type"] == "application/x-ndjson; charset=utf-8"
    expected = OF_ONE if of == "instance" else OF_ONE | {"service": 1}
    assert (lines[0]["type"], lines[-1]["type"], lines[-1]["counts"]) == (of, "end", expected)
    window = next(line for line in lines if line["type"] == "metric_window")
    assert window.keys() == {"type", *(field.attname for field in MetricWindow._meta.concrete_fields)}
