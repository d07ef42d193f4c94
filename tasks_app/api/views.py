"""Services, and what is below one service: tasks, instances, metric windows, events, sessions. Source: contract 4."""

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.response import Response

from agents.api.fleet import FleetView
from agents.api.queries import (
    EventsQuery,
    ServiceEventsQuery,
    ServiceInstancesQuery,
    ServiceQuery,
    ServiceSessionsQuery,
)
from agents.api.serializers import (
    EventSummarySerializer,
    FleetEventSerializer,
    InstanceSummarySerializer,
    SessionSummarySerializer,
)
from agents.models import Event, Instance, Service
from agents.selectors.events import task_events
from agents.selectors.instances import get_instance, service_instances
from agents.selectors.services import get_service
from agents.selectors.sessions import latest_session, sessions
from controlplane.common.rest.cursors import Order, batches_of
from controlplane.common.rest.exports import BATCH_ROWS
from controlplane.common.rest.lists import paged, whole
from controlplane.common.rest.paging import page_serializer
from controlplane.common.rest.views import endpoint
from tasks_app.api.queries import (
    DashboardQuery,
    MetricWindowsQuery,
    RecentQuery,
    ServicesQuery,
    TaskHistoryQuery,
    TasksQuery,
)
from tasks_app.api.serializers import (
    DashboardSerializer,
    HistoryPageSerializer,
    MetricWindowSerializer,
    ServiceInstanceDetailSerializer,
    ServicePageSerializer,
    ServiceSummarySerializer,
    TaskControl,
    TaskDetailSerializer,
    TaskPageSerializer,
    TaskSummarySerializer,
)
from tasks_app.models import AppSnapshot
from tasks_app.selectors.controls import control_entries, instance_controls
from tasks_app.selectors.dashboard import dashboard
from tasks_app.selectors.figures import metric_points
from tasks_app.selectors.history import task_history
from tasks_app.selectors.labels import source_label
from tasks_app.selectors.lookback import LOOKBACK_DEFAULT_MINUTES, Lookback
from tasks_app.selectors.services import (
    ServiceSummary,
    service_page,
    service_summaries,
    service_summary,
    services_wanted,
)
from tasks_app.selectors.tasks import definitions, ensure_task_exists, task_summaries, task_summary
from tasks_app.selectors.windows import metric_windows


class ServicesView(FleetView):
    @endpoint("Services", query=ServicesQuery, responds=ServicePageSerializer)
    def get(self) -> HttpResponseBase:
        file = whole(self, ServiceSummarySerializer, self._batches(), name="services")
        if file is not None:
            return file
        page = service_page(
            environment=self.query.get("environment"),
            source_kind=self.query.get("source_kind"),
            text=self.query.get("q", ""),
            limit=self.query["limit"],
            offset=self.query["offset"],
            now=timezone.now(),
            environments=self.environments,
            archived=self.query["archived"],
        )
        return Response(ServicePageSerializer(page).data)

    def _batches(self) -> Iterator[list[ServiceSummary]]:
        rows = services_wanted(
            environment=self.query.get("environment"),
            source_kind=self.query.get("source_kind"),
            text=self.query.get("q", ""),
            environments=self.environments,
            archived=self.query["archived"],
        )
        for batch in batches_of(rows, Order(("id",)), size=BATCH_ROWS):
            yield service_summaries([service.pk for service in batch], now=timezone.now())


class OfServiceView(FleetView):
    """A path below one service."""

    def service(self) -> Service:
        """The service of the path and the query's environment, or NotFound."""
        return get_service(self.params["service_name"], self.query["environment"], environments=self.environments)

    def lookback(self) -> Lookback:
        return Lookback(self.query.get("lookback_minutes", LOOKBACK_DEFAULT_MINUTES), timezone.now())


class ServiceView(OfServiceView):
    @endpoint("One service", query=ServiceQuery, responds=ServiceSummarySerializer, refusals=(404,))
    def get(self) -> Response:
        return Response(ServiceSummarySerializer(service_summary(self.service(), self.lookback())).data)


