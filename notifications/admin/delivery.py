"""Deliveries: the ledger of what was told to whom, what became of it, and each try."""

from collections.abc import Callable
from typing import Any

import msgspec
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter

from controlplane.access.actors import actor_of
from controlplane.common.errors import ControlPlaneError
from controlplane.console.admin import HTMX_STOP_POLLING, HistoryAdmin, PageAdmin, RecentFilter, report
from controlplane.console.formatting import NOTHING, admin_url, age, badge, cut, link
from notifications import words
from notifications.admin.alert import OfRuleFilter
from notifications.admin.rule import channel_names
from notifications.engine.cards import Card
from notifications.models import Attempt, Delivery, EventType
from notifications.selectors.deliveries import attempts_of, may_go_again
from notifications.services.resending import send_again, send_one_again

AGAIN_MAX = 1000
FOLDED_SHOWN = 50
# Filters of the list by the names that the API has for them.
EXPORTED = {
    "status__exact": "status",
    "kind__exact": "kind",
    "provider__exact": "provider",
    "type": "event_type",
    "channel": "channel_id",
    "rule": "rule_id",
    "q": "q",
}


class ToChannelFilter(DropdownFilter):  # type: ignore[misc]
    title = _("channel")
    parameter_name = "channel"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(str(pk), name) for pk, name in channel_names()]

    def has_output(self) -> bool:
        """Also where there is none to choose: what the address names must not be passed over."""
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = str(self.value() or "")
        return queryset.filter(channel=int(value)) if value.isascii() and value.isdecimal() else queryset


