"""Nodes of the registry: registering them, and what operators set on them. Source: argus contract."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max, QuerySet
from django.utils import timezone

from agents.models import Instance, InstanceFacts, Node, NodeCounter, Service
from agents.models.event import EventKind
from agents.models.instance import Dialect
from agents.selectors.nodes import NodeRecord, nodes, record_of, settings_mark, unknown_node
from agents.selectors.visibility import Environments
from agents.services.archive import hold_services, restore_heard
from agents.services.errors import LEAVING, InstanceLeaving, NodeElsewhere, NodeOfOther, NodeSetMeanwhile, NodesFull
from agents.services.events import change_event, portal_event, record_events
from agents.services.inventory import store_facts
from agents.services.labels import store_agent_labels, store_tags
from agents.services.nodes_file import nodes_file_changed
from controlplane.common.actors import Actor
from controlplane.common.changes import ChangeKind, change_of
from controlplane.common.clean import clean_text, is_same_json
from controlplane.common.snapshots import difference, snapshot

UNKNOWN_ENVIRONMENT = "unknown"
_COUNTER_ID = 1
MESSAGE_MAX_CHARS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a node says of itself. `address` is where from, for history."""

    name: str
    type: str
    version: str
    meta_data: dict[str, Any]
    node_id: str | None = None
    address: str = ""
    environments: Environments = None

    @property
    def environment(self) -> str:
        """The environment of its service: `meta_data.env`, or UNKNOWN_ENVIRONMENT."""
        return self.meta_data.get("env") or UNKNOWN_ENVIRONMENT

    def columns(self) -> dict[str, str]:
        """What of it stands in columns of the instance, cut to their lengths."""
        return {
            "node_name": self.name,
            "hostname": self.meta_data.get("hostname", "")[:255],
            "deployment_version": self.version[:128],
            "agent_version": self.version[:64],
        }


@transaction.atomic
def register_node(registration: Registration) -> tuple[NodeRecord, bool]:
    """The node, and whether it is new. A name that is known is the same node, with or without its id.

    A known node takes type, version, meta data and with them its service; it keeps the rest. Raises NotFound for an
    id that nobody has, NodeOfOther for one that belongs to another name, NodeElsewhere where the sender does not speak
    for the environment that the node is in or comes to, NodesFull where it is new and NODES_MAX are there.

    New nodes are made one after the other: of two registrations of one name at once, the second finds the
    first one's node. Raises InstanceLeaving where the node, or the service that it comes to, is being forgotten.
    """
    if registration.environments is not None and registration.environment not in registration.environments:
        raise NodeElsewhere(f"meta_data.env: this token does not speak for {registration.environment!r}.")
    known = _known(registration)
    if known is None:
        counter = _lock_counter()
        known = _known(registration)
        if known is None:
            _ensure_room(counter)
            return _make(registration, counter), True
    return _register_again(known, registration), False


def _known(registration: Registration) -> Instance | None:
    """The row that the registration is about, locked."""
    locked = _locked_nodes()
    if registration.node_id is None:
        instance = locked.filter(node__name=registration.name).first()
        if instance is not None and not _is_within(instance, registration.environments):
            raise NodeElsewhere("name: it belongs to a node of an environment that this token does not speak for.")
        if instance is not None and instance.forget_requested_at is not None:
            raise InstanceLeaving(LEAVING % f"name: the node {registration.name!r}")
        return instance
    instance = locked.filter(external_id=registration.node_id).first()
    if instance is None or not _is_within(instance, registration.environments):
        raise unknown_node(registration.node_id)
    if instance.node.name != registration.name:
        raise NodeOfOther(
            f"id: {registration.node_id!r} belongs to the node {instance.node.name!r}, not to {registration.name!r}."
        )
    if instance.forget_requested_at is not None:
        raise InstanceLeaving(LEAVING % f"id: the node {registration.node_id!r}")
    return instance


def _locked_nodes(environments: Environments = None) -> QuerySet[Instance]:
    """Rows of `nodes`, locked with those of their nodes: of a row that is not, a statement that waited for another
    shows what was there before it waited."""
    return nodes(environments).select_for_update(no_key=True, of=("self", "node"))


def _is_within(instance: Instance, environments: Environments) -> bool:
    return environments is None or instance.service.environment in environments


def _lock_counter() -> NodeCounter:
    """The counter, locked until the transaction ends."""
    locked = NodeCounter.objects.select_for_update().filter(pk=_COUNTER_ID)
    counter = locked.first()
    if counter is None:
        highest = Node.objects.aggregate(highest=Max("number"))["highest"] or 0
        NodeCounter.objects.bulk_create([NodeCounter(pk=_COUNTER_ID, last=highest)], ignore_conflicts=True)
        counter = locked.get()
    return counter


def _ensure_room(counter: NodeCounter) -> None:
    """Raises NodesFull where there are NODES_MAX nodes. They are counted once so many numbers were given."""
    if counter.last >= settings.NODES_MAX and Node.objects.count() >= settings.NODES_MAX:
        raise NodesFull(
            f"name: it is new, and this registry has as many nodes as NODES_MAX allows ({settings.NODES_MAX}); "
            "forget nodes that are gone, or raise NODES_MAX."
        )


