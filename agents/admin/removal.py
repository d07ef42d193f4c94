"""Removals: what is being forgotten, how far that is, and what was."""

from collections.abc import Callable

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from agents.models import Removal
from controlplane.console.admin import HTMX_STOP_POLLING, PageAdmin
from controlplane.console.formatting import age, badge


def removal_badge(removal: Removal) -> SafeString:
    state = "kept" if removal.kept_reason else "done" if removal.finished_at else "running"
    return badge("removal", state)


@admin.register(Removal)
class RemovalAdmin(PageAdmin):
    list_display = ("name", "kind", "state", "rows", "requested", "by", "finished")
    list_filter = (("kind", ChoicesDropdownFilter), "environment")
    search_fields = ("name", "=target_id", "requested_by_name")
    page_template = "admin/agents/removal/page.html"

    @admin.display(description=_("State"))
    def state(self, row: Removal) -> SafeString:
        return removal_badge(row)

    @admin.display(description=_("Removed rows"))
    def rows(self, row: Removal) -> str:
        return str(row.removed_count)

    @admin.display(description=_("Requested"), ordering="requested_at")
    def requested(self, row: Removal) -> SafeString | str:
        return age(row.requested_at)

    @admin.display(description=_("By"), ordering="requested_by_name")
    def by(self, row: Removal) -> str:
        return row.requested_by_name

    @admin.display(description=_("Finished"), ordering="finished_at")
    def finished(self, row: Removal) -> SafeString | str:
        return age(row.finished_at)

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        return [("live", "live", self.live_view)]

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """How far it is; says to stop asking once it is done."""
        removal = self.get_page_object(request, object_id)
        context = {**self.page_context(request, removal), "object": removal}
        status = HTMX_STOP_POLLING if removal.finished_at else 200
        return TemplateResponse(request, "admin/agents/removal/live.html", context, status=status)

    def page_context(self, request: HttpRequest, obj: Removal) -> dict[str, object]:
        return {
            "state": removal_badge(obj),
            "removed": sorted(obj.removed.items()),
            "kept_reason": gettext(obj.kept_reason) if obj.kept_reason else "",
        }
