"""Alerts: what goes on and what went on, whom it is about, and what was told of it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter

from controlplane.access.actors import actor_of
from controlplane.common.errors import ControlPlaneError
from controlplane.console.admin import HistoryAdmin, PageAdmin, report
from controlplane.console.formatting import NOTHING, admin_url, age, badge, link
from notifications import words
from notifications.models import Alert, Rule, Silence
from notifications.selectors.alerts import alerts, cover_of, member_counts, members_of, parts_of
from notifications.selectors.deliveries import deliveries
from notifications.services.silences import create_silence
from notifications.silencing import DURATIONS, silence_values

MEMBERS_SHOWN = 50
DELIVERIES_SHOWN = 30
SILENCES_SHOWN = 10
RULES_OFFERED = 300
SHOWN: dict[str, Any] = {"": _("All"), "open": _("Going on"), "silenced": _("Silenced"), "ended": _("Over")}


class OpenFilter(DropdownFilter):  # type: ignore[misc]
    """What is not over, unless all is asked for."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("open", _("Not over")), *Alert.Status.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = self.value()
        if wanted == "open":
            return queryset.exclude(status=Alert.Status.RESOLVED)
        return queryset.filter(status=wanted) if wanted in Alert.Status.values else queryset


class OfRuleFilter(DropdownFilter):  # type: ignore[misc]
    title = _("rule")
    parameter_name = "rule"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        rows = Rule.objects.order_by("name").values_list("pk", "name")[:RULES_OFFERED]
        return [(str(pk), name) for pk, name in rows]

    def has_output(self) -> bool:
        """Also where there is none to choose: what the address names must not be passed over."""
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = str(self.value() or "")
        return queryset.filter(rule=int(value)) if value.isascii() and value.isdecimal() else queryset


@admin.register(Alert)
class AlertAdmin(HistoryAdmin, PageAdmin):
    list_display = ("what", "state", "subjects", "rule_column", "since", "last", "events", "told")
    list_filter = (OpenFilter, ("event_type", ChoicesDropdownFilter), OfRuleFilter)
    date_hierarchy = "opened_at"
    search_fields = ("key", "rule__name")
    page_template = "admin/notifications/alert/page.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        return super().get_queryset(request).select_related("rule").defer("recent")

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The rows of the page, each with its `members_counted`."""
        changelist = super().get_changelist_instance(request)
        rows: list[Any] = list(changelist.result_list)
        counts = member_counts(rows)
        for row in rows:
            row.members_counted = counts[row.pk]
        changelist.result_list = rows
        return changelist

    @admin.display(description=_("Alert"), ordering="event_type")
    def what(self, row: Alert) -> str:
        return words.type_words(row.event_type)

    @admin.display(description=_("State"))
    def state(self, row: Any) -> SafeString:
        return alert_badge(row)

    @admin.display(description=_("About"))
    def subjects(self, row: Any) -> SafeString | str:
        return words.members_words(row)

    @admin.display(description=_("Rule"))
    def rule_column(self, row: Alert) -> SafeString | str:
        return link(admin_url("notifications_rule_change", row.rule_id), row.rule.name)

    @admin.display(description=_("Since"), ordering="opened_at")
    def since(self, row: Alert) -> SafeString | str:
        return age(row.opened_at)

    @admin.display(description=_("Last"))
    def last(self, row: Alert) -> SafeString | str:
        return age(row.last_at)

    @admin.display(description=_("Events"))
    def events(self, row: Alert) -> SafeString | str:
        if not row.silenced_count:
            return str(row.event_count)
        return format_html(
            '{} <span class="c-soft">{}</span>', row.event_count, gettext("%d silenced") % row.silenced_count
        )

    @admin.display(description=_("Told"))
    def told(self, row: Alert) -> SafeString | str:
        return age(row.told_at) if row.told_at else NOTHING

    # The page.

    def get_page_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        return alerts()

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        return [("live", "live", self.live_view), ("silence", "silence", self.silence_view)]

    def page_context(self, request: HttpRequest, obj: Alert) -> dict[str, object]:
        return {
            **self.live_context(request, obj),
            "title": words.alert_title(obj),
            "durations": DURATIONS,
            "may_silence": request.user.has_perm("notifications.add_silence"),
            "silence_url": silence_form_url(obj),
        }

    def live_context(self, request: HttpRequest, obj: Alert) -> dict[str, object]:
        """What moves. A dozen queries, however many it is about."""
        row: Any = obj
        row.members_counted = member_counts([obj])[obj.pk]
        shown = request.GET.get("show", "")
        shown = shown if shown in SHOWN else ""
        page = Paginator(members_of(obj, shown), MEMBERS_SHOWN).get_page(request.GET.get("p"))
        silences = Silence.objects.filter(pk__in=members_of(obj, "silenced").order_by().values("silence").distinct())
        told = list(deliveries().filter(alert=obj).defer("card", "response")[:DELIVERIES_SHOWN])
        return {
            "state_badge": alert_badge(row),
            "type_label": words.type_words(obj.event_type),
            "about": words.members_words(row),
            "headline": cover_of(obj) or (told[-1].title if told else ""),
            "parts": parts_of(obj, now=timezone.now()),
            "members": page,
            "shown": shown,
            "choices": list(SHOWN.items()),
            "deliveries": told,
            "silences": silences.order_by("-starts_at")[:SILENCES_SHOWN],
            "is_open": obj.status != Alert.Status.RESOLVED,
            "query": request.GET.urlencode(),
        }

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        alert = self.get_page_object(request, object_id)
        context = {**self.live_context(request, alert), "object": alert}
        return TemplateResponse(request, "admin/notifications/alert/live.html", context)

    def silence_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Silence what the alert is about, for as long as the button says."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        alert = self.get_page_object(request, object_id)
        if not request.user.has_perm("notifications.add_silence"):
            raise PermissionDenied
        here = admin_url("notifications_alert_change", alert.pk)
        asked = request.POST.get("hours", "")
        hours = int(asked) if asked in dict(DURATIONS) else 1
        try:
            now = timezone.now()
            values = silence_values(alert, request.POST.get("reason", ""))
            window = {"starts_at": now, "ends_at": now + timedelta(hours=hours)}
            silence = create_silence({**values, **window}, actor=actor_of(request))
        except ControlPlaneError as error:
            return report(request, error, next_url=here)
        text = gettext("Silenced; until then such events are counted and not told.")
        messages.success(request, text)
        return HttpResponseRedirect(admin_url("notifications_silence_change", silence.pk))


def alert_badge(alert: Alert) -> SafeString:
    return badge("alert", alert.status, alert.get_status_display())


def silence_form_url(alert: Alert) -> str:
    """The form of a silence with what this alert is about filled in."""
    return admin_url("notifications_silence_add", alert=alert.pk)
