"""Topologies: what instances run becomes the task definitions of their services."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction

from agents.models import Instance, Service
from agents.models.event import EventKind
from agents.services.events import NewEvent, portal_event, record_events
from agents.services.instances import FACT_COLUMNS, describe_instance, describe_services, facts_of
from agents.services.reports import TaskDefinition, Topology
from controlplane.common.bulk import insert_new, update_from_values, upsert
from tasks_app.models import AppSnapshot, Task

_SYNC_COLUMNS = (
    "id",
    *FACT_COLUMNS,
    "last_sync_at",
    "last_sync_started_at",
    "last_sync_sequence",
    "last_topology_hash",
    "updated_at",
)
_SERVICE_COLUMNS = ("id", "latest_topology_hash", "latest_sync_at")
_DEFINITION_COLUMNS = (
    "description",
    "source_name",
    "source_kind",
    "source_config",
    "emit",
    "concurrency",
    "timeout_s",
    "retry_policy",
    "topology_hash",
)


def _order(topology: Topology) -> tuple[datetime, int, datetime]:
    return (topology.epoch_at, topology.sequence, topology.sent_at)


def newest_topologies(topologies: Sequence[Topology]) -> list[Topology]:
    """The newest of each instance, in the order in which they came."""
    newest: dict[UUID, Topology] = {}
    for topology in topologies:
        known = newest.get(topology.service.instance_id)
        if known is None or _order(topology) > _order(known):
            newest.pop(topology.service.instance_id, None)
            newest[topology.service.instance_id] = topology
    return list(newest.values())


def apply_topologies(topologies: Sequence[Topology]) -> None:
    """Store the topologies of distinct instances, as if one after the other; those that say nothing new write nothing.

    Nothing new says one that is not newer than the last that counted, and one with the hash, process and facts of the
    last, while its service has that hash too. Of the others each becomes its instance's snapshot, and the last of each
    service its task definitions: absent tasks go, also where the hash is the same. Source: contract 2.1 and 2.6.

    Statements: one where nothing is new, else a constant number. Opens its own transaction, which locks instances in
    the order of their ids and then services in the order of theirs; two processes cannot lock each other out.
    """
    if not topologies:
        return
    ids = [topology.service.instance_id for topology in topologies]
    stored = {instance.pk: instance for instance in Instance.objects.select_related("service").filter(pk__in=ids)}
    known = [topology for topology in topologies if topology.service.instance_id in stored]
    changing = {
        stored[topology.service.instance_id].service_id
        for topology in known
        if _says_new(topology, stored[topology.service.instance_id])
    }
    # Where a service changes, what said nothing new of the old state may say something new of the next.
    due = [topology for topology in known if stored[topology.service.instance_id].service_id in changing]
    if due:
        _apply({topology.service.instance_id: topology for topology in due})


def _says_new(topology: Topology, instance: Instance) -> bool:
    """Decided anew under the lock; `instance.service` must be loaded."""
    last = (instance.last_sync_started_at, instance.last_sync_sequence, instance.last_sync_at)
    if None not in last and _order(topology) <= last:
        return False
    if {instance.last_topology_hash, instance.service.latest_topology_hash} != {topology.topology_hash}:
        return True
    facts = facts_of(topology.service, topology.runtime)
    return instance.last_sync_started_at != topology.epoch_at or _values(instance, FACT_COLUMNS) != facts


def _values(row: object, columns: Iterable[str]) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in columns)


@transaction.atomic
def _apply(due: Mapping[UUID, Topology]) -> None:
    locked = Instance.objects.select_for_update(no_key=True).filter(pk__in=due).order_by("pk")
    instances = {instance.pk: instance for instance in locked}
    service_ids = {instance.service_id for instance in instances.values()}
    services = {
        service.pk: service
        for service in Service.objects.select_for_update(no_key=True).filter(pk__in=service_ids).order_by("pk")
    }
    accepted: list[tuple[Instance, Topology]] = []
    changes: list[NewEvent] = []
    for instance_id, topology in due.items():
        instance = instances.get(instance_id)
        if instance is None:
            # Deleted meanwhile.
            continue
        service = instance.service = services[instance.service_id]
        if not _says_new(topology, instance):
            continue
        accepted.append((instance, topology))
        if service.latest_topology_hash not in ("", topology.topology_hash):
            meta = {"from": service.latest_topology_hash, "to": topology.topology_hash}
            changes.append(
                portal_event(EventKind.TOPOLOGY_CHANGED, at=topology.received_at, instance=instance, meta=meta)
            )
        service.latest_topology_hash, service.latest_sync_at = topology.topology_hash, topology.sent_at
        _describe(instance, topology)
    _write_instances(accepted)
    describe_services((instance.service, topology.service) for instance, topology in accepted)
    newest = {instance.service_id: topology for instance, topology in accepted}
    update_from_values(
        Service,
        _SERVICE_COLUMNS,
        [_values(services[service_id], _SERVICE_COLUMNS) for service_id in newest],
        assignments=_assignments(_SERVICE_COLUMNS),
    )
    record_events(changes)
    _replace_definitions(newest)


def _describe(instance: Instance, topology: Topology) -> None:
    describe_instance(instance, topology.service, topology.runtime)
    instance.last_sync_at = topology.sent_at
    instance.last_sync_started_at = topology.epoch_at
    instance.last_sync_sequence = topology.sequence
    instance.last_topology_hash = topology.topology_hash
    instance.updated_at = topology.received_at


def _write_instances(accepted: Sequence[tuple[Instance, Topology]]) -> None:
    update_from_values(
        Instance,
        _SYNC_COLUMNS,
        [_values(instance, _SYNC_COLUMNS) for instance, _topology in accepted],
        assignments=_assignments(_SYNC_COLUMNS),
    )
    snapshots = [(instance.pk, topology.app, topology.received_at) for instance, topology in accepted]
    upsert(AppSnapshot, ("instance", "app", "updated_at"), snapshots)


def _assignments(columns: Sequence[str]) -> str:
    """All but the first, which is the key."""
    return ", ".join(f"{name} = v.{name}" for name in columns[1:])


def _replace_definitions(newest: Mapping[int, Topology]) -> None:
    """Make the tasks of each service those of its topology; rows that are right already are not written.

    The services must be locked: two instances of one service may sync at once.
    """
    rows = Task.objects.filter(service__in=newest).values_list("service_id", "name", "pk", *_DEFINITION_COLUMNS)
    stored = {(service_id, name): (pk, tuple(values)) for service_id, name, pk, *values in rows}
    new, changed = [], []
    for service_id, topology in newest.items():
        for definition in topology.tasks:
            values = _definition_values(definition, topology.topology_hash)
            pk, before = stored.pop((service_id, definition.name), (None, ()))
            if pk is None:
                new.append((service_id, definition.name, *values, topology.received_at, topology.received_at))
            elif before != values:
                changed.append((pk, *values, topology.received_at))
    insert_new(Task, ("service", "name", *_DEFINITION_COLUMNS, "created_at", "updated_at"), new)
    columns = ("id", *_DEFINITION_COLUMNS, "updated_at")
    update_from_values(Task, columns, changed, assignments=_assignments(columns))
    if stored:
        Task.objects.filter(pk__in=[pk for pk, _values in stored.values()]).delete()


def _definition_values(definition: TaskDefinition, topology_hash: str) -> tuple[object, ...]:
    source = definition.source or {}
    return (
        definition.description,
        str(source.get("name", "")),
        str(source.get("kind", "")),
        source.get("config") if definition.source else None,
        list(definition.emit),
        definition.concurrency,
        definition.timeout_s,
        definition.retry_policy,
        topology_hash,
    )
