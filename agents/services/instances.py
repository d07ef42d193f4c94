"""Services and instances: who is known, and what the portal holds of their connectivity."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from agents.models import Instance, Service
from agents.models.event import EventKind
from agents.models.instance import Connectivity, Dialect
from agents.services.errors import InstanceConflict
from agents.services.events import portal_event, record_events
from agents.services.reports import RuntimeFacts, ServiceIdentity


def enrol_instance(identity: ServiceIdentity, *, dialect: Dialect) -> Instance:
    """The instance with this identity, made with its service where it is new; rows carry `instance.service`.

    Raises InstanceConflict where the id belongs to another service, environment or dialect; nothing is made then.
    Call it inside a transaction; two callers at once may raise IntegrityError, and the loser then calls again.
    On PostgreSQL the row of a known instance stays locked until the transaction ends.
    """
    instance = (
        Instance.objects.select_related("service")
        .select_for_update(of=("self",))
        .filter(pk=identity.instance_id)
        .first()
    )
    if instance is None:
        service, _created = Service.objects.get_or_create(name=identity.name, environment=identity.environment)
        return Instance.objects.create(
            id=identity.instance_id,
            dialect=dialect,
            external_id=str(identity.instance_id),
            service=service,
            node_name=identity.node_name,
            deployment_version=identity.deployment_version,
        )
    bound = instance.service
    if instance.dialect != dialect or (bound.name, bound.environment) != (identity.name, identity.environment):
        raise InstanceConflict(
            f"Instance {identity.instance_id} belongs to service {bound.name} in {bound.environment} already; "
            "give this process an instance id of its own."
        )
    return instance


def describe_service(service: Service, identity: ServiceIdentity) -> None:
    """Store what an identity says of its service, if it says anything new: version and, where given, description."""
    changed = []
    if service.latest_deployment_version != identity.deployment_version:
        service.latest_deployment_version = identity.deployment_version
        changed.append("latest_deployment_version")
    if identity.description is not None and service.description != identity.description:
        service.description = identity.description
        changed.append("description")
    if changed:
        service.save(update_fields=[*changed, "updated_at"])


def describe_instance(instance: Instance, identity: ServiceIdentity, runtime: RuntimeFacts) -> None:
    """Set on `instance`, without saving, what it says of itself."""
    instance.node_name = identity.node_name
    instance.deployment_version = identity.deployment_version
    instance.agent_version = runtime.agent_version
    instance.python_version = runtime.python_version
    instance.hostname = runtime.hostname
    instance.pid = runtime.pid
    instance.started_at = runtime.started_at


def mark_online(instance_ids: Iterable[UUID], *, at: datetime) -> int:
    """Turn those not yet online to online, with an event each; returns how many turned.

    Call it inside a transaction, after `last_seen_at` moved.
    """
    turned = list(
        Instance.objects.filter(~Q(connectivity=Connectivity.ONLINE), pk__in=instance_ids).only("id", "service_id")
    )
    if not turned:
        return 0
    Instance.objects.filter(pk__in=[instance.pk for instance in turned]).update(
        connectivity=Connectivity.ONLINE, connectivity_changed_at=at
    )
    record_events(portal_event(EventKind.INSTANCE_ONLINE, at=at, instance=instance) for instance in turned)
    return len(turned)


def record_presence(identity: ServiceIdentity, *, dialect: Dialect, at: datetime) -> Instance:
    """Note that a silent instance still lives: moves `last_seen_at`, nothing else. Makes the rows where it is new.

    Raises InstanceConflict as `enrol_instance` does. Call it inside a transaction.
    """
    instance = enrol_instance(identity, dialect=dialect)
    Instance.objects.filter(Q(last_seen_at=None) | Q(last_seen_at__lt=at), pk=instance.pk).update(last_seen_at=at)
    mark_online([instance.pk], at=at)
    return instance
