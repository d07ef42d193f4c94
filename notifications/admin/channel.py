"""Channels: where somebody is told, how that fares, and what a message looks like there."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter

from controlplane.access.actors import actor_of
from controlplane.common.errors import ControlPlaneError
from controlplane.console.admin import report
from controlplane.console.editing import ServedAdmin
from controlplane.console.formatting import NOTHING, admin_url, age, badge, link
from notifications.admin.channel_form import OPTIONS, PROVIDERS, ChannelForm
from notifications.models import Channel, Delivery, EventType, Provider, Rule
from notifications.providers.options import MORE_VARIABLES, VARIABLES
from notifications.selectors.channels import Use, delivery_counts, state_of, uses_of
from notifications.selectors.deliveries import deliveries
from notifications.selectors.previews import previews_of
from notifications.services.channels import create_channel, delete_channel, send_test, set_enabled, update_channel

DELIVERIES_SHOWN = 20
RULES_SHOWN = 50
MESSAGE_MAX = 2000


class ChannelStateFilter(DropdownFilter):  # type: ignore[misc]
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("failing", _("Failing")), ("ok", _("Delivers")), ("untried", _("Never used")), ("off", _("Off"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        of: dict[str, Any] = {
            "failing": {"enabled": True, "failing_since__isnull": False},
            "ok": {"enabled": True, "failing_since__isnull": True, "last_success_at__isnull": False},
            "untried": {"enabled": True, "failing_since__isnull": True, "last_success_at__isnull": True},
            "off": {"enabled": False},
        }
        return queryset.filter(**of.get(str(self.value()), {}))


@admin.register(Channel)
class ChannelAdmin(ServedAdmin):
    form = ChannelForm
    list_display = ("name", "state", "kind", "told_by", "lately", "used", "last_success")
    list_filter = (ChannelStateFilter, ("provider", ChoicesDropdownFilter))
    search_fields = ("name", "address_masked")
    ordering = ("name",)
    actions = ("enable_selected", "disable_selected")
    has_saved_views = False
    page_template = "admin/notifications/channel/page.html"
    change_form_after_template = "admin/notifications/channel/form_after.html"

    # The list.

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The rows of the page, each with its `use`, `counts` and `rule_count`."""
        changelist = super().get_changelist_instance(request)
        rows: list[Any] = list(changelist.result_list)
        now = timezone.now()
        uses, counts = uses_of(rows, now=now), delivery_counts(rows, now=now)
        through = Rule.channels.through.objects.filter(channel__in=[row.pk for row in rows], rule__enabled=True)
        rules = Counter(through.values_list("channel_id", flat=True))
        for row in rows:
            row.use, row.counts, row.rule_count = uses[row.pk], counts[row.pk], rules[row.pk]
        changelist.result_list = rows
        return changelist

    @admin.display(description=_("State"))
    def state(self, row: Channel) -> SafeString:
        return state_badge(row)

    @admin.display(description=_("Provider"), ordering="provider")
    def kind(self, row: Channel) -> str:
        return row.get_provider_display()

    @admin.display(description=_("Rules"))
    def told_by(self, row: Any) -> SafeString | str:
        return link(admin_url("notifications_rule_changelist", channel=row.pk), row.rule_count)

    @admin.display(description=_("Deliveries, 24 h"))
    def lately(self, row: Any) -> SafeString | str:
        return counts_of(row, row.counts)

    @admin.display(description=_("Used of a minute"))
    def used(self, row: Any) -> str:
        return f"{row.use.minute} / {row.use.budget.per_minute}"

    @admin.display(description=_("Last delivered"), ordering="last_success_at")
    def last_success(self, row: Channel) -> SafeString | str:
        return age(row.last_success_at)

    @admin.action(description=_("Turn on"), permissions=["change"])
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._turn(request, queryset, enabled=True)

    @admin.action(description=_("Turn off"), permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._turn(request, queryset, enabled=False)

    def _turn(self, request: HttpRequest, queryset: QuerySet[Any], *, enabled: bool) -> None:
        chosen = list(queryset.exclude(enabled=enabled))
        for row in chosen:
            set_enabled(row, enabled, actor=actor_of(request))
        count = len(chosen)
        text = (
            ngettext("%d channel turned on.", "%d channels turned on.", count)
            if enabled
            else ngettext("%d channel turned off.", "%d channels turned off.", count)
        )
        messages.success(request, text % count)

    # The form.

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """First the provider is chosen, then what it asks for."""
        chosen = request.POST.get("provider") or request.GET.get("provider")
        if chosen in PROVIDERS or not self.has_add_permission(request):
            return super().add_view(request, form_url, extra_context)
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": gettext("Where are people told?"),
            "providers": [
                (name, Provider(name).label, asks, admin_url("notifications_channel_add", provider=name))
                for name, asks in PROVIDERS.items()
            ],
        }
        return TemplateResponse(request, "admin/notifications/channel/providers.html", context)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().get_changeform_initial_data(request), "enabled": True}

    def get_fieldsets(self, request: HttpRequest, obj: Any | None = None) -> Any:
        """What the provider asks for, and no other fields."""
        provider = obj.provider if obj else request.POST.get("provider") or request.GET.get("provider", "")
        form = self.form(instance=obj or Channel(provider=provider if provider in PROVIDERS else "custom"))
        first = [
            name for name in ("name", "address", "secret", "drops_secret", "provider", "enabled") if name in form.fields
        ]
        options = [
            name
            for name in (*OPTIONS, "headers", "drops_headers")
            if name in form.fields
        ]
        found: list[Any] = [(None, {"fields": first})]
        if options:
            found.append((_("Request"), {"fields": options, "description": _variables_words(form)}))
        found.append((_("Messages"), {"fields": ["language", "time_zone"]}))
        found.append((_("Budget"), {"fields": ["per_second", "per_minute"]}))
        return found

    def write(self, request: HttpRequest, form: Any, row: Any | None) -> Channel:
        if row is None:
            return create_channel(form.values(), actor=actor_of(request))
        return update_channel(row, form.values(), actor=actor_of(request))

    def remove(self, request: HttpRequest, row: Any) -> None:
        delete_channel(row, actor=actor_of(request))

    # The page.

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        own = [
            ("live", "live", self.live_view),
            ("test", "test", self.test_view),
            ("preview", "preview", self.preview_view),
            ("turn", "turn", self.turn_view),
        ]
        return [*own, *super().get_page_urls()]

    def page_context(self, request: HttpRequest, obj: Channel) -> dict[str, object]:
        return {
            **self.live_context(obj),
            "may_change": self.has_change_permission(request, obj),
            "may_delete": self.has_delete_permission(request, obj),
            "rules": Rule.objects.filter(channels=obj).order_by("name")[:RULES_SHOWN],
            "types": EventType.choices,
            "preview_type": EventType.TASK_FAILED.value,
            "message_max": MESSAGE_MAX,
            "option_rows": option_rows(obj),
        }

    def live_context(self, obj: Channel) -> dict[str, object]:
        """What moves: how it fares, its budget, and what was sent last. Three queries."""
        now = timezone.now()
        use = uses_of([obj], now=now)[obj.pk]
        counts = delivery_counts([obj], now=now)[obj.pk]
        return {
            "state_badge": state_badge(obj),
            "is_held": obj.held_until is not None and obj.held_until > now,
            "use": use,
            "budget_words": budget_words(use),
            "counts": counts_of(obj, counts),
            "deliveries": deliveries().filter(channel=obj).defer("card", "response")[:DELIVERIES_SHOWN],
        }

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        channel = self.get_page_object(request, object_id)
        context = {**self.live_context(channel), "object": channel}
        return TemplateResponse(request, "admin/notifications/channel/live.html", context)

    def test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Really send, and show what the provider answered, on the page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        channel = self.get_page_object(request, object_id)
        if not self.has_change_permission(request, channel):
            raise PermissionDenied
        message = request.POST.get("message", "").replace("\x00", "").strip()[:MESSAGE_MAX]
        context: dict[str, Any] = {"object": channel, "at": timezone.now()}
        try:
            context["verdict"] = send_test(channel, message)
        except ControlPlaneError as error:
            # Nothing was sent: its budget is used up, or what is kept of it cannot be read.
            context["verdict_problem"] = str(error)
        if request.headers.get("HX-Request") == "true":
            return TemplateResponse(request, "admin/notifications/channel/verdict.html", context)
        del context["object"]
        return self.render_page(request, self.get_page_object(request, object_id), **context)

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What a message about an event of the chosen type looks like, in each language."""
        channel = self.get_page_object(request, object_id)
        wanted = request.GET.get("type", "")
        event_type = wanted if wanted in EventType.values else EventType.TASK_FAILED.value
        context: dict[str, object] = {"object": channel}
        try:
            context["previews"] = previews_of(channel, event_type, now=timezone.now())
        except ControlPlaneError as error:
            context["problem"] = str(error)
        return TemplateResponse(request, "admin/notifications/channel/preview.html", context)

    def turn_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """On or off, the other of what it is."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        channel = self.get_page_object(request, object_id)
        if not self.has_change_permission(request, channel):
            raise PermissionDenied
        here = self.page_url(channel)
        try:
            turned = set_enabled(channel, not channel.enabled, actor=actor_of(request))
        except ControlPlaneError as error:
            return report(request, error, next_url=here)
        text = gettext("%s is told again.") if turned.enabled else gettext("%s is told nothing any more.")
        messages.success(request, text % channel)
        return HttpResponseRedirect(here)


