"""Fan-outs: orders for many instances, how they fare, and the way to give them again where they failed."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter, DropdownFilter

from agents.admin import columns
from agents.admin.fan_out_form import send_url
from agents.admin.fan_out_rows import csv_answer, page_of, rows_of
from agents.admin.filters import KindFilter
from agents.admin.sending import kinds_for
from agents.models import Command, FanOut, FanOutTarget
from agents.selectors.fan_outs import (
    FAILED,
    RETRIABLE_STATES,
    STATES,
    Standing,
    command_counts,
    running,
    standing,
)
from agents.services.commands import cancel_waiting
from controlplane.access.actors import actor_of
from controlplane.access.policy import may_command
from controlplane.console.admin import HTMX_STOP_POLLING, HistoryAdmin, PageAdmin
from controlplane.console.formatting import NOTHING, admin_url, age, badge, cut, link

SHOWN: dict[str, Any] = {"": _("All"), "open": _("Under way"), "failed": _("Failed"), "done": _("Succeeded")}


class RunningFilter(DropdownFilter):  # type: ignore[misc]
    """Those of which a command is still under way."""

    title = _("state")
    parameter_name = "running"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Running")), ("no", _("Finished"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "yes":
            return running(queryset)
        return queryset.exclude(pk__in=running().values("pk")) if self.value() == "no" else queryset


@admin.register(FanOut)
class FanOutAdmin(HistoryAdmin, PageAdmin):
    list_display = ("label", "aimed_at", "outcomes", "progress", "created", "by", "why")
    list_filter = (
        RunningFilter,
        KindFilter,
        ("target_mode", ChoicesDropdownFilter),
        ("service", AutocompleteSelectFilter),
    )
    search_fields = ("selector", "=group_name", "task_name", "created_by_name", "reason")
    date_hierarchy = "created_at"
    page_template = "admin/agents/fanout/page.html"
    # The targets of each are counted anew, and one has thousands.
    list_per_page = 20
    public_id_prefix = "fan_"

    def get_queryset(self, request: HttpRequest) -> QuerySet[FanOut]:
        return super().get_queryset(request).select_related("service").defer("args")

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The rows of the page, each with the `statuses` of its commands."""
        changelist = super().get_changelist_instance(request)
        rows: list[Any] = list(changelist.result_list)
        counts = command_counts(rows)
        for row in rows:
            row.statuses = counts[row.pk]
        return changelist

    @admin.display(description=_("Command"), ordering="kind")
    def label(self, row: FanOut) -> str:
        name = columns.kind_label(row.kind)
        return f"{name} · {row.task_name}" if row.task_name else name

    @admin.display(description=_("For"))
    def aimed_at(self, row: FanOut) -> SafeString | str:
        return aim_words(row)

    @admin.display(description=_("Instances"))
    def outcomes(self, row: FanOut) -> SafeString | str:
        counts = [(outcome, getattr(row, outcome)) for outcome in FanOutTarget.Outcome.values]
        return _badges("outcome", counts)

    @admin.display(description=_("Now"))
    def progress(self, row: Any) -> SafeString | str:
        labels = dict(Command.Status.choices)
        statuses = _badges("command", [(status, row.statuses[status]) for status in labels], labels)
        is_running = any(row.statuses[status] for status in Command.OPEN)
        return format_html("{} {}", badge("fan_out", "running"), statuses) if is_running else statuses

    @admin.display(description=_("Created"), ordering="created_at")
    def created(self, row: FanOut) -> SafeString | str:
        return age(row.created_at)

    @admin.display(description=_("By"), ordering="created_by_name")
    def by(self, row: FanOut) -> str:
        return row.created_by_name or NOTHING

    @admin.display(description=_("Reason"))
    def why(self, row: FanOut) -> SafeString | str:
        return cut(row.reason, 60)

    def get_page_queryset(self, request: HttpRequest) -> QuerySet[FanOut]:
        return FanOut.objects.select_related("service", "retry_of")

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        return [
            ("live", "live", self.live_view),
            ("cancel", "cancel", self.cancel_view),
            ("export", "export", self.export_view),
        ]

    def page_context(self, request: HttpRequest, obj: FanOut) -> dict[str, object]:
        """Four queries, whatever the number of targets, of which one counts all of them."""
        return {**self.live_context(request, obj), "retries": obj.retries.order_by("created_at")[:10]}

    def live_context(self, request: HttpRequest, obj: FanOut) -> dict[str, object]:
        """What moves: the counts and the visible page of targets. Two queries."""
        now = standing(obj)
        shown = request.GET.get("show", "")
        shown = shown if shown in SHOWN or shown in STATES else ""
        page = page_of(obj, shown, now.count_of(shown), request.GET.get("p"))
        counts = _commands_in(now)
        again = now.retriable if obj.kind in kinds_for(request) else Counter()
        return {
            "title": columns.kind_label(obj.kind),
            "kind_label": columns.kind_label(obj.kind),
            "aimed_at": aim_words(obj),
            "outcomes": [(outcome, getattr(obj, outcome)) for outcome in FanOutTarget.Outcome.values],
            "states": [(state, now.states[state]) for state in STATES if now.states[state]],
            "shares": _shares(counts),
            "open": now.open,
            "waiting": now.states[Command.Status.PENDING],
            "may_cancel": may_command(request, destructive=False),
            "command_count": counts.total(),
            "retriable": now.retriable.total(),
            "retry_url": send_url(("retry", str(obj.pk))) if again else "",
            "retry_choices": [
                (state, again[state], send_url(("retry", str(obj.pk)), ("only", state)))
                for state in RETRIABLE_STATES
                if again[state]
            ],
            "targets": page,
            "rows": rows_of(obj, page.object_list),
            "shown": shown,
            "choices": list(SHOWN.items()),
            "query": request.GET.urlencode(),
            "watch": _watch(obj),
        }

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What changes while commands are under way; says to stop asking once none is."""
        fan_out = self.get_page_object(request, object_id)
        context = {**self.live_context(request, fan_out), "object": fan_out}
        status = 200 if context["open"] else HTMX_STOP_POLLING
        return TemplateResponse(request, "admin/agents/fanout/live.html", context, status=status)

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Cancel what was not sent yet."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        fan_out = self.get_page_object(request, object_id)
        if not may_command(request, destructive=False):
            raise PermissionDenied
        count = cancel_waiting(fan_out, actor=actor_of(request))
        if count:
            messages.success(request, ngettext("%d command cancelled.", "%d commands cancelled.", count) % count)
        else:
            messages.info(request, gettext("Nothing was left to cancel: all commands have been sent."))
        return HttpResponseRedirect(admin_url("agents_fanout_change", fan_out.pk))

    def export_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """All targets as they stand now."""
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return csv_answer(self.get_page_object(request, object_id))


def _watch(fan_out: FanOut) -> str:
    """What the live stream is asked for: commands, of one service where it was for one."""
    query = {"channels": "commands"}
    if fan_out.service is not None:
        query |= {"service": fan_out.service.name, "environment": fan_out.service.environment}
    return urlencode(query)


def _commands_in(now: Standing) -> Counter[str]:
    """How many commands have which status, those that were never made left out."""
    return Counter({status: now.states[status] for status in Command.Status.values})


def aim_words(fan_out: FanOut) -> SafeString | str:
    """Whom it was for, as it was said then."""
    if fan_out.retry_of_id is not None:
        return link(admin_url("agents_fanout_change", fan_out.retry_of_id), gettext("Where another one failed"))
    if fan_out.group_name:
        return format_html("{} <span class='c-soft'>{}</span>", fan_out.group_name, cut(fan_out.selector, 60))
    if fan_out.selector:
        return format_html('<code class="c-mono">{}</code>', cut(fan_out.selector, 80))
    if fan_out.service is not None:
        return columns.service_link(fan_out.service)
    return fan_out.get_target_mode_display()


@dataclass(frozen=True, slots=True)
class Share:
    """How many commands of a fan-out fare alike: their stretch of its bar, from `start`, and its tone."""

    tone: str
    start: int
    count: int


def _shares(counts: Counter[str]) -> list[Share]:
    """What succeeded, what did not, and what is under way, in this order and without empty ones."""
    succeeded, failed = counts[Command.Status.SUCCEEDED], sum(counts[status] for status in FAILED)
    shares = (
        Share("good", 0, succeeded),
        Share("bad", succeeded, failed),
        Share("open", succeeded + failed, _open(counts)),
    )
    return [share for share in shares if share.count]


def _open(counts: Counter[str]) -> int:
    return sum(counts[status] for status in Command.OPEN)


def _badges(family: str, counts: list[tuple[str, int]], labels: dict[str, Any] | None = None) -> SafeString | str:
    """How many of each state, those of none left out."""
    found = [
        badge(family, state, f"{count} {labels[state]}" if labels else str(count), title="" if labels else state)
        for state, count in counts
        if count
    ]
    return format_html_join(" ", "{}", ((each,) for each in found)) or NOTHING