class ServiceDashboardView(OfServiceView):
    @endpoint("One service at a glance", query=DashboardQuery, responds=DashboardSerializer, refusals=(404,))
    def get(self) -> Response:
        found = dashboard(self.service(), self.lookback(), event_limit=self.query["recent_event_limit"])
        context = {"source_labels": source_labels(found.recent_events)}
        return Response(DashboardSerializer(found, context=context).data)


class ServiceTasksView(OfServiceView):
    @endpoint("Tasks of a service", query=TasksQuery, responds=TaskPageSerializer, refusals=(404,))
    def get(self) -> HttpResponseBase:
        lookback = self.lookback()
        found = task_summaries(self.service(), lookback)
        if "task_name" in self.query:
            found = [summary for summary in found if summary.task.name == self.query["task_name"]]
        file = whole(self, TaskSummarySerializer, iter([found]), name="tasks")
        if file is not None:
            return file
        limit, offset = self.query["limit"], self.query["offset"]
        page = {
            "lookback": lookback,
            "total": len(found),
            "limit": limit,
            "offset": offset,
            "items": found[offset : offset + limit],
        }
        return Response(TaskPageSerializer(page).data)


class ServiceTaskView(OfServiceView):
    @endpoint("One task of a service", query=RecentQuery, responds=TaskDetailSerializer, refusals=(404,))
    def get(self) -> Response:
        service, lookback, task_name = self.service(), self.lookback(), self.params["task_name"]
        controls = instance_controls(service, online_only=False, task_name=task_name)
        summary = task_summary(service, task_name, lookback, controls=controls)
        windows = metric_windows(service, task_name=task_name, ended_after=lookback.started_at)
        events = task_events(service=service, task_name=task_name, occurred_after=lookback.started_at)
        detail = {
            "lookback": lookback,
            "service": service_summary(service, lookback),
            "summary": summary,
            "task_control": TaskControl(task_name, controls),
            "recent_metric_points": metric_points(service, task_name, lookback),
            "recent_metric_windows": windows[: self.query["metric_window_limit"]],
            "recent_events": events[: self.query["event_limit"]],
        }
        labels = {(service.pk, task_name): summary.source_label}
        return Response(TaskDetailSerializer(detail, context={"source_labels": labels}).data)


class ServiceTaskEventsView(OfServiceView):
    """Events of the runtime and commands about the task, merged. The total counts as that of other history does."""

    @endpoint("History of one task", query=TaskHistoryQuery, responds=HistoryPageSerializer, refusals=(404,))
    def get(self) -> Response:
        service, task_name = self.service(), self.params["task_name"]
        ensure_task_exists(service, task_name)
        page = task_history(
            service,
            task_name,
            self.lookback(),
            kinds=self.query.get("kind", ()),
            limit=self.query["limit"],
            offset=self.query["offset"],
        )
        events = [item.event for item in page.items if item.event]
        return Response(HistoryPageSerializer(page, context={"source_labels": source_labels(events)}).data)


class ServiceInstancesView(OfServiceView):
    @endpoint(
        "Instances of a service",
        query=ServiceInstancesQuery,
        responds=page_serializer(InstanceSummarySerializer),
        refusals=(404,),
    )
    def get(self) -> HttpResponseBase:
        rows = service_instances(
            self.service(),
            now=timezone.now(),
            connectivity=self.query.get("connectivity"),
            health=self.query.get("status"),
        )
        return paged(self, rows, InstanceSummarySerializer, name="instances", file_order=Order(("id",)))


