"""Portal processes: which run, which fell silent, which ended."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from agents.models import Replica, Session
from agents.selectors.overview import process_state
from agents.selectors.replicas import queue_figures
from controlplane.console.admin import PageAdmin
from controlplane.console.formatting import NOTHING, admin_url, age, badge, link

SESSIONS_SHOWN = 20


@admin.register(Replica)
class ReplicaAdmin(PageAdmin):
    list_display = ("process", "kind_column", "state", "sessions_held", "waiting", "last_seen", "started", "stopped")
    list_filter = (("kind", ChoicesDropdownFilter),)
    search_fields = ("host_id", "=pid")
    date_hierarchy = "started_at"
    page_template = "admin/agents/replica/page.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Replica]:
        held = (
            Session.objects.filter(replica=OuterRef("pk"), status=Session.Status.ACTIVE)
            .order_by()
            .values("replica")
            .annotate(n=Count("pk"))
            .values("n")
        )
        rows: QuerySet[Replica] = super().get_queryset(request)
        return rows.annotate(held=Coalesce(Subquery(held, output_field=IntegerField()), 0))

    @admin.display(description=_("Process"), ordering="host_id")
    def process(self, row: Replica) -> str:
        return f"{row.host_id.partition('/')[0]}:{row.pid}"

    @admin.display(description=_("Kind"), ordering="kind")
    def kind_column(self, row: Replica) -> str:
        return row.get_kind_display()

    @admin.display(description=_("State"))
    def state(self, row: Replica) -> SafeString:
        return badge("process", process_state(row, now=timezone.now()))

    @admin.display(description=_("Sessions"))
    def sessions_held(self, row: Any) -> SafeString | str:
        if not row.held:
            return "0"
        return link(admin_url("agents_session_changelist", replica__id__exact=row.pk, status__exact="active"), row.held)

    @admin.display(description=_("Last seen"), ordering="last_seen_at")
    def last_seen(self, row: Replica) -> SafeString | str:
        return age(row.last_seen_at)

    @admin.display(description=_("Started"), ordering="started_at")
    def started(self, row: Replica) -> SafeString | str:
        return age(row.started_at)

    @admin.display(description=_("Stopped"), ordering="stopped_at")
    def stopped(self, row: Replica) -> SafeString | str:
        return age(row.stopped_at)

    @admin.display(description=_("Waiting to be stored"))
    def waiting(self, row: Replica) -> str:
        queues = queue_figures(row)
        return str(sum(queue.waiting for queue in queues)) if queues else NOTHING

    def page_context(self, request: HttpRequest, obj: Replica) -> dict[str, object]:
        return {
            "state": process_state(obj, now=timezone.now()),
            "connections": obj.ingest.get("connections"),
            "frames_per_s": obj.ingest.get("traffic", {}).get("frames_per_s"),
            "streams": obj.ingest.get("gauges", {}).get("event_streams"),
            "database_ms": _ms(obj.ingest.get("latency", {}).get("database_s")),
            "redis_ms": _ms(obj.ingest.get("latency", {}).get("redis_s")),
            "queues": queue_figures(obj),
            "sessions": Session.objects.filter(replica=obj)
            .select_related("instance__service")
            .defer("capabilities", "accepted_capabilities")
            .order_by("-connected_at", "-id")[:SESSIONS_SHOWN],
        }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds
