"""Services, and how many of their instances are there."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.db.models import Case, Count, F, IntegerField, Max, Q, QuerySet, Value, When

from agents.models import Service
from agents.models.instance import Connectivity
from agents.selectors.instances import Archived, archived_q, participating
from agents.selectors.visibility import Environments, within
from controlplane.common.environments import Environment
from controlplane.common.errors import NotFound

ServiceStatus = Literal["online", "attention", "offline"]
SERVICE_STATUSES: tuple[ServiceStatus, ...] = ("online", "attention", "offline")


def get_service(name: str, environment: str, *, environments: Environments = None) -> Service:
    """The service, or NotFound with the text that clients know. Source: contract, Annex A."""
    rows = Service.objects.filter(within(environments, "environment"), name=name, environment=environment)
    service = rows.first()
    if service is None:
        raise NotFound(f"service {name}/{environment} was not found", code="service_not_found")
    return service


def services(
    *,
    environment: str | None = None,
    text: str = "",
    environments: Environments = None,
    archived: Archived = "false",
) -> QuerySet[Service]:
    """Services of an environment whose name holds the text in any case; in no particular order."""
    rows = Service.objects.filter(within(environments, "environment"), *archived_q(archived)).order_by()
    if environment:
        rows = rows.filter(environment=environment)
    return rows.filter(name__icontains=text) if text else rows


@dataclass(frozen=True, slots=True)
class ServicePresence:
    """How many instances of a service count, how many of them are online, and when any was seen last."""

    service_id: int
    instance_count: int
    online_instance_count: int
    last_seen_at: datetime | None
    status: ServiceStatus


def presences(rows: QuerySet[Service], *, now: datetime) -> list[ServicePresence]:
    """The presence of all these services, by status (see SERVICE_STATUSES), environment and name.

    One query, which reads all their instances. Source: contract 4.3.
    """
    counted = rows.order_by().annotate(
        instance_count=Count("instances", filter=participating(now, prefix="instances__")),
        online_instance_count=Count("instances", filter=Q(instances__connectivity=Connectivity.ONLINE)),
        last_seen_at=Max("instances__last_seen_at", filter=Q(instances__archived_at=None)),
    )
    ranked = counted.annotate(
        status_rank=Case(
            When(online_instance_count=0, then=Value(2)),
            When(online_instance_count__lt=F("instance_count"), then=Value(1)),
            default=Value(0),
            output_field=IntegerField(),
        )
    )
    return [
        ServicePresence(
            service_id=row["pk"],
            instance_count=row["instance_count"],
            online_instance_count=row["online_instance_count"],
            last_seen_at=row["last_seen_at"],
            status=SERVICE_STATUSES[row["status_rank"]],
        )
        for row in ranked.order_by("status_rank", "environment", "name").values(
            "pk", "instance_count", "online_instance_count", "last_seen_at", "status_rank"
        )
    ]


def other_environments() -> list[str]:
    """The names of environments that services are in beside those of `Environment`, in their order; 100 at most."""
    rows = Service.objects.exclude(environment__in=Environment.values).order_by("environment")
    return list(rows.values_list("environment", flat=True).distinct()[:100])
