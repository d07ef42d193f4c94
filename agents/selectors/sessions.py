"""Sessions, newest first."""

from uuid import UUID

from django.db.models import QuerySet

from agents.models import Service, Session
from agents.selectors.visibility import Environments, within


def sessions(
    *,
    service: Service | None = None,
    instance_id: UUID | None = None,
    status: str | None = None,
    environments: Environments = None,
) -> QuerySet[Session]:
    """Sessions with their instance, of a service, an instance or all."""
    rows = Session.objects.select_related("instance__service").order_by("-connected_at", "-id")
    rows = rows.filter(within(environments, "service__environment"))
    if service is not None:
        rows = rows.filter(service=service)
    if instance_id is not None:
        rows = rows.filter(instance=instance_id)
    return rows.filter(status=status) if status else rows


def latest_session(instance_id: UUID) -> Session | None:
    return sessions(instance_id=instance_id).first()
