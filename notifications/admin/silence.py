"""Silences: who is not told of what, why and until when; and what that keeps quiet at present."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import DropdownFilter

from agents.labels import SelectorInvalid
from agents.selectors.presence import presences
from controlplane.access.actors import actor_of
from controlplane.common.errors import ControlPlaneError
from controlplane.console.admin import report
from controlplane.console.editing import ServedAdmin
from controlplane.console.formatting import NOTHING, age, badge, cut
from notifications import words
from notifications.admin.forms import problems_of
from notifications.admin.replaying import days_of, replay_context
from notifications.admin.rule import scope_given
from notifications.admin.silence_form import SilenceDraftForm, SilenceForm
from notifications.models import Alert, AlertMember, Silence
from notifications.selectors.alerts import alerts
from notifications.selectors.scopes import instances_of
from notifications.selectors.silences import (
    Standing,
    live_q,
    rounds_ahead,
    silenced_counts,
    standing_of,
)
from notifications.services.silences import create_silence, end_silence, update_silence
from notifications.silencing import silence_values

MEMBERS_SHOWN = 50
SAMPLE = 8
CALENDAR_DAYS = 7
CALENDAR_SHOWN = 12


class LiveFilter(DropdownFilter):  # type: ignore[misc]
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("live", _("In force or to come")), ("weekly", _("Maintenance windows")), ("over", _("Over"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now = timezone.now()
        if self.value() == "live":
            return queryset.filter(live_q(now))
        if self.value() == "weekly":
            return queryset.filter(live_q(now), start_time__isnull=False)
        return queryset.exclude(live_q(now)) if self.value() == "over" else queryset


@admin.register(Silence)
class SilenceAdmin(ServedAdmin):
    form = SilenceForm
    list_display = ("why", "state", "until", "means", "quiet_now", "when", "by")
    list_filter = (LiveFilter,)
    search_fields = ("reason", "selector", "created_by_name", "task_pattern")
    has_saved_views = False
    page_template = "admin/notifications/silence/page.html"
    change_form_after_template = "admin/notifications/silence/form_after.html"
    list_before_template = "admin/notifications/silence/calendar.html"
    fieldsets = (
        (None, {"fields": ("reason",)}),
        (_("When"), {"fields": ("when", "lasts", "starts_at", "ends_at")}),
        (_("Each week"), {"fields": ("weekdays", "start_time", "duration_min", "time_zone")}),
        (
            _("Of whom"),
            {
                "fields": ("service_scopes", "environments", "selector", "task_pattern"),
                "description": _("What is empty narrows nothing; all that is not must hold."),
            },
        ),
        (
            _("Of what; none ticked means everything"),
            {"fields": ("types_tasks", "types_instances", "types_commands", "types_portal")},
        ),
    )

    def has_delete_permission(self, request: HttpRequest, obj: Any | None = None) -> bool:
        """Silences end; what they kept quiet names them."""
        return False

    # The list.

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        ahead = rounds_ahead(now=timezone.now(), days=CALENDAR_DAYS, limit=CALENDAR_SHOWN)
        context = {**(extra_context or {}), "ahead": ahead, "ahead_days": CALENDAR_DAYS}
        answer: HttpResponse = super().changelist_view(request, context)
        return answer

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The rows of the page, each with its `standing` and how many it keeps quiet."""
        changelist = super().get_changelist_instance(request)
        rows: list[Any] = list(changelist.result_list)
        counts, now = silenced_counts(rows), timezone.now()
        for row in rows:
            row.standing, row.quiet = standing_of(row, now=now), counts.get(row.pk, 0)
        changelist.result_list = rows
        return changelist

    @admin.display(description=_("Reason"))
    def why(self, row: Silence) -> SafeString | str:
        return cut(row.reason, 60)

    @admin.display(description=_("State"))
    def state(self, row: Any) -> SafeString:
        return badge("silence", row.standing.state)

    @admin.display(description=_("Next change"))
    def until(self, row: Any) -> SafeString | str:
        return until_words(row.standing)

    @admin.display(description=_("Of whom"))
    def means(self, row: Silence) -> SafeString | str:
        """And of what, where that is not everything."""
        parts = [words.scope_words(row), words.types_words(row.event_types, "")]
        return cut(" · ".join(part for part in parts if part), 80)

    @admin.display(description=_("Silenced now"))
    def quiet_now(self, row: Any) -> str:
        return str(row.quiet)

    @admin.display(description=_("Each week"))
    def when(self, row: Silence) -> SafeString | str:
        return cut(words.round_words(row), 60)

    @admin.display(description=_("By"), ordering="created_by_name")
    def by(self, row: Silence) -> str:
        return row.created_by_name or NOTHING

    # The form.

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """What the address says is filled in: an alert, or parts of a scope with what it is about."""
        given = super().get_changeform_initial_data(request)
        about = request.GET.get("about", "").replace("\x00", "")[:200]
        if about:
            given.setdefault("reason", gettext("Maintenance of %s") % about)
        return {**given, **scope_given(request), **_of_alert(request)}

    def write(self, request: HttpRequest, form: Any, row: Any | None) -> Silence:
        if row is None:
            return create_silence(form.values(), actor=actor_of(request))
        return update_silence(row, form.values(), actor=actor_of(request))

    # The page.

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        return [("end", "end", self.end_view), *super().get_page_urls()]

    def page_context(self, request: HttpRequest, obj: Silence) -> dict[str, object]:
        now = timezone.now()
        standing = standing_of(obj, now=now)
        is_live = standing.state in {"active", "between", "upcoming"}
        kept_quiet = AlertMember.objects.filter(silence=obj, ended_at__isnull=True).exclude(
            alert__status=Alert.Status.RESOLVED
        )
        shown = kept_quiet.select_related("alert__rule", "service", "instance").order_by("-last_at", "-id")
        return {
            "standing": standing,
            "until": until_words(standing),
            "is_live": is_live,
            "may_change": is_live and self.has_change_permission(request, obj),
            "scope_text": words.scope_words(obj),
            "types_text": words.types_words(obj.event_types, gettext("Everything")),
            "round_text": words.round_words(obj),
            "quiet_count": kept_quiet.count(),
            "members": shown[:MEMBERS_SHOWN],
            "alerts": alerts().filter(members__silence=obj).distinct().defer("recent")[:MEMBERS_SHOWN],
            **_meant(obj),
        }

    def end_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """At once and for ever."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        silence = self.get_page_object(request, object_id)
        if not self.has_change_permission(request, silence):
            raise PermissionDenied
        here = self.page_url(silence)
        try:
            end_silence(silence, actor=actor_of(request))
        except ControlPlaneError as error:
            return report(request, error, next_url=here)
        messages.success(request, gettext("The silence has ended; what is still broken is told."))
        return HttpResponseRedirect(here)


def until_words(standing: Standing) -> SafeString | str:
    """When it ends, or begins where it is not in force."""
    if standing.round is None:
        return NOTHING
    if standing.state != "active":
        return age(standing.round.begins)
    return age(standing.round.ends) if standing.round.ends else gettext("for ever")


def _of_alert(request: HttpRequest) -> dict[str, Any]:
    key = request.GET.get("alert", "")
    if not (key.isascii() and key.isdecimal() and len(key) < 19):
        return {}
    alert = alerts().filter(pk=int(key)).first()
    return silence_values(alert, "") if alert is not None else {}


def _meant(silence: Silence) -> dict[str, object]:
    try:
        rows = instances_of(silence)
        count = rows.order_by().count()
    except SelectorInvalid as error:
        return {"scope_problem": str(error)}
    return {"meant_count": count, "sample": presences(list(rows[:SAMPLE])), "more": max(0, count - SAMPLE)}


def draft_silence_replay(request: HttpRequest) -> HttpResponse:
    """What would have been told beside the silence that is being typed: a part below its form."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm("notifications.view_silence"):
        raise PermissionDenied
    form = SilenceDraftForm(request.POST)
    context: dict[str, Any] = {}
    if form.is_valid():
        context |= replay_context(form.draft(), days_of(request.POST.get("days", "")))
    else:
        context["problems"] = problems_of(form)
    return TemplateResponse(request, "admin/notifications/rule/replayed.html", context)
