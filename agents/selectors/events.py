"""Task events as the contract shows them, newest first. The portal's own kinds of event are not among them."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone

from agents.models import Event, Service
from agents.models.event import LOGIN_KINDS, NOTABLE, TASK_EVENT_PREFIX, EventKind
from agents.selectors.visibility import Environments, within

TASK_EVENT_KINDS: Final[tuple[str, ...]] = tuple(
    kind for kind in EventKind.values if kind.startswith(TASK_EVENT_PREFIX)
)
# The same in the words of the onestep dialect: started, failed, ...
WIRE_EVENT_KINDS: Final[tuple[str, ...]] = tuple(kind.removeprefix(TASK_EVENT_PREFIX) for kind in TASK_EVENT_KINDS)

# Times of agents are at most an hour ahead when they are stored; clocks of the portal's hosts differ by far less.
AHEAD_MAX: Final = timedelta(days=1)


def latest_possible() -> datetime:
    """No stored record is later. Said in a query, it keeps PostgreSQL off all the partitions that were made ahead."""
    return timezone.now() + AHEAD_MAX


def events_so_far() -> QuerySet[Event]:
    return Event.objects.filter(occurred_at__lte=latest_possible())


def notable_events(**of: object) -> QuerySet[Event]:
    """Everything but routine task events, newest first, without wide columns; `of` narrows it, as in service=row."""
    return events_so_far().filter(NOTABLE, **of).defer("traceback", "meta").order_by("-occurred_at", "-id")


def changes_of(subject: str) -> QuerySet[Event]:
    """What people and programs changed of one object, newest first; `subject` is as in `auth.user:3`, and not empty.

    Logins of a user are no changes.
    """
    rows = events_so_far().filter(subject=subject).exclude(kind__in=LOGIN_KINDS).defer("traceback")
    return rows.order_by("-occurred_at", "-id")


def services_with_task(task_name: str) -> QuerySet[Service]:
    """The services of which there is an event of a task of this name, whether they defined it or not; in no order.

    One probe of an index for each service and week, where the events themselves have no index by the name alone.
    """
    of_service = events_so_far().filter(service=OuterRef("pk"), task_name=task_name).exclude(task_name="")
    # No EXISTS, which PostgreSQL may turn into a join that reads all events.
    newest = Subquery(of_service.order_by("-occurred_at", "-id").values("pk")[:1])
    return Service.objects.alias(newest=newest).filter(newest__isnull=False).order_by()


def task_events(
    *,
    service: Service | None = None,
    service_name: str | None = None,
    environment: str | None = None,
    instance_id: UUID | None = None,
    task_name: str | None = None,
    wire_kind: str | None = None,
    occurred_after: datetime | None = None,
    occurred_before: datetime | None = None,
    environments: Environments = None,
) -> QuerySet[Event]:
    """Task events with their service; whatever is None does not narrow, and both times are inclusive.

    Narrowed by name or environment, it asks for the services first (one query more): by their ids PostgreSQL knows
    whether to read an index of theirs or the newest of all.
    """
    wanted = {
        "service": service,
        "instance": instance_id,
        "task_name": task_name,
        "kind": wire_kind and TASK_EVENT_PREFIX + wire_kind,
        "occurred_at__gte": occurred_after,
        "occurred_at__lte": occurred_before,
    }
    rows = events_so_far().select_related("service").order_by("-occurred_at", "event_id")
    rows = rows.filter(
        kind__in=TASK_EVENT_KINDS, **{name: value for name, value in wanted.items() if value is not None}
    )
    named = {"name": service_name, "environment": environment}
    narrowed = {name: value for name, value in named.items() if value is not None}
    if not narrowed and environments is None:
        return rows
    services = Service.objects.filter(within(environments, "environment"), **narrowed)
    return rows.filter(service__in=list(services.values_list("pk", flat=True)))
