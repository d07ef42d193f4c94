"""Commands: every order, what became of it and when."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
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
from agents.admin.filters import GroupOfInstanceFilter, KindFilter, SelectorOfInstanceFilter
from agents.admin.sending import ensure_may_send
from agents.admin.trouble_filters import CommandTroubleFilter
from agents.models import Command, FanOut, Session
from agents.selectors.events import events_so_far
from agents.services.commands import cancel_command
from controlplane.access.actors import actor_of
from controlplane.access.policy import may_command
from controlplane.common.errors import ControlPlaneError
from controlplane.console.admin import HTMX_STOP_POLLING, HistoryAdmin, PageAdmin, report
from controlplane.console.formatting import NOTHING, admin_url, age, cut, duration

EVENTS_SHOWN = 20
CANCEL_MAX = 500


@dataclass(frozen=True, slots=True)
class Step:
    """One stop on the way of a command. `state` is `done`, `now`, `todo` or `bad`."""

    title: str
    state: str
    at: datetime | None = None
    note: str = ""


@admin.register(Command)
class CommandAdmin(HistoryAdmin, PageAdmin):
    list_display = ("label", "instance_column", "service_column", "task", "state", "created", "took", "by", "outcome")
    list_filter = (
        CommandTroubleFilter,
        ("status", ChoicesDropdownFilter),
        KindFilter,
        SelectorOfInstanceFilter,
        GroupOfInstanceFilter,
        ("source_surface", ChoicesDropdownFilter),
        "instance__service__environment",
        ("instance__service", AutocompleteSelectFilter),
        ("instance", AutocompleteSelectFilter),
    )
    search_fields = (
        "instance__node_name",
        "=instance__external_id",
        "task_name",
        "created_by_name",
        "reason",
        "=error_code",
    )
    date_hierarchy = "created_at"
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

    @admin.display(description=_("Error"))
    def outcome(self, row: Command) -> SafeString | str:
        return words.error_words(row, 60) or NOTHING

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
        return [("live", "live", self.live_view), ("cancel", "cancel", self.cancel_view)]

    def page_context(self, request: HttpRequest, obj: Command) -> dict[str, object]:
        return self._live_context(request, obj)

    def _live_context(self, request: HttpRequest, command: Command) -> dict[str, object]:
        return {
            "steps": steps(command),
            "waiting_for": waiting_for(command),
            "title": columns.kind_label(command.kind),
            "kind_label": columns.kind_label(command.kind),
            "may_cancel": command.status == Command.Status.PENDING and self.has_cancel_permission(request),
            "completion": _completion(command),
            "fan_out": FanOut.objects.filter(targets__command=command).defer("args").first(),
            # The bounds spare looks into partitions of other times.
            "events": events_so_far()
            .filter(command_id=command.pk, occurred_at__gte=command.created_at - timedelta(days=1))
            .defer("traceback", "meta")
            .order_by("-occurred_at", "-id")[:EVENTS_SHOWN],
        }

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What changes while the command is under way; says to stop asking once it is not."""
        command = self.get_page_object(request, object_id)
        context = {**self._live_context(request, command), "object": command}
        status = 200 if command.is_open else HTMX_STOP_POLLING
        return TemplateResponse(request, "admin/agents/command/live.html", context, status=status)

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


def steps(command: Command) -> list[Step]:
    """The way of a command: queued, sent, accepted, finished; each done, under way, to come, or gone wrong."""
    status = Command.Status(command.status)
    session = f"sess_{command.session_id.hex[:8]}…" if command.session_id else ""
    ended = not command.is_open
    bad_end = ended and status not in {Command.Status.SUCCEEDED, Command.Status.CANCELLED}
    refused = command.ack_status == Command.AckStatus.REJECTED
    return [
        Step(gettext("Queued"), "done", command.created_at, command.created_by_name),
        Step(
            gettext("Sent"),
            "done" if command.dispatched_at else "todo" if ended else "now",
            command.dispatched_at,
            session,
        ),
        Step(
            gettext("Refused by the instance") if refused else gettext("Accepted"),
            "bad"
            if refused
            else "done"
            if command.acked_at
            else "now"
            if command.dispatched_at and not ended
            else "todo",
            command.acked_at,
        ),
        Step(
            str(status.label) if ended else gettext("Finished"),
            "bad" if bad_end else "done" if ended else "now" if status == Command.Status.ACCEPTED else "todo",
            command.finished_at,
        ),
    ]


def waiting_for(command: Command) -> str:
    """Why an open command is not finished yet, in words; empty for one that is."""
    if not command.is_open:
        return ""
    if command.deadline_at <= timezone.now():
        return gettext("Its time is up; it is about to be closed.")
    match command.status:
        case Command.Status.ACCEPTED:
            return gettext("The instance accepted it and is working on it.")
        case Command.Status.DISPATCHED:
            return gettext("It was sent; the instance has not answered yet.")
    if Session.objects.filter(instance=command.instance_id, status=Session.Status.ACTIVE).exists():
        return gettext("The instance is connected; the command is about to be sent.")
    return gettext("The instance is not connected; the command is held until it connects, or until its deadline.")


def _completion(command: Command) -> str:
    """`partial` or `failed` where a succeeded dead-letter command says so of itself. Source: contract 1.7."""
    result: Any = command.result
    completion = result.get("completion") if isinstance(result, dict) else None
    if command.status != Command.Status.SUCCEEDED or completion not in {"partial", "failed"}:
        return ""
    return str(completion)
