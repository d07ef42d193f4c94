"""Tasks: what each service runs, and how each of its instances is doing with it."""

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from agents.admin import columns
from agents.admin.sending import choices_for_instance, control_state, kinds_for, task_buttons
from agents.models import Command
from agents.models.command import CommandKind
from agents.models.instance import Connectivity
from agents.selectors.events import events_so_far
from agents.selectors.presence import presences
from controlplane.console.admin import PageAdmin
from controlplane.console.formatting import NOTHING, admin_url, age, cut
from tasks_app.models import Task, TaskControls
from tasks_app.selectors.windows import metric_windows

INSTANCES_SHOWN = 50
WINDOWS_SHOWN = 20
EVENTS_SHOWN = 20
COMMANDS_SHOWN = 10


def sink_names(emit: object) -> list[str]:
    """What the task emits to, as `kind name`; old agents report one sink that is not in a list."""
    sinks = emit if isinstance(emit, list) else [emit]
    return [f"{sink.get('kind', '')} {sink.get('name', '')}".strip() for sink in sinks if isinstance(sink, Mapping)]


@admin.register(Task)
class TaskAdmin(PageAdmin):
    list_display = ("name", "service_column", "source", "sinks", "concurrency_column", "retry", "changed")
    list_filter = ("service__environment", "source_kind", ("service", AutocompleteSelectFilter))
    list_select_related = ("service",)
    search_fields = ("name", "description", "service__name", "source_name")
    date_hierarchy = "created_at"
    page_template = "admin/tasks_app/task/page.html"

    @admin.display(description=_("Service"), ordering="service__name")
    def service_column(self, row: Task) -> SafeString | str:
        return columns.service_link(row.service)

    @admin.display(description=_("Source"), ordering="source_kind")
    def source(self, row: Task) -> SafeString | str:
        return cut(f"{row.source_kind} {row.source_name}".strip(), 50)

    @admin.display(description=_("Sinks"))
    def sinks(self, row: Task) -> SafeString | str:
        return cut(", ".join(sink_names(row.emit)), 60)

    @admin.display(description=_("Concurrency"), ordering="concurrency")
    def concurrency_column(self, row: Task) -> str:
        return NOTHING if row.concurrency is None else str(row.concurrency)

    @admin.display(description=_("Retry"))
    def retry(self, row: Task) -> str:
        return str((row.retry_policy or {}).get("kind") or NOTHING)

    @admin.display(description=_("Changed"), ordering="updated_at")
    def changed(self, row: Task) -> SafeString | str:
        return age(row.updated_at)

    def get_page_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        return Task.objects.select_related("service")

    def page_context(self, request: HttpRequest, obj: Task) -> dict[str, object]:
        """About nine queries, whatever the number of instances."""
        return {
            "sinks": [sink for sink in (obj.emit if isinstance(obj.emit, list) else [obj.emit]) if sink],
            "rows": _instance_rows(request, obj),
            "windows": metric_windows(obj.service, task_name=obj.name)
            .select_related("instance")
            .order_by("-window_ended_at", "-id")[:WINDOWS_SHOWN],
            "events": events_so_far()
            .filter(service=obj.service, task_name=obj.name)
            .select_related("instance")
            .defer("traceback", "meta")
            .order_by("-occurred_at", "-id")[:EVENTS_SHOWN],
            "commands": Command.objects.filter(service=obj.service, task_name=obj.name)
            .select_related("instance")
            .defer("args", "result")
            .order_by("-created_at", "-id")[:COMMANDS_SHOWN],
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


def _instance_rows(request: HttpRequest, task: Task) -> list[Mapping[str, Any]]:
    """The instances of the task's service, online ones first, with their controls and what they would take now."""
    instances = list(
        task.service.instances.filter(archived_at=None)
        .exclude(connectivity=Connectivity.NEVER_REPORTED)
        .order_by("-connectivity", "node_name", "pk")[:INSTANCES_SHOWN]
    )
    controls = TaskControls.objects.in_bulk([instance.pk for instance in instances])
    allowed = kinds_for(request)
    rows: list[Mapping[str, Any]] = []
    for here in presences(instances):
        instance = here.instance
        stored = controls.get(instance.pk)
        entry: Mapping[str, Any] = next(
            (each for each in (stored.controls if stored else ()) if each["task_name"] == task.name), {}
        )
        choices = choices_for_instance(here.session, None, stored, allowed)
        rows.append(
            {
                "instance": instance,
                "presence": here,
                "control": entry or None,
                # A drained agent still reports its tasks as running.
                "state": "drained" if here.drain else control_state(entry),
                "reported_at": stored.updated_at if stored else None,
                "actions": task_buttons(instance, task.name, choices, entry),
            }
        )
    return rows
