"""Nodes of the registry: the list, one node with all that is known of it, and how many have which status."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
from django.db.models import Count, QuerySet

from agents.models import Instance, Node
from agents.models.event import EventKind
from agents.models.instance import Connectivity, Dialect
from agents.selectors.events import notable_events
from agents.selectors.visibility import Environments, within
from controlplane.common.clean import clean_text
from controlplane.common.errors import NotFound

# Columns of `nodes_listed`, in their order.
NodeRow: TypeAlias = tuple[str, str, str, str, str]
# Of an id that nobody has.
_SHOWN_CHARS = 100
# How far back it is looked for when a component changed.
COMPONENT_EVENTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """A node with all that the registry tells of it. `reported_at` is by the portal's clock, the other by its own.

    `meta_data` is None where it was too large to be read along with that of others.
    """

    id: str
    name: str
    type: str
    version: str
    connectivity: Connectivity
    meta_data: dict[str, Any] | None
    config: dict[str, Any]
    label: list[str]
    health: dict[str, dict[str, Any]]
    registered_at: datetime
    updated_at: datetime
    reported_at: datetime | None
    agent_reported_at: datetime | None


def nodes(environments: Environments = None) -> QuerySet[Instance]:
    """The instances that are nodes, each with `node`, `service` and, where it has any, `facts`; in one query."""
    rows = Instance.objects.filter(
        within(environments, "service__environment"), dialect=Dialect.ARGUS, node__isnull=False
    )
    return rows.select_related("node", "facts", "service").only(
        "id",
        "external_id",
        "service",
        "node_name",
        "hostname",
        "connectivity",
        "connectivity_changed_at",
        "last_seen_at",
        "last_heartbeat_sent_at",
        "health",
        "archived_at",
        "forget_requested_at",
        "service__id",
        "service__name",
        "service__environment",
        "service__archived_at",
        "service__forget_requested_at",
        "service__latest_deployment_version",
        "facts__facts",
        *(f"node__{each.name}" for each in Node._meta.concrete_fields),
    )


def nodes_listed(environments: Environments = None) -> list[NodeRow]:
    """Id, name, connectivity, type and version of every node that is not archived, in the order of their numbers."""
    rows = Node.objects.filter(within(environments, "instance__service__environment"), instance__archived_at=None)
    listed = rows.order_by("number").values_list(
        "instance__external_id", "name", "instance__connectivity", "type", "version"
    )
    return list(listed)


def node_counts(environments: Environments = None) -> dict[Connectivity, int]:
    """How many nodes that are not archived have each status; a status that none has is left out."""
    rows = Node.objects.filter(within(environments, "instance__service__environment"), instance__archived_at=None)
    counted: Iterable[tuple[str, int]] = (
        rows.order_by().values_list("instance__connectivity").annotate(count=Count("pk"))
    )
    return {Connectivity(connectivity): count for connectivity, count in counted}


def record_of(instance: Instance) -> NodeRecord:
    """What is told of one row of `nodes`."""
    node = instance.node
    facts = getattr(instance, "facts", None)
    moved = (node.updated_at, instance.last_seen_at)
    return NodeRecord(
        id=instance.external_id,
        name=node.name,
        type=node.type,
        version=node.version,
        connectivity=Connectivity(instance.connectivity),
        meta_data=facts.facts if facts is not None else {},
        config=node.config,
        label=node.label,
        health=node.health,
        registered_at=node.registered_at,
        updated_at=max(moment for moment in moved if moment is not None),
        reported_at=instance.last_seen_at,
        agent_reported_at=instance.last_heartbeat_sent_at,
    )


def settings_mark(node: Node) -> str:
    """What tells whether somebody set config or labels of a node meanwhile."""
    return hashlib.sha256(msgspec.json.encode([node.config, node.label], order="sorted")).hexdigest()[:16]


def component_changes(instance_id: UUID) -> dict[str, datetime]:
    """Since when each component of a node has its status, as far as the last COMPONENT_EVENTS events tell.

    One query of an index that has the events of an instance.
    """
    since: dict[str, datetime] = {}
    changes = notable_events(instance=instance_id).filter(kind=EventKind.INSTANCE_HEALTH)
    # The selector leaves the details out, because few lists show them.
    for at, meta in changes.values_list("occurred_at", "meta")[:COMPONENT_EVENTS]:
        changed = meta.get("components") if isinstance(meta, dict) else None
        for name in changed if isinstance(changed, dict) else ():
            since.setdefault(name, at)
    return since


def node_by_id(node_id: str, environments: Environments = None) -> NodeRecord:
    """One node by the id that it goes by, or NotFound. One query."""
    instance = nodes(environments).filter(external_id=node_id).first()
    if instance is None:
        raise unknown_node(node_id)
    return record_of(instance)


def unknown_node(node_id: str) -> NotFound:
    """The error that no node has this id, or none that exists for the requester."""
    shown = clean_text(node_id, _SHOWN_CHARS)
    return NotFound(f"id: no node has the id {shown!r}; register it again without an id.", code="node_not_found")
