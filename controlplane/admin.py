"""Schedules of django-celery-beat in the look of the console."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django_celery_beat.admin import ClockedScheduleAdmin as BeatClockedScheduleAdmin
from django_celery_beat.admin import CrontabScheduleAdmin as BeatCrontabScheduleAdmin
from django_celery_beat.admin import PeriodicTaskAdmin as BeatPeriodicTaskAdmin
from django_celery_beat.admin import PeriodicTaskForm, TaskSelectWidget
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from controlplane.access.actors import actor_of
from controlplane.celery import app
from controlplane.common.changes import ChangeKind, change_of, record_changes
from controlplane.console.admin import ModelAdmin
from controlplane.console.formatting import NOTHING, age

for _model in (ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule):
    admin.site.unregister(_model)


class UnfoldTaskSelectWidget(UnfoldAdminSelectWidget, TaskSelectWidget):  # type: ignore[misc]
    """The list of tasks in the look of the console."""


class UnfoldPeriodicTaskForm(PeriodicTaskForm):  # type: ignore[misc]
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.fields["task"].widget = UnfoldAdminTextInputWidget()
        self.fields["regtask"].widget = UnfoldTaskSelectWidget()


def own_schedules() -> frozenset[str]:
    """Names of the schedules that controlplane/celery.py defines: beat writes them anew at each start."""
    return frozenset(app.conf.beat_schedule)


def _audited(action: Callable[..., None]) -> Callable[..., None]:
    """An action of django-celery-beat, with what it changes written as events."""

    @wraps(action)
    def audited(self: Any, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        with self.changes_recorded(request, queryset):
            action(self, request, queryset)

    return audited


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(BeatPeriodicTaskAdmin, ModelAdmin):  # type: ignore[misc]
    """Schedules that people make may be changed; the portal's own are only shown."""

    form = UnfoldPeriodicTaskForm
    # The template of beat brings an inline script, for elements that the form of unfold does not have.
    change_form_template = None
    list_display = ("name", "enabled", "scheduler", "start", "last_run", "once")
    show_full_result_count = False
    list_fullwidth = True
    list_select_related = ("interval", "crontab", "solar", "clocked")
    own_fieldsets = (
        (
            None,
            {
                "fields": ("name", "task", "interval", "last_run_at"),
                "description": _(
                    "This schedule is part of the portal: it keeps commands, instances and sessions up to date, and is "
                    "written anew at each start. So it cannot be changed here."
                ),
            },
        ),
    )

    @admin.display(description=_("Starts"), ordering="start_time")
    def start(self, row: PeriodicTask) -> SafeString | str:
        return age(row.start_time)

    @admin.display(description=_("Last run"), ordering="last_run_at")
    def last_run(self, row: PeriodicTask) -> SafeString | str:
        return age(row.last_run_at)

    @admin.display(description=_("Only once"), ordering="one_off")
    def once(self, row: PeriodicTask) -> str:
        return gettext("Yes") if row.one_off else NOTHING

    def get_fieldsets(self, request: HttpRequest, obj: PeriodicTask | None = None) -> Any:
        return self.own_fieldsets if _is_own(obj) else super().get_fieldsets(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: PeriodicTask | None = None) -> bool:
        return not _is_own(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: PeriodicTask | None = None) -> bool:
        return not _is_own(obj) and super().has_delete_permission(request, obj)

    enable_tasks = _audited(BeatPeriodicTaskAdmin.enable_tasks)
    disable_tasks = _audited(BeatPeriodicTaskAdmin.disable_tasks)
    toggle_tasks = _audited(BeatPeriodicTaskAdmin.toggle_tasks)

    @admin.action(description=BeatPeriodicTaskAdmin.run_tasks.short_description)
    def run_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """None of them runs where one names a task that this portal does not have."""
        app.loader.import_default_modules()
        tasks = list(queryset)
        with transaction.atomic():
            if all(task.task in app.tasks for task in tasks):
                actor = actor_of(request)
                record_changes([change_of(ChangeKind.SCHEDULE_RUN, task, actor=actor) for task in tasks])
            super().run_tasks(request, queryset)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[PeriodicTask], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Actions on several leave the portal's own as they are."""
        others = queryset.exclude(name__in=own_schedules())
        answer: HttpResponse | None = super().response_action(request, others, *args, **kwargs)
        return answer


def _is_own(task: PeriodicTask | None) -> bool:
    return task is not None and task.name in own_schedules()


class ScheduleKindAdmin(ModelAdmin):
    """Reached from the form of a schedule only: in a menu these would be a riddle."""

    show_full_result_count = False

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(ScheduleKindAdmin):
    pass


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(ScheduleKindAdmin, BeatCrontabScheduleAdmin):  # type: ignore[misc]
    pass


@admin.register(SolarSchedule)
class SolarScheduleAdmin(ScheduleKindAdmin):
    pass


@admin.register(ClockedSchedule)
class ClockedScheduleAdmin(ScheduleKindAdmin, BeatClockedScheduleAdmin):  # type: ignore[misc]
    pass
