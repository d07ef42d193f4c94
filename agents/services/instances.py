"""Services and instances: who is known, and what the portal holds of their connectivity."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone

from agents.models import Instance, InstanceFacts, Service
from agents.models.event import EventKind
from agents.models.instance import Connectivity, Dialect
from agents.services.archive import hold_services, restore_heard
from agents.services.errors import LEAVING, InstanceConflict, InstanceLeaving
from agents.services.events import portal_event, record_events
from agents.services.reports import RuntimeFacts, ServiceIdentity
from controlplane.common.bulk import update_from_values

# The columns that hold what an instance says of itself, in the order of `facts_of`.
FACT_COLUMNS = (
    "node_name",
    "deployment_version",
    "agent_version",
    "python_version",
    "hostname",
    "pid",
    "started_at",
)
# What a hello reads of a known instance; the rest of the row is wide and is overwritten anyway.
_ENROLLED_FIELDS = (
    "id",
    "dialect",
    "external_id",
    "node_name",
    "service",
    "hostname",
    "pid",
    "started_at",
    "connectivity",
    "connectivity_changed_at",
    "conflict_seen_at",
    "last_heartbeat_started_at",
    "last_sync_started_at",
    "last_sync_at",
    "archived_at",
    "forget_requested_at",
)
# What turning online reads; names, because restoring tells them.
_TURNED_FIELDS = (
    "external_id",
    "node_name",
    "archived_at",
    "service",
    *(f"service__{name}" for name in ("name", "environment", "archived_at")),
)


def enrol_instances(
    identities: Sequence[ServiceIdentity], *, dialect: Dialect
) -> tuple[dict[UUID, Instance], dict[UUID, InstanceConflict]]:
    """The instances with these identities by id, those that are new made with their services, and who is refused.

    `identities` are of distinct instances. Refused is an id that belongs to another service, environment or dialect,
    and who is being forgotten (InstanceLeaving); nothing is made for it. Rows carry `instance.service`, one object per
    service, and _ENROLLED_FIELDS; those that were known also `facts_digest`, None where the instance has no facts.
    Cost: two statements for known instances, a constant number for new ones. Call it inside a transaction; two callers
    at once may raise IntegrityError, and the loser then calls again. On PostgreSQL the rows of known instances stay
    locked until the transaction ends; they are locked in the order of their ids, and rows may come to reference them
    meanwhile: an order for many instances waits for no hello.
    """
    found = Instance.objects.select_for_update(no_key=True).filter(
        pk__in=[identity.instance_id for identity in identities]
    )
    digest = Subquery(InstanceFacts.objects.filter(pk=OuterRef("pk")).values("digest"))
    found = found.only(*_ENROLLED_FIELDS).annotate(facts_digest=digest)
    known: dict[UUID, Instance] = {instance.pk: instance for instance in found.order_by("pk")}
    services = Service.objects.in_bulk({instance.service_id for instance in known.values()})
    conflicts: dict[UUID, InstanceConflict] = {}
    for identity in identities:
        instance = known.get(identity.instance_id)
        if instance is None:
            continue
        bound = instance.service = services[instance.service_id]
        if instance.dialect != dialect or (bound.name, bound.environment) != (identity.name, identity.environment):
            del known[instance.pk]
            conflicts[instance.pk] = InstanceConflict(
                f"Instance {instance.pk} belongs to service {bound.name} in {bound.environment} already; "
                "give this process an instance id of its own."
            )
        elif instance.forget_requested_at is not None:
            del known[instance.pk]
            conflicts[instance.pk] = InstanceLeaving(LEAVING % f"Instance {instance.pk}")
    new = [
        identity
        for identity in identities
        if identity.instance_id not in known and identity.instance_id not in conflicts
    ]
    made, refused = _make_instances(new, dialect)
    return known | made, conflicts | refused


def _make_instances(
    identities: Sequence[ServiceIdentity], dialect: Dialect
) -> tuple[dict[UUID, Instance], dict[UUID, InstanceConflict]]:
    """Those that were made, and those whose service is being forgotten."""
    if not identities:
        return {}, {}
    services = _services_of(identities)
    while not hold_services(list(services.values())):
        services = _services_of(identities)
    refused: dict[UUID, InstanceConflict] = {
        identity.instance_id: InstanceLeaving(LEAVING % f"Service {identity.name} in {identity.environment}")
        for identity in identities
        if services[identity.name, identity.environment].forget_requested_at is not None
    }
    made = Instance.objects.bulk_create(
        Instance(
            id=identity.instance_id,
            dialect=dialect,
            external_id=str(identity.instance_id),
            service=services[identity.name, identity.environment],
            node_name=identity.node_name,
            deployment_version=identity.deployment_version,
        )
        for identity in identities
        if identity.instance_id not in refused
    )
    return {instance.pk: instance for instance in made}, refused


def _services_of(identities: Sequence[ServiceIdentity]) -> dict[tuple[str, str], Service]:
    """The services by name and environment, made where they are new; another process may make them at once."""
    wanted = {(identity.name, identity.environment) for identity in identities}

    def known() -> dict[tuple[str, str], Service]:
        rows = Service.objects.filter(name__in={name for name, _environment in wanted})
        return {(row.name, row.environment): row for row in rows if (row.name, row.environment) in wanted}

    services = known()
    # In one order, because an insert waits for another transaction that makes the same service.
    missing = sorted(wanted - services.keys())
    if not missing:
        return services
    rows = [Service(name=name, environment=environment) for name, environment in missing]
    Service.objects.bulk_create(rows, ignore_conflicts=True)
    return known()


def describe_services(said: Iterable[tuple[Service, ServiceIdentity]]) -> None:
    """Store what identities say of their services, where it is new: version and, where given, description.

    Of several that speak of one service, the last is believed. Nothing new costs no statement.
    """
    changed: dict[int, Service] = {}
    for service, identity in said:
        if service.latest_deployment_version != identity.deployment_version:
            service.latest_deployment_version = identity.deployment_version
            changed[service.pk] = service
        if identity.description is not None and service.description != identity.description:
            service.description = identity.description
            changed[service.pk] = service
    if not changed:
        return
    # One order of locks for all who describe several services at once.
    list(Service.objects.select_for_update(no_key=True).filter(pk__in=changed).order_by("pk").values_list("pk"))
    now = timezone.now()
    update_from_values(
        Service,
        ("id", "latest_deployment_version", "description", "updated_at"),
        [(row.pk, row.latest_deployment_version, row.description, now) for row in changed.values()],
        assignments="latest_deployment_version = v.latest_deployment_version, description = v.description, "
        "updated_at = v.updated_at",
    )


def describe_instance(instance: Instance, identity: ServiceIdentity, runtime: RuntimeFacts) -> None:
    """Set on `instance`, without saving, what it says of itself."""
    for column, value in zip(FACT_COLUMNS, facts_of(identity, runtime), strict=True):
        setattr(instance, column, value)


def facts_of(identity: ServiceIdentity, runtime: RuntimeFacts) -> tuple[object, ...]:
    """What an instance says of itself, in the order of FACT_COLUMNS."""
    return (
        identity.node_name,
        identity.deployment_version,
        runtime.agent_version,
        runtime.python_version,
        runtime.hostname,
        runtime.pid,
        runtime.started_at,
    )


def mark_online(instance_ids: Iterable[UUID], *, at: datetime) -> int:
    """Turn those not yet online to online, with an event each, and restore the archived; returns how many turned.

    Those that are being forgotten stay as they are. Call it inside a transaction, after `last_seen_at` moved.
    """
    turned = list(
        Instance.objects.filter(~Q(connectivity=Connectivity.ONLINE), pk__in=instance_ids, forget_requested_at=None)
        .select_related("service")
        .only(*_TURNED_FIELDS)
    )
    if not turned:
        return 0
    Instance.objects.filter(pk__in=[instance.pk for instance in turned]).update(
        connectivity=Connectivity.ONLINE, connectivity_changed_at=at
    )
    restore_heard(turned, at=at)
    record_events(portal_event(EventKind.INSTANCE_ONLINE, at=at, instance=instance) for instance in turned)
    return len(turned)


def record_presence(identity: ServiceIdentity, *, dialect: Dialect, at: datetime) -> Instance:
    """Note that a silent instance still lives: moves `last_seen_at`, nothing else. Makes the rows where it is new.

    Raises InstanceConflict and IntegrityError where `enrol_instances` refuses or raises. Call it inside a transaction.
    """
    instances, conflicts = enrol_instances([identity], dialect=dialect)
    if conflicts:
        raise conflicts[identity.instance_id]
    instance = instances[identity.instance_id]
    Instance.objects.filter(Q(last_seen_at=None) | Q(last_seen_at__lt=at), pk=instance.pk).update(last_seen_at=at)
    mark_online([instance.pk], at=at)
    return instance
