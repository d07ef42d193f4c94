"""Archive and restore: what is left out of lists and figures until it reports again.

An archived instance is never online: archiving passes over who is, and whoever reports is restored in the transaction
that stores the report. The instances of an archived service are all archived.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from agents.models import Instance, Service, Session
from agents.models.event import EventKind
from agents.models.instance import Connectivity
from agents.services.errors import InstanceOnline, RemovalRunning
from agents.services.events import NewEvent, portal_event, record_events
from controlplane.common.actors import Actor
from controlplane.common.changes import subject_of

# How many instances are locked at a time while many are archived: their telemetry waits meanwhile.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Archived:
    """`changed` were archived or restored, `refused` are online or connected; the others were so before, or unknown."""

    changed: list[UUID] = field(default_factory=list)
    refused: list[UUID] = field(default_factory=list)


def archive_instances(instance_ids: Sequence[UUID], *, actor: Actor) -> Archived:
    """Archive those that are neither online nor connected, with an event each; some at a time, each lot in one commit.

    Cost: four statements per lot.
    """
    done = Archived()
    for start in range(0, len(instance_ids), _AT_ONCE):
        with transaction.atomic():
            rows = lock_instances(
                Instance.objects.filter(pk__in=instance_ids[start : start + _AT_ONCE], archived_at=None)
            )
            done.refused.extend(row.pk for row in rows if is_present(row))
            absent = [row for row in rows if not is_present(row)]
            _archive(absent, timezone.now(), actor)
            done.changed.extend(row.pk for row in absent)
    return done


def archive_instance(instance: Instance, *, actor: Actor) -> bool:
    """Archive one; whether it was not archived before. Raises InstanceOnline where it is online or connected."""
    done = archive_instances([instance.pk], actor=actor)
    if done.refused:
        raise InstanceOnline(
            gettext("%s is online or connected. Stop its process first, and archive it once it is offline.") % instance
        )
    return bool(done.changed)


@transaction.atomic
def archive_service(service: Service, *, actor: Actor) -> int:
    """Archive a service with all its instances; returns how many of those were not archived before.

    Raises InstanceOnline where one of them is online or connected: nothing is archived then. Cost: a constant number
    of statements; all instances of the service are locked until it is done.
    """
    _stored, instances = lock_service(service)
    rows = [row for row in instances if row.archived_at is None]
    online = sum(map(is_present, rows))
    if online:
        raise InstanceOnline(
            ngettext(
                "%(count)d instance of %(service)s is online or connected. Stop it first, or archive single instances.",
                "%(count)d instances of %(service)s are online or connected. Stop them first, or archive single "
                "instances.",
                online,
            )
            % {"count": online, "service": service}
        )
    now = timezone.now()
    _archive(rows, now, actor)
    if Service.objects.filter(pk=service.pk, archived_at=None).update(archived_at=now, updated_at=now):
        record_events([_service_event(EventKind.SERVICE_ARCHIVED, service, now, actor)])
    return len(rows)


@transaction.atomic
def restore_instances(instance_ids: Sequence[UUID], *, actor: Actor) -> int:
    """Take instances back into lists and figures, their services with them; returns how many were archived.

    Those that are being forgotten stay as they are. Cost: a constant number of statements.
    """
    rows = lock_instances(
        Instance.objects.filter(pk__in=instance_ids, archived_at__isnull=False, forget_requested_at=None)
    )
    _restore(rows, timezone.now(), actor)
    return len(rows)


def restore_instance(instance: Instance, *, actor: Actor) -> bool:
    """Take one back; whether it was archived. Raises RemovalRunning where it is being forgotten."""
    if restore_instances([instance.pk], actor=actor):
        return True
    if Instance.objects.filter(pk=instance.pk, forget_requested_at__isnull=False).exists():
        raise RemovalRunning(gettext("%s is being forgotten already.") % instance)
    return False


@transaction.atomic
def restore_service(service: Service, *, actor: Actor) -> int:
    """Take back a service with the instances that were archived together with it; returns how many those were.

    Raises RemovalRunning where it is being forgotten.
    """
    rows = lock_instances(service.instances.filter(archived_at__isnull=False, forget_requested_at=None))
    stored = Service.objects.select_for_update(no_key=True).get(pk=service.pk)
    if stored.forget_requested_at is not None:
        raise RemovalRunning(gettext("%s is being forgotten already.") % service)
    together = [row for row in rows if row.archived_at == stored.archived_at]
    now = timezone.now()
    _restore(together, now, actor)
    _restore_services([stored], now, actor)
    return len(together)


def restore_heard(instances: Iterable[Instance], *, at: datetime) -> None:
    """Take back those that just reported, and their services; their rows are locked, with `service` loaded.

    Call it inside the transaction that stores the report, before `archived_at` is changed. Nothing archived costs no
    statement.
    """
    heard = list(instances)
    _restore([instance for instance in heard if instance.archived_at is not None], at, None)
    _restore_services([instance.service for instance in heard], at, None)


def lock_instances(rows: QuerySet[Instance]) -> list[Instance]:
    """The rows with their service, locked in the order of their ids, for `is_present`."""
    active = Session.objects.filter(instance=OuterRef("pk"), status=Session.Status.ACTIVE)
    return list(
        rows.select_for_update(of=("self",), no_key=True)
        .select_related("service")
        .annotate(is_connected=Exists(active))
        .order_by("pk")
    )


class _Joined(Exception):
    """An instance came to the service before its row was locked."""


def lock_service(service: Service) -> tuple[Service, list[Instance]]:
    """The row of a service, to which no instance comes until the transaction ends, and all its instances, locked.

    Instances are locked before services, by everybody: where one came between the two, the locks are given back and
    taken anew. Cost: four statements.
    """
    while True:
        with suppress(_Joined), transaction.atomic():
            locked = [row.pk for row in lock_instances(service.instances.all())]
            stored = Service.objects.select_for_update().get(pk=service.pk)
            if not set(service.instances.values_list("pk", flat=True)) <= set(locked):
                raise _Joined
            # Read anew: of who is connected, a statement that waited shows what was there before it waited.
            return stored, lock_instances(service.instances.all())


# By a key share, which those who come to one service take side by side. The ORM knows none; SQLite's transactions have
# the lock of the whole database.
_HELD = "SELECT id, archived_at, forget_requested_at FROM agents_service WHERE id IN ({ids}) ORDER BY id{lock}"
_KEY_SHARE: Final = {"postgresql": " FOR KEY SHARE"}


def hold_services(services: Sequence[Service]) -> bool:
    """Keep services from being archived, forgotten and removed until the transaction ends, before instances come to
    them; False where one of them is gone.

    Sets on each what was stored of that meanwhile. Foreign keys are checked at the commit, so an insert alone keeps
    nobody waiting. Cost: one statement.
    """
    ids = sorted(service.pk for service in services)
    lock = _KEY_SHARE.get(connection.vendor, "")
    statement = _HELD.format(ids=", ".join(["%s"] * len(ids)), lock=lock)
    stored = {row.pk: row for row in Service.objects.raw(statement, ids)}
    for service in services:
        if (row := stored.get(service.pk)) is not None:
            service.archived_at, service.forget_requested_at = row.archived_at, row.forget_requested_at
    return len(stored) == len(set(ids))


def is_present(row: Instance) -> bool:
    """Whether a row of `lock_instances` is online or connected."""
    return row.connectivity == Connectivity.ONLINE or bool(getattr(row, "is_connected", False))


def _archive(rows: Sequence[Instance], at: datetime, actor: Actor) -> None:
    if not rows:
        return
    Instance.objects.filter(pk__in=[row.pk for row in rows]).update(archived_at=at, updated_at=at)
    record_events(_event(EventKind.INSTANCE_ARCHIVED, row, at, actor) for row in rows)


def _restore(rows: Sequence[Instance], at: datetime, actor: Actor | None) -> None:
    if not rows:
        return
    Instance.objects.filter(pk__in=[row.pk for row in rows]).update(archived_at=None, updated_at=at)
    record_events(_event(EventKind.INSTANCE_RESTORED, row, at, actor) for row in rows)
    # Read anew: of the service, a statement that waited for the row shows what was there before it waited.
    archived = Service.objects.filter(pk__in={row.service_id for row in rows}, archived_at__isnull=False)
    _restore_services(archived, at, actor)
    for row in rows:
        row.service.archived_at = None


def _restore_services(services: Iterable[Service], at: datetime, actor: Actor | None) -> None:
    archived = {service.pk: service for service in services if service.archived_at is not None}
    for pk in sorted(archived):
        # Of several processes that hear of a service at once, one tells.
        stays = Service.objects.filter(pk=pk, archived_at__isnull=False, forget_requested_at=None)
        if stays.update(archived_at=None, updated_at=at):
            record_events([_service_event(EventKind.SERVICE_RESTORED, archived[pk], at, actor)])
        archived[pk].archived_at = None


def _event(kind: EventKind, row: Instance, at: datetime, actor: Actor | None) -> NewEvent:
    return portal_event(kind, at=at, instance=row, message=str(row), **_acts(row, actor))


def _service_event(kind: EventKind, service: Service, at: datetime, actor: Actor | None) -> NewEvent:
    return portal_event(kind, at=at, service_id=service.pk, message=str(service), **_acts(service, actor))


def _acts(row: Instance | Service, actor: Actor | None) -> dict[str, Any]:
    """Who did it and from where; nobody where the agent reported by itself."""
    if actor is None:
        return {}
    return {"subject": subject_of(row), "actor": actor.name, "meta": actor.origin()}
