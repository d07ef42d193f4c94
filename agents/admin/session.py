"""Sessions: each connection of each instance, from hello to disconnect."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from agents import words
from agents.admin import columns
from agents.admin.filters import GroupOfInstanceFilter, SelectorOfInstanceFilter
from agents.models import Command, Event, Session
from agents.models.command import CommandKind
from agents.selectors.events import latest_possible, notable_events
from controlplane.console.admin import HistoryAdmin, PageAdmin
from controlplane.console.formatting import age

COMMANDS_SHOWN = 20
EVENTS_SHOWN = 20


@admin.register(Session)
class SessionAdmin(HistoryAdmin, PageAdmin):
    list_display = (
        "short_id",
        "instance_column",
        "service_column",
        "state",
        "connected",
        "last_message",
        "ended",
        "why",
    )
    list_filter = (
        ("status", ChoicesDropdownFilter),
        SelectorOfInstanceFilter,
        GroupOfInstanceFilter,
        "instance__service__environment",
        ("instance", AutocompleteSelectFilter),
        ("replica", AutocompleteSelectFilter),
        ("token", AutocompleteSelectFilter),
    )
    search_fields = ("instance__node_name", "=instance__external_id", "instance__service__name", "=peer_address")
    date_hierarchy = "connected_at"
    page_template = "admin/agents/session/page.html"
    public_id_prefix = "sess_"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        return (
            super()
            .get_queryset(request)
            .select_related("instance__service")
            .defer("capabilities", "accepted_capabilities")
        )

    @admin.display(description=_("Session"), ordering="id")
    def short_id(self, row: Session) -> str:
        return f"sess_{row.id.hex[:8]}…"

    @admin.display(description=_("Instance"), ordering="instance__node_name")
    def instance_column(self, row: Session) -> SafeString | str:
        return columns.instance_link(row.instance)

    @admin.display(description=_("Service"), ordering="instance__service__name")
    def service_column(self, row: Session) -> SafeString | str:
        return columns.service_link(row.instance.service)

    @admin.display(description=_("Status"), ordering="status")
    def state(self, row: Session) -> SafeString:
        return columns.session_status(row)

    @admin.display(description=_("Connected"), ordering="connected_at")
    def connected(self, row: Session) -> SafeString | str:
        return age(row.connected_at)

    @admin.display(description=_("Last message"), ordering="last_message_at")
    def last_message(self, row: Session) -> SafeString | str:
        return age(row.last_message_at)

    @admin.display(description=_("Ended"))
    def ended(self, row: Session) -> SafeString | str:
        return age(row.disconnected_at or row.superseded_at)

    @admin.display(description=_("Why it ended"), ordering="end_reason")
    def why(self, row: Session) -> SafeString | str:
        return words.end_reason(row)

    def get_page_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        return Session.objects.select_related("instance__service", "replica", "token")

    def page_context(self, request: HttpRequest, obj: Session) -> dict[str, object]:
        accepted = set(obj.accepted_capabilities)
        requested = set(obj.capabilities)
        return {
            "accepted": sorted(accepted),
            "declined": sorted(requested - accepted),
            "may_send": [CommandKind(kind).label for kind in CommandKind.values if f"command.{kind}" in accepted],
            "events": _meanwhile(obj),
            "commands": Command.objects.filter(session=obj)
            .select_related("instance")
            .defer("args", "result")
            .order_by("-created_at", "-id")[:COMMANDS_SHOWN],
        }


def _meanwhile(session: Session) -> QuerySet[Event]:
    """What happened to the instance while the session lasted, newest first; of an index, within its times."""
    end = session.disconnected_at or session.superseded_at or latest_possible()
    rows = notable_events(instance=session.instance_id, occurred_at__range=(session.connected_at, end))
    return rows[:EVENTS_SHOWN]
