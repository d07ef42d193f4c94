"""Forgetting: the request that an instance or a service be removed with everything of theirs, for good.

From then on it is left out of lists and nobody is let in under its name; `tasks_app.services.removal` carries it out.
What reports once that is done is a new instance.
"""

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from agents.models import Instance, Removal, Service
from agents.services.archive import is_present, lock_instances, lock_service
from agents.services.errors import InstanceOnline, NameNotRepeated, RemovalRunning
from controlplane.common.actors import Actor
from controlplane.common.changes import ChangeKind, change_of, record_changes
from controlplane.common.snapshots import Difference


def name_to_repeat(target: Instance | Service) -> str:
    """What somebody types who wants it forgotten."""
    if isinstance(target, Service):
        return target.name
    return target.node_name or target.external_id


@transaction.atomic
def forget_instance(instance: Instance, *, name: str, actor: Actor) -> Removal:
    """Ask for an instance to be forgotten; it is as archived from now on.

    Raises NameNotRepeated where `name` is not its name, InstanceOnline where it is online or connected, and
    RemovalRunning where that was asked for already.
    """
    _ensure_repeated(instance, name)
    rows = lock_instances(Instance.objects.filter(pk=instance.pk, forget_requested_at=None))
    if not rows:
        raise RemovalRunning(gettext("%s is being forgotten already.") % instance)
    if is_present(rows[0]):
        raise InstanceOnline(
            gettext("%s is online or connected. Stop its process first, and forget it once it is offline.") % instance
        )
    removal = _removal(Removal.Kind.INSTANCE, instance, instance.service.environment, actor)
    Instance.objects.filter(pk=instance.pk).update(
        forget_requested_at=removal.requested_at, archived_at=rows[0].archived_at or removal.requested_at
    )
    _tell(instance, removal, actor)
    return removal


@transaction.atomic
def forget_service(service: Service, *, name: str, actor: Actor) -> Removal:
    """The same for a service with all its instances: InstanceOnline where one of them is there."""
    _ensure_repeated(service, name)
    stored, instances = lock_service(service)
    if stored.forget_requested_at is not None:
        raise RemovalRunning(gettext("%s is being forgotten already.") % service)
    online = sum(map(is_present, instances))
    if online:
        raise InstanceOnline(
            ngettext(
                "%(count)d instance of %(service)s is online or connected. Stop it first, or forget single instances.",
                "%(count)d instances of %(service)s are online or connected. Stop them first, or forget single "
                "instances.",
                online,
            )
            % {"count": online, "service": service}
        )
    removal = _removal(Removal.Kind.SERVICE, service, service.environment, actor)
    at = removal.requested_at
    service.instances.update(forget_requested_at=at, archived_at=at)
    Service.objects.filter(pk=service.pk).update(forget_requested_at=at, archived_at=at)
    _tell(service, removal, actor)
    return removal


def _ensure_repeated(target: Instance | Service, name: str) -> None:
    wanted = name_to_repeat(target)
    if name != wanted:
        raise NameNotRepeated(gettext('Type "%s" to have it forgotten for good.') % wanted, field="name")


def _tell(target: Instance | Service, removal: Removal, actor: Actor) -> None:
    """As a change of what has a name, not as an event of the instance: that one would go with it."""
    what = Difference(after={"forget_requested_at": removal.requested_at.isoformat()})
    record_changes([change_of(ChangeKind.CHANGED, target, actor=actor, what=what)])


def _removal(kind: Removal.Kind, target: Instance | Service, environment: str, actor: Actor) -> Removal:
    return Removal.objects.create(
        kind=kind,
        target_id=str(target.pk),
        name=str(target),
        environment=environment,
        requested_by_name=actor.name,
        origin=actor.origin(),
        requested_at=timezone.now(),
    )