class EventTypeFilter(DropdownFilter):  # type: ignore[misc]
    title = _("event type")
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(EventType.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(event_type=self.value()) if self.value() in EventType.values else queryset


@admin.register(Delivery)
class DeliveryAdmin(HistoryAdmin, PageAdmin):
    list_display = ("told", "state", "to", "kind_column", "rule_column", "created", "outcome")
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ToChannelFilter,
        ("kind", ChoicesDropdownFilter),
        EventTypeFilter,
        OfRuleFilter,
        ("provider", ChoicesDropdownFilter),
    )
    date_hierarchy = "created_at"
    search_fields = ("title", "channel_name", "error")
    actions = ("send_again_selected",)
    page_template = "admin/notifications/delivery/page.html"
    list_before_template = "admin/notifications/delivery/list_before.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return super().get_queryset(request).select_related("rule").defer("card", "response", "target")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {**(extra_context or {}), "csv_url": csv_url(request)}
        answer: HttpResponse = super().changelist_view(request, context)
        return answer

    @admin.display(description=_("Told"))
    def told(self, row: Delivery) -> SafeString | str:
        return cut(row.title, 90)

    @admin.display(description=_("Status"), ordering="status")
    def state(self, row: Delivery) -> SafeString:
        return delivery_badge(row)

    @admin.display(description=_("Channel"))
    def to(self, row: Delivery) -> SafeString | str:
        return channel_link(row)

    @admin.display(description=_("Kind"))
    def kind_column(self, row: Delivery) -> str:
        return row.get_kind_display()

    @admin.display(description=_("Rule"))
    def rule_column(self, row: Delivery) -> SafeString | str:
        return link(admin_url("notifications_rule_change", row.rule.pk), row.rule.name) if row.rule else NOTHING

    @admin.display(description=_("Created"), ordering="created_at")
    def created(self, row: Delivery) -> SafeString | str:
        return age(row.created_at)

    @admin.display(description=_("What came of it"))
    def outcome(self, row: Delivery) -> SafeString | str:
        """How often it was tried, what was said last, and when it is tried again."""
        parts: list[SafeString | str] = []
        if row.attempt_count > 1:
            parts.append(ngettext("%d attempt", "%d attempts", row.attempt_count) % row.attempt_count)
        if row.status == Delivery.Status.PENDING and row.next_attempt_at and row.attempt_count:
            parts.append(format_html(gettext("again {}"), age(row.next_attempt_at)))
        if row.error and row.status != Delivery.Status.DELIVERED:
            parts.append(cut(row.error, 60))
        return format_html_join(" · ", "{}", ((part,) for part in parts)) or NOTHING

    def has_send_again_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("notifications.change_delivery")

    @admin.action(description=_("Send again what was given up"), permissions=["send_again"])
    def send_again_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        keys = list(queryset.order_by().values_list("pk", flat=True)[: AGAIN_MAX + 1])
        if len(keys) > AGAIN_MAX:
            messages.error(request, gettext("Select %d deliveries at most.") % AGAIN_MAX)
            return
        sent = send_again(keys, actor=actor_of(request))
        if sent:
            text = ngettext("%d delivery is sent again.", "%d deliveries are sent again.", sent)
            messages.success(request, text % sent)
        if left := len(keys) - sent:
            text = ngettext(
                "%d delivery left as it is: it was not given up, or its channel is gone.",
                "%d deliveries left as they are: they were not given up, or their channel is gone.",
                left,
            )
            messages.warning(request, text % left)

    # The page.

    def get_page_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return Delivery.objects.select_related("channel", "rule", "alert__rule", "folded_into").defer("target")

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        return [("live", "live", self.live_view), ("retry", "retry", self.retry_view)]

    def page_context(self, request: HttpRequest, obj: Delivery) -> dict[str, object]:
        return {
            **self.live_context(request, obj),
            "card": stored_card(obj),
            "folded": obj.folded.order_by("created_at").only("id", "title", "created_at")[:FOLDED_SHOWN],
            "alert_title": words.alert_title(obj.alert) if obj.alert else "",
        }

    def live_context(self, request: HttpRequest, obj: Delivery) -> dict[str, object]:
        """What moves while it is under way. One query."""
        return {
            "title": obj.title,
            "state_badge": delivery_badge(obj),
            "channel_link": channel_link(obj),
            "type_label": words.type_words(obj.event_type),
            "attempts": [(attempt, attempt_badge(attempt)) for attempt in attempts_of(obj)],
            "is_open": obj.status in Delivery.OPEN,
            "may_retry": may_go_again(obj) and self.has_send_again_permission(request),
        }

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What changes while it is under way; says to stop asking once it is not."""
        delivery = self.get_page_object(request, object_id)
        context = {**self.live_context(request, delivery), "object": delivery}
        status = 200 if context["is_open"] else HTMX_STOP_POLLING
        return TemplateResponse(request, "admin/notifications/delivery/live.html", context, status=status)

    def retry_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        delivery = self.get_page_object(request, object_id)
        if not self.has_send_again_permission(request):
            raise PermissionDenied
        here = admin_url("notifications_delivery_change", delivery.pk)
        try:
            send_one_again(delivery, actor=actor_of(request))
        except ControlPlaneError as error:
            return report(request, error, next_url=here)
        messages.success(request, gettext("It is sent again."))
        return HttpResponseRedirect(here)


def stored_card(delivery: Delivery) -> Card:
    """The message as it was written; of one that this version cannot read, its title."""
    try:
        return msgspec.convert(delivery.card, Card)
    except msgspec.ValidationError:
        return Card(title=delivery.title, tone="info")


def delivery_badge(delivery: Delivery) -> SafeString:
    return badge("delivery", delivery.status, delivery.get_status_display())


def attempt_badge(attempt: Attempt) -> SafeString:
    if attempt.finished_at is None and attempt.succeeded is None:
        return badge("attempt", "unknown", title=gettext("It was begun, and nobody wrote down how it ended."))
    return badge("attempt", "ok" if attempt.succeeded else "failed")


def channel_link(delivery: Delivery) -> SafeString | str:
    if delivery.channel_id is None:
        return cut(delivery.channel_name, 40)
    return link(admin_url("notifications_channel_change", delivery.channel_id), delivery.channel_name)


def csv_url(request: HttpRequest) -> str:
    """The list as a file, by the API, with the filters that it knows and the time."""
    given = {to: request.GET[name] for name, to in EXPORTED.items() if request.GET.get(name)}
    span, _words = RecentFilter.AGES.get(request.GET.get(RecentFilter.parameter_name, ""), (None, ""))
    if span is not None:
        given["created_after"] = (timezone.now() - span).isoformat()
    return f"{reverse('deliveries')}?{urlencode({**given, 'format': 'csv'})}"