def _make(registration: Registration, counter: NodeCounter) -> NodeRecord:
    counter.last += 1
    counter.save(update_fields=("last",))
    instance = Instance.objects.create(
        dialect=Dialect.ARGUS,
        external_id=f"{settings.NODE_ID_PREFIX}{counter.last}",
        service=_service_of(registration),
        **registration.columns(),
    )
    at = instance.created_at
    Node.objects.create(
        instance=instance,
        number=counter.last,
        name=registration.name,
        type=registration.type,
        version=registration.version,
        registered_at=at,
        updated_at=at,
    )
    _store_meta_data(instance, registration)
    restore_heard([instance], at=at)
    meta = {"node_id": instance.external_id, "type": registration.type, "version": registration.version}
    _tell_registered(instance, registration, meta)
    return record_of(instance)


def _register_again(instance: Instance, registration: Registration) -> NodeRecord:
    node, now = instance.node, timezone.now()
    before = {"type": node.type, "version": node.version, "environment": instance.service.environment}
    instance.service = _service_of(registration, current=instance.service_id)
    for column, value in registration.columns().items():
        setattr(instance, column, value)
    instance.save(update_fields=("service", *registration.columns(), "updated_at"))
    node.type, node.version, node.updated_at = registration.type, registration.version, now
    node.save(update_fields=("type", "version", "updated_at"))
    has_new_facts = _store_meta_data(instance, registration)
    restore_heard([instance], at=now)
    after = {"type": node.type, "version": node.version, "environment": instance.service.environment}
    if has_new_facts or before != after:
        changed = [name for name in after if before[name] != after[name]]
        _tell_registered(
            instance,
            registration,
            {
                "node_id": instance.external_id,
                "again": True,
                "before": {name: before[name] for name in changed},
                "after": {name: after[name] for name in changed},
                "meta_data_changed": has_new_facts,
            },
            moved="".join(f", {name} {before[name]} → {after[name]}" for name in changed),
        )
    return record_of(instance)


def _service_of(registration: Registration, *, current: int | None = None) -> Service:
    """The service of that type and environment, made where it is new; it knows the version that came last.

    To one that is not `current`, a node comes: it is kept from being archived, forgotten and removed meanwhile.
    """

    def stored() -> Service:
        return Service.objects.get_or_create(name=registration.type, environment=registration.environment)[0]

    service = stored()
    while service.pk != current and not hold_services([service]):
        service = stored()
    if service.forget_requested_at is not None:
        raise InstanceLeaving(LEAVING % f"type: the service {service}")
    version = registration.version[:128]
    if service.latest_deployment_version != version:
        service.latest_deployment_version = version
        service.save(update_fields=("latest_deployment_version", "updated_at"))
    return service


def _store_meta_data(instance: Instance, registration: Registration) -> bool:
    """Replace the facts and, by them, the labels of the agent; whether anything changed."""
    if not store_facts([(instance.pk, registration.meta_data)]):
        return False
    instance.facts = InstanceFacts(instance=instance, facts=registration.meta_data)
    store_agent_labels([(instance.pk, labels_of_meta_data(registration.meta_data))])
    nodes_file_changed()
    return True


def labels_of_meta_data(meta_data: Mapping[str, object]) -> dict[str, str]:
    """What a node says of itself as labels of its agent: entries that are one value, as text; `true` and `false`."""
    return {
        key: str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in meta_data.items()
        if isinstance(value, str | bool | int | float)
    }


def _tell_registered(
    instance: Instance, registration: Registration, meta: Mapping[str, object], *, moved: str = ""
) -> None:
    """`moved` says what of it changed, after the name."""
    origin = {"address": registration.address} if registration.address else {}
    record_events(
        [
            portal_event(
                EventKind.INSTANCE_REGISTERED,
                at=timezone.now(),
                instance=instance,
                message=clean_text(registration.name + moved, MESSAGE_MAX_CHARS),
                meta={**meta, **origin},
            )
        ]
    )


@transaction.atomic
def configure_node(
    node_id: str,
    *,
    config: Mapping[str, Any] | None = None,
    label: Sequence[str] | None = None,
    actor: Actor,
    environments: Environments = None,
    seen: str | None = None,
) -> NodeRecord:
    """The node with what an operator sets on it; what is None stays. What changed is told as of the instance.

    `seen` is the `settings_mark` of what the operator had before them. Raises NotFound, and NodeSetMeanwhile where
    somebody has set something else since.
    """
    locked = _locked_nodes(environments)
    instance = locked.filter(external_id=node_id).first()
    if instance is None:
        raise unknown_node(node_id)
    node = instance.node
    if seen is not None and seen != settings_mark(node):
        raise NodeSetMeanwhile
    before = snapshot(node)
    has_new_config = config is not None and not is_same_json(config, node.config)
    has_new_label = label is not None and list(label) != node.label
    if config is not None:
        node.config = dict(config)
    if label is not None:
        node.label = list(label)
    if has_new_config or has_new_label:
        what = difference(before, snapshot(node))
        node.updated_at = timezone.now()
        node.save(update_fields=("config", "label", "updated_at"))
        if has_new_label:
            store_tags([(instance.pk, node.label)])
            nodes_file_changed()
        change = change_of(ChangeKind.CHANGED, instance, actor=actor, what=what)
        record_events([change_event(change, at=node.updated_at, instance=instance)])
    return record_of(instance)
