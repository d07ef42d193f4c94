"""Rules: when somebody is told, of what and how often; and what a rule would have told."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Max, Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import BooleanRadioFilter, DropdownFilter

from agents.labels import SelectorInvalid
from agents.models import Service
from agents.selectors.presence import presences
from controlplane.access.actors import actor_of
from controlplane.common.errors import ControlPlaneError
from controlplane.console.admin import report
from controlplane.console.editing import ServedAdmin
from controlplane.console.formatting import NOTHING, admin_url, age, badge, cut, link
from notifications import words
from notifications.admin.forms import problems_of
from notifications.admin.replaying import days_of, replay_context
from notifications.admin.rule_form import DraftForm, RuleForm
from notifications.models import Alert, Channel, EventType, Rule
from notifications.selectors.alerts import alerts, member_counts
from notifications.selectors.rules import open_alert_counts
from notifications.selectors.scopes import instance_counts, instances_of
from notifications.services.rules import create_rule, delete_rule, update_rule

ALERTS_SHOWN = 20
CHANNELS_OFFERED = 300
SAMPLE = 8


class TellsOfFilter(DropdownFilter):  # type: ignore[misc]
    """Rules of an event type."""

    title = _("event type")
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(EventType.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = self.value()
        if wanted not in EventType.values:
            return queryset
        # Rules are few, and no SQL for lists in JSON is the same on both databases.
        keys = [pk for pk, types in queryset.order_by().values_list("pk", "event_types") if wanted in types]
        return queryset.filter(pk__in=keys)


class ToldChannelFilter(DropdownFilter):  # type: ignore[misc]
    """Rules that tell a channel."""

    title = _("channel")
    parameter_name = "channel"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(str(pk), name) for pk, name in channel_names()]

    def has_output(self) -> bool:
        """Also where there is none to choose: what the address names must not be passed over."""
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = str(self.value() or "")
        return queryset.filter(channels=int(value)) if value.isascii() and value.isdecimal() else queryset


def channel_names() -> list[tuple[int, str]]:
    """The channels to choose among, by name."""
    return list(Channel.objects.order_by("name").values_list("pk", "name")[:CHANNELS_OFFERED])


@admin.register(Rule)
class RuleAdmin(ServedAdmin):
    form = RuleForm
    list_display = ("name", "state", "tells_of", "means", "instances", "tells", "going_on", "told_last")
    list_filter = (("enabled", BooleanRadioFilter), TellsOfFilter, ToldChannelFilter)
    search_fields = ("name", "selector", "task_pattern")
    ordering = ("name",)
    # Whom each means is counted anew.
    list_per_page = 20
    actions = ("enable_selected", "disable_selected")
    has_saved_views = False
    page_template = "admin/notifications/rule/page.html"
    change_form_after_template = "admin/notifications/rule/form_after.html"
    fieldsets = (
        (None, {"fields": ("name", "enabled")}),
        (
            _("What it tells of"),
            {"fields": ("types_tasks", "types_instances", "types_commands", "types_portal")},
        ),
        (
            _("Of whom"),
            {
                "fields": ("service_scopes", "environments", "selector", "task_pattern"),
                "description": _("What is empty narrows nothing; all that is not must hold."),
            },
        ),
        (_("Whom it tells"), {"fields": ("channels",)}),
        (
            _("How"),
            {"fields": ("group_by", "wait_s", "update_s", "repeat_s", "tells_resolved")},
        ),
        (_("From when on"), {"fields": ("threshold_count", "threshold_window_s", "missed_start_grace_s")}),
        (_("Quiet hours"), {"fields": ("quiet_from", "quiet_until", "quiet_weekdays", "quiet_time_zone")}),
    )

    # The list.

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rule]:
        channels = Prefetch("channels", Channel.objects.order_by("name").only("id", "name"))
        return super().get_queryset(request).prefetch_related(channels)

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The rows of the page, each with its `meant` instances, `open_alerts` and `last_told`."""
        changelist = super().get_changelist_instance(request)
        rows: list[Any] = list(changelist.result_list)
        counts, open_alerts = _counts(rows), open_alert_counts(rows)
        told = Alert.objects.filter(rule__in=[row.pk for row in rows]).order_by().values_list("rule")
        last = dict(told.annotate(last=Max("told_at")).values_list("rule", "last"))
        for row in rows:
            row.meant, row.open_alerts, row.last_told = counts.get(row.pk), open_alerts.get(row.pk, 0), last.get(row.pk)
        changelist.result_list = rows
        return changelist

    @admin.display(description=_("State"), ordering="enabled")
    def state(self, row: Rule) -> SafeString:
        return badge("rule", "on" if row.enabled else "off")

    @admin.display(description=_("Tells of"))
    def tells_of(self, row: Rule) -> SafeString | str:
        return cut(words.types_words(row.event_types, gettext("Nothing")), 60)

    @admin.display(description=_("Of whom"))
    def means(self, row: Rule) -> SafeString | str:
        return cut(words.scope_words(row), 60)

    @admin.display(description=_("Instances now"))
    def instances(self, row: Any) -> str:
        return NOTHING if row.meant is None else str(row.meant)

    @admin.display(description=_("Channels"))
    def tells(self, row: Rule) -> SafeString | str:
        return channel_links(row)

    @admin.display(description=_("Going on"))
    def going_on(self, row: Any) -> SafeString | str:
        if not row.open_alerts:
            return "0"
        return link(admin_url("notifications_alert_changelist", rule=row.pk, state="open"), row.open_alerts)

    @admin.display(description=_("Told last"))
    def told_last(self, row: Any) -> SafeString | str:
        return age(row.last_told)

    @admin.action(description=_("Turn on"), permissions=["change"])
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._turn(request, queryset, enabled=True)

    @admin.action(description=_("Turn off"), permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._turn(request, queryset, enabled=False)

    def _turn(self, request: HttpRequest, queryset: QuerySet[Any], *, enabled: bool) -> None:
        chosen = list(queryset.exclude(enabled=enabled))
        for row in chosen:
            update_rule(row, {"enabled": enabled}, actor=actor_of(request))
        count = len(chosen)
        text = (
            ngettext("%d rule turned on.", "%d rules turned on.", count)
            if enabled
            else ngettext("%d rule turned off.", "%d rules turned off.", count)
        )
        messages.success(request, text % count)

    # The form.

    def has_change_permission(self, request: HttpRequest, obj: Any | None = None) -> bool:
        """One that is a channel's own may be changed here too: the settings API shows what it knows of it."""
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any | None = None) -> bool:
        """One that is a channel's own goes with the channel."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.own_of_id is None)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """A new rule is on; what the address says of it is filled in, as `services` by commas."""
        given = super().get_changeform_initial_data(request)
        return {"enabled": True, **given, **scope_given(request)}

    def write(self, request: HttpRequest, form: Any, row: Any | None) -> Rule:
        if row is None:
            return create_rule(form.values(), actor=actor_of(request))
        return update_rule(row, form.values(), actor=actor_of(request))

    def remove(self, request: HttpRequest, row: Any) -> None:
        if row.own_of_id is None:
            delete_rule(row, actor=actor_of(request))

    # The page.

    def get_page_queryset(self, request: HttpRequest) -> QuerySet[Rule]:
        return Rule.objects.select_related("own_of").prefetch_related(
            Prefetch("channels", Channel.objects.order_by("name"))
        )

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        own = [("replay", "replay", self.replay_view), ("turn", "turn", self.turn_view)]
        return [*own, *super().get_page_urls()]

    def page_context(self, request: HttpRequest, obj: Rule) -> dict[str, object]:
        found: list[Any] = list(alerts().filter(rule=obj).defer("recent")[:ALERTS_SHOWN])
        counts = member_counts(found)
        for alert in found:
            alert.members_counted = counts[alert.pk]
        return {
            "may_change": self.has_change_permission(request, obj),
            "may_delete": self.has_delete_permission(request, obj),
            "types": [words.type_words(each) for each in obj.event_types],
            "scope_text": words.scope_words(obj),
            "pace": words.pace_words(obj),
            "threshold": words.threshold_words(obj),
            "quiet": words.quiet_words(obj),
            "alerts": found,
            **_meant(obj),
        }

    def replay_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the rule would have told over the last days."""
        rule = self.get_page_object(request, object_id)
        context = replay_context(rule, days_of(request.GET.get("days", "")))
        return self.render_page(
            request,
            rule,
            template="admin/notifications/rule/replay.html",
            **{**context, "title": gettext("What would %s have told?") % rule},
        )

    def turn_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """On or off, the other of what it is."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        rule = self.get_page_object(request, object_id)
        if not self.has_change_permission(request, rule):
            raise PermissionDenied
        here = self.page_url(rule)
        try:
            update_rule(rule, {"enabled": not rule.enabled}, actor=actor_of(request))
        except ControlPlaneError as error:
            return report(request, error, next_url=here)
        return HttpResponseRedirect(here)


def scope_given(request: HttpRequest) -> dict[str, Any]:
    """What the address of a form says of a scope; services by their numbers, as links name them."""
    found: dict[str, Any] = {}
    keys = [int(key) for key in request.GET.get("service", "").split(",") if key.isascii() and key.isdecimal()]
    if keys:
        rows = Service.objects.filter(pk__in=keys[:100]).order_by("environment", "name")
        found["service_scopes"] = [{"name": row.name, "environment": row.environment} for row in rows]
    if environments := request.GET.get("environments", ""):
        found["environments"] = [each for each in environments.split(",") if each]
    return found


def channel_links(rule: Rule) -> SafeString | str:
    """The channels that a rule tells, which must be prefetched."""
    found = [
        (link(admin_url("notifications_channel_change", channel.pk), channel.name),) for channel in rule.channels.all()
    ]
    return format_html_join(", ", "{}", found) or NOTHING


def _counts(rows: list[Any]) -> dict[int, int]:
    try:
        return instance_counts(rows)
    except SelectorInvalid:
        # A selector that an earlier version took.
        return {}


def _meant(rule: Rule) -> dict[str, object]:
    try:
        rows = instances_of(rule)
        count = rows.order_by().count()
    except SelectorInvalid as error:
        return {"scope_problem": str(error)}
    return {"meant_count": count, "sample": presences(list(rows[:SAMPLE])), "more": max(0, count - SAMPLE)}


def draft_replay(request: HttpRequest) -> HttpResponse:
    """What the rule that is being typed would have told: a part below its form."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm("notifications.view_rule"):
        raise PermissionDenied
    form = DraftForm(request.POST)
    context: dict[str, Any] = {"is_draft": True, "read_at": timezone.now()}
    if form.is_valid():
        days = days_of(request.POST.get("days", ""))
        context |= replay_context(form.draft(), days, channels=form.chosen_channels)
    else:
        context["problems"] = problems_of(form)
    return TemplateResponse(request, "admin/notifications/rule/replayed.html", context)
