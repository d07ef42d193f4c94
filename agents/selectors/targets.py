"""What an order would meet at each instance: who is connected, and what that session accepted."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import OuterRef, Subquery

from agents.models import Instance, Session


@dataclass(frozen=True, slots=True)
class TargetState:
    """`session` is the active one or None; `last_session` the newest ever; `is_live` if its holder lives."""

    instance: Instance
    session: Session | None
    last_session: Session | None
    is_live: bool


def target_states(instances: Iterable[Instance]) -> list[TargetState]:
    """The state of each instance, in the given order. Two queries, whatever the number; a third for the unconnected."""
    instances = list(instances)
    active: dict[UUID, Session] = {
        session.instance_id: session
        for session in Session.objects.filter(
            instance__in=[instance.pk for instance in instances], status=Session.Status.ACTIVE
        ).select_related("replica")
    }
    newest = _newest_sessions([instance.pk for instance in instances if instance.pk not in active])
    return [
        TargetState(
            instance=instance,
            session=(session := active.get(instance.pk)),
            last_session=session or newest.get(instance.pk),
            is_live=session is not None and session.replica is not None and session.replica.stopped_at is None,
        )
        for instance in instances
    ]


def _newest_sessions(instance_ids: list[UUID]) -> dict[UUID, Session]:
    """The newest session of each that ever had one."""
    if not instance_ids:
        return {}
    newest = Session.objects.filter(instance=OuterRef("instance")).order_by("-connected_at", "-id").values("pk")[:1]
    return {
        session.instance_id: session
        for session in Session.objects.filter(instance__in=instance_ids, pk=Subquery(newest))
    }
