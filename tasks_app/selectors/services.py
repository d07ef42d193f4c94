"""Services with the figures of what they run."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Sum

from agents.models import Event, Service
from agents.selectors.events import TASK_EVENT_KINDS, latest_possible
from agents.selectors.services import SERVICE_STATUSES, ServiceStatus, services, with_presence
from agents.selectors.visibility import Environments
from tasks_app.models import MetricWindow, Task
from tasks_app.selectors.figures import (
    ERROR_KINDS,
    EventFigures,
    WindowFigures,
    events_by_service,
    windows_by_service,
)
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
    windows: WindowFigures
    events: EventFigures
    lookback: Lookback

    @property
    def view_status(self) -> str:
        return VIEW_STATUSES[self.service_status]

    @property
    def failing_task_count(self) -> int:
        return self.events.failing_tasks

    @property
    def success_rate(self) -> float:
        return self.windows.success_rate

    @property
    def throughput_per_min(self) -> int:
        return self.windows.throughput_per_min(self.lookback)

    @property
    def error_count(self) -> int:
        return self.events.errors + self.windows.counters["timeouts"]

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
) -> ServicePage:
    """Services by (online, attention, offline), environment and name. Eight queries, whatever the number of services.

    `source_kind_counts` counts the services per kind of source before `source_kind` narrows them.
    """
    lookback = Lookback(LOOKBACK_DEFAULT_MINUTES, now)
    named = services(environment=environment, text=text, environments=environments)
    wanted = _reading(named, source_kind)
    summary = _fleet_summary(wanted, lookback)
    rows = list(with_presence(wanted, now=now)[offset : offset + limit]) if offset < summary.total_services else []
    return ServicePage(
        total=summary.total_services,
        limit=limit,
        offset=offset,
        items=_summaries(rows, lookback),
        source_kind_counts=_source_kind_counts(named),
        summary=summary,
    )


def services_wanted(
    *, environment: str | None, source_kind: str | None, text: str, environments: Environments = None
) -> QuerySet[Service]:
    """The services of `service_page`, all of them, in no particular order."""
    return _reading(services(environment=environment, text=text, environments=environments), source_kind)


def _reading(rows: QuerySet[Service], source_kind: str | None) -> QuerySet[Service]:
    """Services with a task that reads such a source; all where none is named."""
    if not source_kind:
        return rows
    return rows.filter(Exists(Task.objects.filter(service=OuterRef("pk"), source_kind=source_kind)))


def service_summaries(service_ids: Collection[int], *, now: datetime) -> list[ServiceSummary]:
    """The summaries of these services as `service_page` shows them, in its order; a constant number of queries."""
    rows = with_presence(Service.objects.filter(pk__in=service_ids), now=now)
    return _summaries(rows, Lookback(LOOKBACK_DEFAULT_MINUTES, now))


def service_summary(service: Service, lookback: Lookback) -> ServiceSummary:
    """The summary of one service, with the numbers that the list would show over the same lookback."""
    return _summaries(with_presence(Service.objects.filter(pk=service.pk), now=lookback.now), lookback)[0]


def _fleet_summary(wanted: QuerySet[Service], lookback: Lookback) -> FleetSummary:
    totals = (
        with_presence(wanted, now=lookback.now)
        .order_by()
        .aggregate(
            services=Count("pk"),
            online=Count("pk", filter=Q(status_rank=SERVICE_STATUSES.index("online"))),
            attention=Count("pk", filter=Q(status_rank=SERVICE_STATUSES.index("attention"))),
            instances=Sum("instance_count", default=0),
            online_instances=Sum("online_instance_count", default=0),
        )
    )
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
        total_services=totals["services"],
        online_services=totals["online"],
        attention_services=totals["attention"],
        offline_services=totals["services"] - totals["online"] - totals["attention"],
        total_instances=totals["instances"],
        online_instances=totals["online_instances"],
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


def _summaries(rows: Iterable[Any], lookback: Lookback) -> list[ServiceSummary]:
    """Summaries of services from `with_presence`, in their order; a constant number of queries."""
    found = list(rows)
    ids = [service.pk for service in found]
    if not ids:
        return []
    windows = windows_by_service(ids, lookback)
    events = events_by_service(ids, lookback)
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
            service=service,
            service_status=SERVICE_STATUSES[service.status_rank],
            instance_count=service.instance_count,
            online_instance_count=service.online_instance_count,
            last_seen_at=service.last_seen_at,
            source_kinds=sorted(kinds.get(service.pk, ())),
            task_count=task_counts[service.pk],
            windows=windows.get(service.pk, WindowFigures()),
            events=events.get(service.pk, EventFigures()),
            lookback=lookback,
        )
        for service in found
    ]


def _undefined_task_counts(service_ids: Collection[int], lookback: Lookback) -> dict[int, int]:
    """How many tasks services show that never told what they run: see `tasks.reported_task_names`."""
    if not service_ids:
        return {}
    names: dict[int, set[str]] = {pk: set() for pk in service_ids}
    day = lookback.widest()
    for service_id, task_name in (
        MetricWindow.objects.filter(
            instance__service__in=service_ids,
            window_ended_at__gte=day.started_at,
            window_ended_at__lte=latest_possible(),
        )
        .order_by()
        .values_list("instance__service", "task_name")
        .distinct()
    ):
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
