"""Services with the figures of what they run."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Exists, OuterRef, QuerySet

from agents.models import Event, Service
from agents.selectors.events import TASK_EVENT_KINDS, latest_possible
from agents.selectors.instances import Archived
from agents.selectors.services import ServicePresence, ServiceStatus, presences, services
from agents.selectors.visibility import Environments
from tasks_app.models import MetricWindow, Task
from tasks_app.selectors.figures import ERROR_KINDS, ServiceFigures, figures_by_service
from tasks_app.selectors.lookback import LOOKBACK_DEFAULT_MINUTES, Lookback

VIEW_STATUSES = {"online": "running", "attention": "degraded", "offline": "stopped"}


@dataclass(frozen=True, slots=True)
class ServiceSummary:
    """A service, who of it is there and how its tasks fare. Source: contract 4.2, 4.3."""

    service: Service
    service_status: ServiceStatus
    instance_count: int
    online_instance_count: int
    last_seen_at: datetime | None
    source_kinds: list[str]
    task_count: int
    figures: ServiceFigures
    lookback: Lookback

    @property
    def view_status(self) -> str:
        return VIEW_STATUSES[self.service_status]

    @property
    def failing_task_count(self) -> int:
        return self.figures.failing_tasks

    @property
    def success_rate(self) -> float:
        return self.figures.success_rate

    @property
    def throughput_per_min(self) -> float:
        return self.figures.throughput_per_min(self.lookback)

    @property
    def error_count(self) -> int:
        return self.figures.error_count

    @property
    def online_task_count(self) -> int:
        return max(self.task_count - self.failing_task_count, 0) if self.online_instance_count else 0

    @property
    def standby_instance_count(self) -> int:
        return max(self.instance_count - self.online_instance_count, 0)


@dataclass(frozen=True, slots=True)
class FleetSummary:
    """Totals over the services that a list is about, on all its pages."""

    total_services: int
    online_services: int
    attention_services: int
    offline_services: int
    total_instances: int
    online_instances: int
    total_tasks: int
    failing_tasks: int

    @property
    def ready_services(self) -> int:
        return self.online_services


@dataclass(frozen=True, slots=True)
class ServicePage:
    """One page of the service list."""

    total: int
    limit: int
    offset: int
    items: list[ServiceSummary]
    source_kind_counts: dict[str, int]
    summary: FleetSummary


def service_page(
    *,
    environment: str | None,
    source_kind: str | None,
    text: str,
    limit: int,
    offset: int,
    now: datetime,
    environments: Environments = None,
    archived: Archived = "false",
) -> ServicePage:
    """Services by (online, attention, offline), environment and name. Eight queries, whatever the number of services.

    The presence of all of them is counted once, for the order of the page and for the totals.

    `source_kind_counts` counts the services per kind of source before `source_kind` narrows them.
    """
    lookback = Lookback(LOOKBACK_DEFAULT_MINUTES, now)
    named = services(environment=environment, text=text, environments=environments, archived=archived)
    wanted = _reading(named, source_kind)
    present = presences(wanted, now=now)
    page = present[offset : offset + limit]
    return ServicePage(
        total=len(present),
        limit=limit,
        offset=offset,
        items=_summaries(page, Service.objects.in_bulk([each.service_id for each in page]), lookback),
        source_kind_counts=_source_kind_counts(named),
        summary=_fleet_summary(wanted, present, lookback),
    )


def services_wanted(
    *,
    environment: str | None,
    source_kind: str | None,
    text: str,
    environments: Environments = None,
    archived: Archived = "false",
) -> QuerySet[Service]:
    """The services of `service_page`, all of them, in no particular order."""
    named = services(environment=environment, text=text, environments=environments, archived=archived)
    return _reading(named, source_kind)


def _reading(rows: QuerySet[Service], source_kind: str | None) -> QuerySet[Service]:
    """Services with a task that reads such a source; all where none is named."""
    if not source_kind:
        return rows
    return rows.filter(Exists(Task.objects.filter(service=OuterRef("pk"), source_kind=source_kind)))


def service_summaries(service_ids: Collection[int], *, now: datetime) -> list[ServiceSummary]:
    """The summaries of these services as `service_page` shows them, in its order; a constant number of queries."""
    rows = Service.objects.filter(pk__in=service_ids)
    return _summaries(presences(rows, now=now), {row.pk: row for row in rows}, Lookback(LOOKBACK_DEFAULT_MINUTES, now))


def service_summary(service: Service, lookback: Lookback) -> ServiceSummary:
    """The summary of one service, with the numbers that the list would show over the same lookback."""
    present = presences(Service.objects.filter(pk=service.pk), now=lookback.now)
    return _summaries(present, {service.pk: service}, lookback)[0]


def _fleet_summary(wanted: QuerySet[Service], present: Sequence[ServicePresence], lookback: Lookback) -> FleetSummary:
    statuses = Counter(each.status for each in present)
    failing = (
        Event.objects.filter(
            service__in=wanted,
            kind__in=ERROR_KINDS,
            occurred_at__gte=lookback.started_at,
            occurred_at__lte=lookback.now,
        )
        .order_by()
        .values("service", "task_name")
        .distinct()
        .count()
    )
    return FleetSummary(
        total_services=len(present),
        online_services=statuses["online"],
        attention_services=statuses["attention"],
        offline_services=statuses["offline"],
        total_instances=sum(each.instance_count for each in present),
        online_instances=sum(each.online_instance_count for each in present),
        total_tasks=Task.objects.filter(service__in=wanted).count(),
        failing_tasks=failing,
    )


def _source_kind_counts(named: QuerySet[Service]) -> dict[str, int]:
    rows = (
        Task.objects.filter(service__in=named)
        .exclude(source_kind="")
        .order_by("source_kind")
        .values_list("source_kind")
        .annotate(count=Count("service", distinct=True))
    )
    return dict(rows)


def _summaries(
    present: Sequence[ServicePresence], found: Mapping[int, Service], lookback: Lookback
) -> list[ServiceSummary]:
    """Summaries of these services, in their order; a constant number of queries."""
    ids = [each.service_id for each in present]
    if not ids:
        return []
    figures = figures_by_service(ids, lookback)
    kinds: dict[int, set[str]] = {}
    task_counts: dict[int, int] = dict.fromkeys(ids, 0)
    grouped = Task.objects.filter(service__in=ids).order_by().values_list("service", "source_kind")
    for service_id, kind, count in grouped.annotate(count=Count("id")):
        task_counts[service_id] += count
        if kind:
            kinds.setdefault(service_id, set()).add(kind)
    task_counts |= _undefined_task_counts([pk for pk, count in task_counts.items() if count == 0], lookback)
    return [
        ServiceSummary(
            service=found[each.service_id],
            service_status=each.status,
            instance_count=each.instance_count,
            online_instance_count=each.online_instance_count,
            last_seen_at=each.last_seen_at,
            source_kinds=sorted(kinds.get(each.service_id, ())),
            task_count=task_counts[each.service_id],
            figures=figures.get(each.service_id, ServiceFigures()),
            lookback=lookback,
        )
        for each in present
        if each.service_id in found
    ]


def _undefined_task_counts(service_ids: Collection[int], lookback: Lookback) -> dict[int, int]:
    """How many tasks services show that never told what they run: see `tasks.reported_task_names`."""
    if not service_ids:
        return {}
    names: dict[int, set[str]] = {pk: set() for pk in service_ids}
    day = lookback.widest()
    for service_id, task_name in (
        MetricWindow.objects.filter(
            service__in=service_ids,
            window_ended_at__gte=day.started_at,
            window_ended_at__lte=latest_possible(),
        )
        .order_by()
        .values_list("service", "task_name")
        .distinct()
    ):
        if service_id is not None:
            names[service_id].add(task_name)
    for service_id, task_name in (
        Event.objects.filter(
            service__in=service_ids,
            kind__in=TASK_EVENT_KINDS,
            occurred_at__gte=day.started_at,
            occurred_at__lte=latest_possible(),
        )
        .order_by()
        .values_list("service", "task_name")
        .distinct()
    ):
        if service_id is not None:
            names[service_id].add(task_name)
    return {pk: len(found) for pk, found in names.items()}
