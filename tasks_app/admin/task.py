"""Tasks: what each service runs, how each of its instances is doing with it, and what can be ordered of it there."""

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from agents.admin import columns
from agents.admin.sending import OrderForm, ensure_may_send, kinds_for, typed
from agents.models import Command
from agents.models.command import CommandKind
from controlplane.access.actors import actor_of
from controlplane.common.errors import ControlPlaneError, Forbidden, Invalid, Unauthorized
from controlplane.console.admin import PageAdmin, redirect_to_login_again
from controlplane.console.formatting import NOTHING, admin_url, age, badge, cut, duration
from tasks_app.admin import task_page
from tasks_app.models import Task
from tasks_app.selectors.task_list import RUNS_MAX, failing_first, failing_tasks, figures_of
from tasks_app.services.commands import order_command


def sink_names(emit: object) -> list[str]:
    """What the task emits to, as `kind name`; old agents report one sink that is not in a list."""
    sinks = emit if isinstance(emit, list) else [emit]
    return [f"{sink.get('kind', '')} {sink.get('name', '')}".strip() for sink in sinks if isinstance(sink, Mapping)]


@admin.register(Task)
class TaskAdmin(PageAdmin):
    list_display = ("name", "service_column", "fares", "last_run", "succeeds", "slow", "source", "sinks", "changed")
    list_filter = ("service__environment", "source_kind", ("service", AutocompleteSelectFilter))
    list_select_related = ("service",)
    search_fields = ("name", "description", "service__name", "source_name")
    date_hierarchy = "created_at"
    page_template = "admin/tasks_app/task/page.html"
    # Each row is summed up over a day of windows.
    list_per_page = 25

    @admin.display(description=_("Service"), ordering="service__name")
    def service_column(self, row: Task) -> SafeString | str:
        return columns.service_link(row.service)

    @admin.display(description=_("State"), ordering="calm")
    def fares(self, row: Any) -> SafeString | str:
        if row.calm == 0:
            return badge("outcome", "rejected", _("Failing"), title=_("It failed for good within the last hour."))
        return badge("fleet", "all", _("OK")) if row.figures.last_run_at else NOTHING

    @admin.display(description=_("Last run"))
    def last_run(self, row: Any) -> SafeString | str:
        return age(row.figures.last_run_at)

    @admin.display(description=_("Success, 24 h"))
    def succeeds(self, row: Any) -> SafeString | str:
        rate = row.figures.success_rate
        if rate is None:
            return NOTHING
        return format_html('<span title="{}">{} %</span>', gettext("%d failed") % row.figures.failed, f"{rate:g}")

    @admin.display(description=_("p95, 24 h"))
    def slow(self, row: Any) -> SafeString | str:
        if row.figures.p95_ms is None:
            return NOTHING
        told = gettext("Of its newest %d runs at most") % RUNS_MAX
        return format_html('<span title="{}">{}</span>', told, duration(row.figures.p95_ms))

    @admin.display(description=_("Source"), ordering="source_kind")
    def source(self, row: Task) -> SafeString | str:
        return cut(f"{row.source_kind} {row.source_name}".strip(), 50)

    @admin.display(description=_("Sinks"))
    def sinks(self, row: Task) -> SafeString | str:
        return cut(", ".join(sink_names(row.emit)), 60)

    @admin.display(description=_("Changed"), ordering="updated_at")
    def changed(self, row: Task) -> SafeString | str:
        return age(row.updated_at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        return failing_first(Task.objects.all(), self._failing(request)).order_by(*self.get_ordering(request))

    def _failing(self, request: Any) -> list[int]:
        """For the list, read once for a request: Django asks for the rows twice."""
        match = request.resolver_match
        if match is None or match.url_name != "tasks_app_task_changelist":
            return []
        if not hasattr(request, "failing_tasks"):
            request.failing_tasks = failing_tasks(now=timezone.now())
        found: list[int] = request.failing_tasks
        return found

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Failing ones first."""
        return ("calm", "service", "name")

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The rows of the page, each with its `figures`."""
        changelist = super().get_changelist_instance(request)
        rows: list[Any] = list(changelist.result_list)
        figures = figures_of(rows, now=timezone.now())
        for row in rows:
            row.figures = figures[row.pk]
        changelist.result_list = rows
        return changelist

    def get_page_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        return Task.objects.select_related("service")

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        return [("live", "live", self.live_view), ("send", "send", self.send_view), *super().get_page_urls()]

    def page_context(self, request: HttpRequest, obj: Task) -> dict[str, object]:
        """Some 25 queries, whatever the number of instances; a schedule is five of them."""
        live = task_page.live_context(request, obj)
        return {
            **live,
            **task_page.figures_context(request, obj, live["rows"]),
            **task_page.schedule_context(obj),
            **task_page.order_context(request, obj, live["rows"]),
            "charts_query": f"task={obj.pk}",
            "sinks": [sink for sink in (obj.emit if isinstance(obj.emit, list) else [obj.emit]) if sink],
            "watched_service": urlencode({"": obj.service.name, "environment": obj.service.environment})[1:],
            "fan_out": [
                {
                    "label": kind.label,
                    "url": admin_url("agents_service_change", obj.service_id, kind=kind.value, task_name=obj.name)
                    + "#send",
                }
                for kind in (CommandKind.PAUSE_TASK, CommandKind.RESUME_TASK)
                if kind in kinds_for(request)
            ],
        }

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The parts of the page that are fetched again while it is open."""
        task = self.get_page_object(request, object_id)
        context = {**task_page.live_context(request, task), "object": task}
        return TemplateResponse(request, "admin/tasks_app/task/live.html", context)

    def send_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Order one command for the task on one instance; what was typed stays on the page when it is refused."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        task = self.get_page_object(request, object_id)
        row = task_page.chosen_row(task_page.instance_rows(request, task), request.POST.get("instance", ""))
        if row is None:
            messages.error(request, gettext("This instance takes no command for the task now."))
            return HttpResponseRedirect(admin_url("tasks_app_task_change", task.pk))
        form = OrderForm(request.POST, choices=row["choices"], surface=Command.Surface.TASK)
        instance, status = row["instance"], 422
        carried = [("instance", instance.pk)]
        try:
            ensure_may_send(request, request.POST.get("kind", ""))
            if form.is_valid():
                command = order_command(instance.pk, form.order(), actor=actor_of(request))
                kind = columns.kind_label(command.kind)
                messages.success(request, gettext("Ordered: %(kind)s. Its state is below.") % {"kind": kind})
                back = admin_url("tasks_app_task_change", task.pk, ordered=command.pk)
                return HttpResponseRedirect(f"{back}#live-task-commands")
        except Unauthorized:
            back = admin_url("tasks_app_task_change", task.pk, instance=instance.pk, **typed(request))
            return redirect_to_login_again(f"{back}#send")
        except Invalid as error:
            form.add_service_error(error)
        except ControlPlaneError as error:
            form.full_clean()
            form.add_error(None, str(error))
            status = 403 if isinstance(error, Forbidden) else 409
        return self.render_page(request, task, form=form, form_row=row, form_open=True, carried=carried, status=status)