def _variables_words(form: Any) -> str:
    """What the values of a webhook may name; other providers have no such values."""
    if "body_params" not in form.fields:
        return ""
    named = ", ".join(f"{{{{ {name} }}}}" for name in (*VARIABLES, *MORE_VARIABLES))
    return gettext("Values may name what happened: %s") % named


def state_badge(channel: Channel) -> SafeString:
    return badge("channel", state_of(channel), title=channel.last_error if channel.failing_since else "")


def counts_of(channel: Channel, counts: Counter[str]) -> SafeString | str:
    """How many deliveries have which status, each leading to its part of the ledger; those of none are left out."""
    found = [
        link(
            admin_url("notifications_delivery_changelist", channel=channel.pk, status__exact=status, since="1d"),
            badge("delivery", status, f"{counts[status]} {label}"),
        )
        for status, label in Delivery.Status.choices
        if counts[status]
    ]
    return format_html("{}" + " {}" * (len(found) - 1), *found) if found else NOTHING


def budget_words(use: Use) -> str:
    return gettext(
        "%(minute)d of %(per_minute)d in the last minute, %(second)d of %(per_second)d in the last second"
    ) % {
        "minute": use.minute,
        "per_minute": use.budget.per_minute,
        "second": use.second,
        "per_second": use.budget.per_second,
    }


def option_rows(channel: Channel) -> list[tuple[str, str]]:
    """What of the options may be shown: of headers their names alone."""
    options = channel.options
    names = ", ".join(each["key"] for each in options.get("headers", ()))
    rows = [
        (gettext("Method"), str(options.get("method", ""))),
        (gettext("Query"), "\n".join(f"{each['key']}={each['value']}" for each in options.get("query_params", ()))),
        (gettext("Body"), "\n".join(f"{each['key']}={each['value']}" for each in options.get("body_params", ()))),
        (gettext("Body as JSON"), str(options.get("body_template", ""))),
        (gettext("Headers"), names),
        (gettext("Subjects begin with"), str(options.get("subject_prefix", ""))),
    ]
    return [(name, value) for name, value in rows if value]
