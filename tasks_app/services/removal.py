"""Removal: everything of what is being forgotten, taken away in small batches, and told when it is done.

Each batch is a transaction of its own that also counts what it removed, so that a process may be killed at any point
and the next run goes on. Tables are emptied before the rows that they reference; the instance itself goes last.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.db import DatabaseError, connection, transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone
from django.utils.translation import gettext_noop

from agents.models import Event, Instance, Removal, Service
from controlplane.common.actors import Actor
from controlplane.common.changes import Change, ChangeKind, record_changes, subject_of
from controlplane.common.snapshots import Difference
from tasks_app.selectors.belongings import OF_INSTANCE, OF_SERVICE, Belonging

logger = logging.getLogger(__name__)

REMOVAL_JOB = "remove-forgotten"
# How long one run removes at most; the next one goes on. Well within the lease of a background job.
STEP_MAX_S = 20.0
BATCH_ROWS = 1000
# Rows that are named by several columns: SQLite takes a thousand terms in one condition.
_BATCH_OF_COMPOSITE_KEYS = 100
_CAME_BACK = gettext_noop("An instance came back while it was removed; the service stays with it.")
_FAILED = gettext_noop("The database refused a step of it; it is tried again. The log of the portal says why.")


def remove_forgotten() -> bool:
    """Carry out what is asked for, the oldest request first, for STEP_MAX_S at the most; True when nothing is left.

    Cost while there is nothing: one read of a partial index.
    """
    until = time.monotonic() + STEP_MAX_S
    is_done = True
    for removal in Removal.objects.filter(finished_at=None).order_by("requested_at"):
        try:
            if not _carry_out(removal, until):
                return False
        except DatabaseError:
            # Others do not wait for one that meets what nobody foresaw; this one is tried again at each run.
            logger.exception("removal.failed id=%s kind=%s", removal.pk, removal.kind)
            Removal.objects.filter(pk=removal.pk, finished_at=None).update(kept_reason=_FAILED)
            is_done = False
    return is_done


def _carry_out(removal: Removal, until: float) -> bool:
    """Whether it is finished."""
    if removal.kind == Removal.Kind.INSTANCE:
        return _remove_instance(removal, UUID(removal.target_id), until, ends=True)
    service_id = int(removal.target_id)
    marked = Instance.objects.filter(service=service_id, forget_requested_at__isnull=False).order_by("pk")
    while (instance_id := marked.values_list("pk", flat=True).first()) is not None:
        if not _remove_instance(removal, instance_id, until, ends=False):
            return False
    if Instance.objects.filter(service=service_id).exists():
        return _end(removal, lambda: _keep_service(service_id), kept_reason=_CAME_BACK)
    if not _empty(removal, OF_SERVICE, service_id, until) or not _let_go(service_id, until):
        return False
    return _end(removal, lambda: _delete_counting("service", Service.objects.filter(pk=service_id)))


def _remove_instance(removal: Removal, instance_id: UUID, until: float, *, ends: bool) -> bool:
    """Remove one instance; whether it is gone. With `ends` that finishes the removal."""
    if not _empty(removal, OF_INSTANCE, instance_id, until):
        return False
    finish = lambda: _delete_counting("instance", Instance.objects.filter(pk=instance_id))  # noqa: E731
    if ends:
        return _end(removal, finish)
    _step(removal, finish)
    return True


def _empty(removal: Removal, belongings: Sequence[Belonging], owner_id: UUID | int, until: float) -> bool:
    """Remove all rows in batches; False where the time was up before. Cost: one probe of an index per empty table."""
    for each in belongings:
        # Most instances have nothing in most tables; to see that takes no transaction.
        while each.rows_of(owner_id).exists():
            if time.monotonic() >= until:
                return False
            started = time.monotonic()
            _step(removal, lambda each=each: _delete_batch(each, owner_id))  # type: ignore[misc]
            if connection.vendor == "sqlite":
                # It lets one write at a time: others get as much of it as this does.
                time.sleep(time.monotonic() - started)
    return True


def _let_go(service_id: int, until: float) -> bool:
    """Give events of instances that moved on to the service that those have now, in batches; False where the time was
    up before. They are history of the instance, which stays."""
    left = Event.objects.filter(service=service_id, instance__isnull=False).order_by("occurred_at", "id")
    current = Instance.objects.filter(pk=OuterRef("instance_id")).values("service")
    while found := list(left.values_list("pk", "occurred_at")[:BATCH_ROWS]):
        if time.monotonic() >= until:
            return False
        # Without the time every partition would be looked through.
        Event.objects.filter(
            pk__in=[key for key, _at in found], occurred_at__gte=found[0][1], occurred_at__lte=found[-1][1]
        ).update(service=Subquery(current))
    return True


Deletion = Callable[[], dict[str, int]]


@transaction.atomic
def _step(removal: Removal, delete: Deletion) -> None:
    """One batch, counted with the request in its transaction."""
    # The lock keeps a second run from counting the same.
    stored = Removal.objects.select_for_update(no_key=True).get(pk=removal.pk)
    if stored.finished_at is None:
        _count(stored, delete())


@transaction.atomic
def _end(removal: Removal, delete: Deletion, *, kept_reason: str = "") -> bool:
    """The last batch, with which the removal is finished and told."""
    stored = Removal.objects.select_for_update(no_key=True).get(pk=removal.pk)
    if stored.finished_at is not None:
        return True
    _count(stored, delete())
    stored.finished_at, stored.kept_reason = timezone.now(), kept_reason
    stored.save(update_fields=("finished_at", "kept_reason"))
    model = Instance if stored.kind == Removal.Kind.INSTANCE else Service
    address, token, via = (str(stored.origin.get(name, "")) for name in ("address", "token", "via"))
    change = Change(
        kind=ChangeKind.DELETED,
        subject=subject_of(model(pk=stored.target_id)),
        name=stored.name,
        actor=Actor(stored.requested_by_name, address=address, token=token, via=via),
        what=Difference(before={"removed rows": stored.removed}),
    )
    record_changes([change])
    logger.info("removal.finished id=%s kind=%s rows=%s", stored.pk, stored.kind, stored.removed_count)
    return True


def _count(stored: Removal, removed: dict[str, int]) -> None:
    counted = {name: count for name, count in removed.items() if count}
    if not counted:
        return
    for name, count in counted.items():
        stored.removed[name] = stored.removed.get(name, 0) + count
    stored.save(update_fields=("removed",))


def _delete_batch(each: Belonging, owner_id: UUID | int) -> dict[str, int]:
    """Delete the first rows in the order of an index; each statement names no more than a batch."""
    rows = each.rows_of(owner_id)
    is_composite = len(each.model._meta.pk_fields) > 1
    size = _BATCH_OF_COMPOSITE_KEYS if is_composite else BATCH_ROWS
    found = list(rows.values_list("pk", each.time or "pk")[:size])
    if not found:
        return {}
    named: QuerySet[Any] = rows.order_by().filter(pk__in=[key for key, _time in found])
    if each.time:
        # Without it every partition would be looked through.
        named = named.filter(**{f"{each.time}__gte": found[0][1], f"{each.time}__lte": found[-1][1]})
    deleted, _by_model = named.delete()
    return {each.kind: deleted}


def _delete_counting(own_kind: str, rows: QuerySet[Any]) -> dict[str, int]:
    """Delete a row, and with it what came for it in the meantime; counts by kind."""
    kinds = {each.model._meta.label: each.kind for each in (*OF_INSTANCE, *OF_SERVICE)}
    _deleted, by_model = rows.delete()
    return {kinds.get(label, own_kind): count for label, count in by_model.items()}


def _keep_service(service_id: int) -> dict[str, int]:
    Service.objects.filter(pk=service_id).update(forget_requested_at=None, archived_at=None)
    return {}
