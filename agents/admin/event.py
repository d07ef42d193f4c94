"""Events: the only history. Nothing here is ever changed."""

from datetime import timedelta

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from agents import history, words
from agents.admin import columns
from agents.admin.filters import (
    EventFamilyFilter,
    GroupOfInstanceFilter,
    OccurredFilter,
    SelectorOfInstanceFilter,
    SubjectFilter,
)
from agents.models import Command, Event
from agents.selectors.events import events_so_far
from agents.selectors.visibility import told_to
from controlplane.access.policy import may_administer
from controlplane.common.changes import ChangeKind
from controlplane.console.admin import HistoryAdmin, PageAdmin
from controlplane.console.formatting import NOTHING, age, badge, cut

SEARCHED = timedelta(days=1)


@admin.register(Event)
class EventAdmin(HistoryAdmin, PageAdmin):
    list_display = ("what", "occurred", "by", "service_column", "instance_column", "about", "told")
    list_filter = (
        OccurredFilter,
        EventFamilyFilter,
        SubjectFilter,
        SelectorOfInstanceFilter,
        GroupOfInstanceFilter,
        ("kind", ChoicesDropdownFilter),
        ("level", ChoicesDropdownFilter),
        ("service", AutocompleteSelectFilter),
        ("instance", AutocompleteSelectFilter),
    )
    search_fields = ("=event_id", "task_name", "exception_type", "message")
    search_help_text = _("Sought in the last 24 hours, unless the filter names another time.")
    page_template = "admin/agents/event/page.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        return self._told(request).defer("traceback", "meta")

    def _told(self, request: HttpRequest) -> QuerySet[Event]:
        """The events that this person may read, with what they are of."""
        told = told_to(administrator=may_administer(request))
        return events_so_far().filter(told).select_related("service", "instance")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        """No index knows a part of a text: without a bound, a search reads the whole history."""
        if search_term.strip() and OccurredFilter.parameter_name not in request.GET:
            queryset = queryset.filter(occurred_at__gte=timezone.now() - SEARCHED)
        return super().get_search_results(request, queryset, search_term)

    @admin.display(description=_("Event"), ordering="kind")
    def what(self, row: Event) -> SafeString:
        return badge("level", row.level, row.get_kind_display())

    @admin.display(description=_("Occurred"), ordering="occurred_at")
    def occurred(self, row: Event) -> SafeString | str:
        return age(row.occurred_at)

    @admin.display(description=_("Service"))
    def service_column(self, row: Event) -> SafeString | str:
        return columns.service_link(row.service)

    @admin.display(description=_("Instance"))
    def instance_column(self, row: Event) -> SafeString | str:
        return columns.instance_link(row.instance)

    @admin.display(description=_("Subject"))
    def about(self, row: Event) -> SafeString | str:
        if row.command_id is not None:
            return columns.command_link(row.command_id)
        if row.subject:
            return cut(history.subject_words(row), 40)
        return cut(row.task_name, 40)

    @admin.display(description=_("Message"))
    def told(self, row: Event) -> SafeString | str:
        if row.subject:
            return NOTHING
        if not row.exception_type:
            return words.event_words(row, 80)
        return cut(": ".join(part for part in (row.exception_type, row.message) if part), 80)

    @admin.display(description=_("By"))
    def by(self, row: Event) -> str:
        return row.actor or NOTHING

    def get_page_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        return self._told(request)

    def page_context(self, request: HttpRequest, obj: Event) -> dict[str, object]:
        command = Command.objects.filter(pk=obj.command_id).defer("args", "result").first() if obj.command_id else None
        return {
            "title": obj.get_kind_display(),
            "command": command,
            "changed_fields": history.changed_fields(obj),
            "origin": history.origin_words(obj),
            "is_refused_login": obj.kind in {ChangeKind.LOGIN_FAILED, ChangeKind.LOGIN_LOCKED},
            "subject": history.subject_words(obj),
            "subject_url": history.subject_url(obj),
            "delay_ms": max(0.0, (obj.received_at - obj.occurred_at).total_seconds() * 1000),
        }
