"""Topologies: what instances run becomes the task definitions of their services."""

import logging
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction

from agents.models import Instance, Service
from agents.models.event import EventKind
from agents.services.events import portal_event, record_events
from agents.services.instances import describe_instance, describe_service
from agents.services.reports import TaskDefinition, Topology
from tasks_app.models import AppSnapshot, Task

logger = logging.getLogger(__name__)

_DEFINITION_FIELDS = (
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
    """The newest of each instance, sorted by instance so that two writers lock rows in one order."""
    newest: dict[UUID, Topology] = {}
    for topology in topologies:
        known = newest.get(topology.service.instance_id)
        if known is None or _order(topology) > _order(known):
            newest[topology.service.instance_id] = topology
    return sorted(newest.values(), key=lambda topology: topology.service.instance_id)


@transaction.atomic
def apply_topology(topology: Topology) -> bool:
    """Store one topology unless a newer one of this instance is known; False if it was left out.

    The task definitions of the service become those of this topology: absent tasks go, also where the hash is the
    same. Source: contract 2.1 and 2.6.
    """
    instance = (
        Instance.objects.select_related("service").select_for_update(of=("self",)).get(pk=topology.service.instance_id)
    )
    known = (instance.last_sync_started_at, instance.last_sync_sequence, instance.last_sync_at)
    if None not in known and _order(topology) <= known:
        return False
    is_unchanged = instance.last_topology_hash == topology.topology_hash and instance.service.latest_topology_hash == (
        topology.topology_hash
    )
    describe_instance(instance, topology.service, topology.runtime)
    instance.last_sync_at = topology.sent_at
    instance.last_sync_started_at = topology.epoch_at
    instance.last_sync_sequence = topology.sequence
    instance.last_topology_hash = topology.topology_hash
    instance.save(update_fields=[*_SYNC_FIELDS, "updated_at"])
    describe_service(instance.service, topology.service)
    AppSnapshot.objects.update_or_create(
        instance=instance, defaults={"app": topology.app, "updated_at": topology.received_at}
    )
    if not is_unchanged:
        _note_change(instance.service, instance, topology)
    Service.objects.filter(pk=instance.service_id).update(
        latest_topology_hash=topology.topology_hash, latest_sync_at=topology.sent_at
    )
    _replace_definitions(instance.service, topology)
    return True


_SYNC_FIELDS = (
    "node_name",
    "deployment_version",
    "agent_version",
    "python_version",
    "hostname",
    "pid",
    "started_at",
    "last_sync_at",
    "last_sync_started_at",
    "last_sync_sequence",
    "last_topology_hash",
)


def _note_change(service: Service, instance: Instance, topology: Topology) -> None:
    if service.latest_topology_hash and service.latest_topology_hash != topology.topology_hash:
        meta = {"from": service.latest_topology_hash, "to": topology.topology_hash}
        record_events([portal_event(EventKind.TOPOLOGY_CHANGED, at=topology.received_at, instance=instance, meta=meta)])


def _replace_definitions(service: Service, topology: Topology) -> None:
    """Make the service's tasks those of the topology; rows that are right already are not written."""
    # Two instances of one service may sync at once: the service row serialises them on PostgreSQL.
    Service.objects.select_for_update().get(pk=service.pk)
    stored = {task.name: task for task in Task.objects.filter(service=service)}
    new, changed = [], []
    for definition in topology.tasks:
        task = stored.pop(definition.name, None)
        if task is None:
            new.append(_assign(Task(service=service, name=definition.name), definition, topology.topology_hash))
            continue
        before = [getattr(task, name) for name in _DEFINITION_FIELDS]
        _assign(task, definition, topology.topology_hash)
        if before != [getattr(task, name) for name in _DEFINITION_FIELDS]:
            task.updated_at = topology.received_at
            changed.append(task)
    Task.objects.bulk_create(new, ignore_conflicts=True)
    Task.objects.bulk_update(changed, [*_DEFINITION_FIELDS, "updated_at"], batch_size=100)
    if stored:
        Task.objects.filter(pk__in=[task.pk for task in stored.values()]).delete()


def _assign(task: Task, definition: TaskDefinition, topology_hash: str) -> Task:
    source = definition.source or {}
    task.description = definition.description
    task.source_name = str(source.get("name", ""))
    task.source_kind = str(source.get("kind", ""))
    task.source_config = source.get("config") if definition.source else None
    task.emit = list(definition.emit)
    task.concurrency = definition.concurrency
    task.timeout_s = definition.timeout_s
    task.retry_policy = definition.retry_policy
    task.topology_hash = topology_hash
    return task