class ServiceInstanceView(OfServiceView):
    @endpoint("One instance of a service", query=RecentQuery, responds=ServiceInstanceDetailSerializer, refusals=(404,))
    def get(self) -> Response:
        service, lookback = self.service(), self.lookback()
        instance = get_instance(self.params["instance_id"], service=service)
        windows = metric_windows(service, instance_id=instance.pk, ended_after=lookback.started_at)
        events = list(
            task_events(service=service, instance_id=instance.pk, occurred_after=lookback.started_at)[
                : self.query["event_limit"]
            ]
        )
        detail = {
            "lookback": lookback,
            "service": service_summary(service, lookback),
            "instance": instance,
            "latest_session": latest_session(instance.pk),
            "app_snapshot": app_snapshot_of(instance),
            "recent_metric_windows": windows[: self.query["metric_window_limit"]],
            "recent_events": events,
        }
        context = {"source_labels": source_labels(events)}
        return Response(ServiceInstanceDetailSerializer(detail, context=context).data)


class ServiceMetricWindowsView(OfServiceView):
    @endpoint(
        "Metric windows of a service",
        query=MetricWindowsQuery,
        responds=page_serializer(MetricWindowSerializer),
        refusals=(404,),
    )
    def get(self) -> HttpResponseBase:
        rows = metric_windows(
            self.service(),
            instance_id=self.query.get("instance_id"),
            task_name=self.query.get("task_name"),
            ended_after=self.query.get("ended_after"),
            ended_before=self.query.get("ended_before"),
        )
        order = Order(("window_ended_at", "id"), descending=True)
        return paged(self, rows, MetricWindowSerializer, name="metric-windows", file_order=order, is_history=True)


class ServiceEventsView(OfServiceView):
    @endpoint(
        "Task events of a service",
        query=ServiceEventsQuery,
        responds=page_serializer(EventSummarySerializer),
        refusals=(404,),
    )
    def get(self) -> HttpResponseBase:
        rows = task_events(
            service=self.service(),
            instance_id=self.query.get("instance_id"),
            task_name=self.query.get("task_name"),
            wire_kind=self.query.get("kind"),
            occurred_after=self.query.get("occurred_after"),
            occurred_before=self.query.get("occurred_before"),
        )
        return event_list(self, rows, EventSummarySerializer)


class EventsView(FleetView):
    @endpoint("Task events of all services", query=EventsQuery, responds=page_serializer(FleetEventSerializer))
    def get(self) -> HttpResponseBase:
        rows = task_events(
            service_name=self.query.get("service_name"),
            environment=self.query.get("environment"),
            wire_kind=self.query.get("kind"),
            occurred_after=self.query.get("occurred_after"),
            occurred_before=self.query.get("occurred_before"),
            environments=self.environments,
        )
        return event_list(self, rows, FleetEventSerializer)


class ServiceSessionsView(OfServiceView):
    @endpoint(
        "Sessions of a service",
        query=ServiceSessionsQuery,
        responds=page_serializer(SessionSummarySerializer),
        refusals=(404,),
    )
    def get(self) -> HttpResponseBase:
        rows = sessions(
            service=self.service(), instance_id=self.query.get("instance_id"), status=self.query.get("status")
        )
        order = Order(("connected_at", "id"), descending=True)
        return paged(self, rows, SessionSummarySerializer, name="sessions", file_order=order, is_history=True)


def event_list(view: FleetView, rows: QuerySet[Event], item: type[EventSummarySerializer]) -> HttpResponseBase:
    """Task events, newest first, each with the label of its task's source."""
    return paged(
        view,
        rows,
        item,
        name="events",
        file_order=Order(("occurred_at", "id"), descending=True),
        is_history=True,
        context_of=lambda events: {"source_labels": source_labels(events)},
    )


def source_labels(events: list[Event]) -> dict[tuple[int, str], str | None]:
    """The label of the source of each event's task, by (service id, task name); one query."""
    pairs = {(event.service_id, event.task_name) for event in events if event.service_id is not None}
    return {pair: source_label(task) for pair, task in definitions(pairs).items()}


def app_snapshot_of(instance: Instance) -> dict[str, Any] | None:
    """The app object of the instance's last sync with its task control states, or None before any sync; two queries."""
    snapshot = AppSnapshot.objects.filter(pk=instance.pk).first()
    if snapshot is None:
        return None
    return {**snapshot.app, "task_control_states": control_entries(instance)}
