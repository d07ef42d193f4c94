"""Sending again what was given up."""

from collections.abc import Iterable
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from controlplane.common.actors import Actor
from controlplane.common.changes import ChangeKind, change_of, record_changes
from controlplane.common.snapshots import difference, snapshot
from notifications.errors import DeliveryNotFailed
from notifications.models import Delivery
from notifications.services.bell import ring

# Without its channel, and without the target that was kept for it, nobody knows where it goes.
HAS_TARGET = Q(channel__isnull=False) | ~Q(target="")


@transaction.atomic
def send_again(delivery_ids: Iterable[UUID], *, actor: Actor) -> int:
    """Put deliveries that were given up back into the outbox, with all attempts before them; how many that were.

    The far side may know them again: they keep their ids.
    """
    failed = Delivery.objects.filter(HAS_TARGET, pk__in=list(delivery_ids), status=Delivery.Status.FAILED)
    rows = list(failed.select_related("channel", "rule", "alert__rule", "folded_into").select_for_update(of=("self",)))
    changes = []
    for row in rows:
        before = snapshot(row)
        row.status, row.attempt_count, row.next_attempt_at, row.finished_at = Delivery.Status.PENDING, 0, None, None
        changes.append(change_of(ChangeKind.CHANGED, row, actor=actor, what=difference(before, snapshot(row))))
    Delivery.objects.bulk_update(rows, ["status", "attempt_count", "next_attempt_at", "finished_at"])
    record_changes(changes)
    if rows:
        transaction.on_commit(ring, robust=True)
    return len(rows)


def send_one_again(delivery: Delivery, *, actor: Actor) -> None:
    """The same of one. Raises DeliveryNotFailed."""
    if send_again([delivery.pk], actor=actor):
        return
    if delivery.status == Delivery.Status.FAILED:
        raise DeliveryNotFailed(_("Its channel was deleted, so nobody knows where it goes."))
    raise DeliveryNotFailed(_("Only what was given up can be sent again."))
