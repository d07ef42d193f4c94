"""Commands: every order, what became of it and when."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from agents import words
from agents.admin import columns
from agents.admin.command_filters import OrderedByFilter
from agents.admin.command_page import again_url, curl_of, moves, sent_context, steps, the_same_before
from agents.admin.filters import GroupOfInstanceFilter, KindFilter, SelectorOfInstanceFilter
from agents.admin.sending import ensure_may_send, kinds_for
from agents.admin.token import portal_url
from agents.admin.trouble_filters import CommandTroubleFilter
from agents.models import Command, FanOut
from agents.selectors.waiting import waits, why_waiting
from agents.services.commands import cancel_command
from agents.words import wait_words
from controlplane.access.actors import actor_of
from controlplane.access.policy import may_command
from controlplane.common.errors import ControlPlaneError
from controlplane.console.admin import HTMX_STOP_POLLING, HistoryAdmin, PageAdmin, report
from controlplane.console.formatting import NOTHING, admin_url, age, cut, duration

CANCEL_MAX = 500


@admin.register(Command)
class CommandAdmin(HistoryAdmin, PageAdmin):
    list_display = ("label", "instance_column", "service_column", "task", "state", "created", "took", "by", "outcome")
    list_filter = (
        CommandTroubleFilter,
        ("status", ChoicesDropdownFilter),
        KindFilter,
        OrderedByFilter,
        SelectorOfInstanceFilter,
        GroupOfInstanceFilter,
        ("source_surface", ChoicesDropdownFilter),
        "instance__service__environment",
        ("instance__service", AutocompleteSelectFilter),
        ("instance", AutocompleteSelectFilter),
    )
    date_hierarchy = "created_at"
    search_fields = (
        "instance__node_name",
        "=instance__external_id",
        "task_name",
        "created_by_name",
        "reason",
        "=error_code",
    )
    actions = ("cancel_selected",)
    page_template = "admin/agents/command/page.html"
    public_id_prefix = "cmd_"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Command]:
        return super().get_queryset(request).select_related("instance__service").defer("args", "result")

    @admin.display(description=_("Command"), ordering="kind")
    def label(self, row: Command) -> str:
        return columns.kind_label(row.kind)

    @admin.display(description=_("Instance"), ordering="instance__node_name")
    def instance_column(self, row: Command) -> SafeString | str:
        return columns.instance_link(row.instance)

    @admin.display(description=_("Service"), ordering="instance__service__name")
    def service_column(self, row: Command) -> SafeString | str:
        return columns.service_link(row.instance.service)

    @admin.display(description=_("Task"), ordering="task_name")
    def task(self, row: Command) -> SafeString | str:
        return cut(row.task_name, 40)

    @admin.display(description=_("Status"), ordering="status")
    def state(self, row: Command) -> SafeString:
        return columns.command_status(row)

    @admin.display(description=_("Created"), ordering="created_at")
    def created(self, row: Command) -> SafeString | str:
        return age(row.created_at)

    @admin.display(description=_("Took"), ordering="duration_ms")
    def took(self, row: Command) -> str:
        return duration(row.duration_ms)

    @admin.display(description=_("By"), ordering="created_by_name")
    def by(self, row: Command) -> str:
        return row.created_by_name or NOTHING

    @admin.display(description=_("Error or why it waits"))
    def outcome(self, row: Any) -> SafeString | str:
        return row.why or words.error_words(row, 60) or NOTHING

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The rows of the page, each with `why` it waits; nothing for those that are finished."""
        changelist = super().get_changelist_instance(request)
        rows: list[Any] = list(changelist.result_list)
        found = waits(rows, now=timezone.now())
        for row in rows:
            row.why = wait_words(found.get(row.pk))
        return changelist

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return may_command(request, destructive=False)

    @admin.action(description=_("Cancel pending commands"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Command]) -> HttpResponse | None:
        chosen = list(queryset[: CANCEL_MAX + 1])
        if len(chosen) > CANCEL_MAX:
            messages.error(request, gettext("Select %d commands at most.") % CANCEL_MAX)
            return None
        if "confirm" in request.POST:
            self._cancel(request, chosen)
            return None
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": gettext("Cancel pending commands"),
            "commands": chosen,
            "pending": sum(1 for command in chosen if command.status == Command.Status.PENDING),
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/agents/command/confirm_cancel.html", context)

    @staticmethod
    def _cancel(request: HttpRequest, commands: list[Command]) -> None:
        cancelled = 0
        refused = 0
        for command in commands:
            try:
                cancel_command(command.pk, actor=actor_of(request))
                cancelled += 1
            except ControlPlaneError:
                refused += 1
        if cancelled:
            text = ngettext("%d command cancelled.", "%d commands cancelled.", cancelled)
            messages.success(request, text % cancelled)
        if refused:
            text = ngettext(
                "%d command left as it is: it was no longer pending.",
                "%d commands left as they are: they were no longer pending.",
                refused,
            )
            messages.warning(request, text % refused)

    def get_page_queryset(self, request: HttpRequest) -> QuerySet[Command]:
        return Command.objects.select_related("instance__service", "session")

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        return [
            ("live", "live", self.live_view),
            ("sent", "sent", self.sent_view),
            ("cancel", "cancel", self.cancel_view),
        ]

    def page_context(self, request: HttpRequest, obj: Command) -> dict[str, object]:
        return {
            **self._live_context(request, obj),
            "instance_key": str(obj.instance_id),
            "curl": curl_of(obj, portal_url=portal_url(request)),
            "again_url": again_url(obj) if obj.kind in kinds_for(request) else "",
            "same": the_same_before(obj),
        }

    def _live_context(self, request: HttpRequest, command: Command) -> dict[str, object]:
        return {
            "steps": steps(command),
            "wait": (wait := why_waiting(command, now=timezone.now())),
            "why": wait_words(wait),
            "title": columns.kind_label(command.kind),
            "kind_label": columns.kind_label(command.kind),
            "may_cancel": command.status == Command.Status.PENDING and self.has_cancel_permission(request),
            "completion": _completion(command),
            "fan_out": FanOut.objects.filter(targets__command=command).defer("args").first(),
            "moves": (told := moves(command)),
            "attempts": sum(1 for move in told if move.attempt),
        }

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What changes while the command is under way; says to stop asking once it is not."""
        command = self.get_page_object(request, object_id)
        context = {**self._live_context(request, command), "object": command}
        status = 200 if command.is_open else HTMX_STOP_POLLING
        return TemplateResponse(request, "admin/agents/command/live.html", context, status=status)

    def sent_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the panel of an instance tells of the command that was ordered there."""
        command = self.get_page_object(request, object_id)
        context = {**sent_context(command), "object": command}
        return TemplateResponse(request, "admin/agents/command/sent.html", context)

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        command = self.get_page_object(request, object_id)
        here = admin_url("agents_command_change", command.pk)
        try:
            ensure_may_send(request, "")
            cancel_command(command.pk, actor=actor_of(request))
        except ControlPlaneError as error:
            return report(request, error, next_url=here)
        messages.success(request, gettext("The command was cancelled; it was never sent."))
        return HttpResponseRedirect(here)


def _completion(command: Command) -> str:
    """`partial` or `failed` where a succeeded dead-letter command says so of itself. Source: contract 1.7."""
    result: Any = command.result
    completion = result.get("completion") if isinstance(result, dict) else None
    if command.status != Command.Status.SUCCEEDED or completion not in {"partial", "failed"}:
        return ""
    return str(completion)
