"""Events: the only history. Nothing here is ever changed."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext

from agents import history
from agents.admin.event_list import event_list
from agents.api.serializers import HistorySerializer
from agents.models import Command, Event, Session
from agents.selectors.events import events_so_far
from agents.selectors.visibility import told_to
from controlplane.access.policy import may_administer
from controlplane.common.changes import ChangeKind
from controlplane.common.rest.cursors import Order
from controlplane.console.admin import HistoryAdmin, PageAdmin
from controlplane.console.formatting import admin_url

NEIGHBOURS_SHOWN = 10


@admin.register(Event)
class EventAdmin(HistoryAdmin, PageAdmin):
    page_template = "admin/agents/event/page.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, object] | None = None) -> HttpResponse:
        """A page of its own: what Django makes of a list would count the history, and page by offset.

        It has no actions, so that a form that is posted to it is the list, as it is to those of Django.
        """
        return event_list(request)

    def _told(self, request: HttpRequest) -> QuerySet[Event]:
        """The events that this person may read, with what they are of."""
        told = told_to(administrator=may_administer(request))
        return events_so_far().filter(told).select_related("service", "instance")

    def get_page_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        return self._told(request)

    def page_context(self, request: HttpRequest, obj: Event) -> dict[str, object]:
        command = Command.objects.filter(pk=obj.command_id).defer("args", "result").first() if obj.command_id else None
        return {
            "title": obj.get_kind_display(),
            "command": command,
            "changed_fields": history.changed_fields(obj),
            "origin": history.origin_words(obj),
            "is_refused_login": obj.kind in {ChangeKind.LOGIN_FAILED, ChangeKind.LOGIN_LOCKED},
            "subject": history.subject_words(obj),
            "subject_url": history.subject_url(obj),
            "neighbours": self._neighbours(request, obj),
            "raw": raw_event(obj),
            "delay_ms": max(0.0, (obj.received_at - obj.occurred_at).total_seconds() * 1000),
        }

    def _neighbours(self, request: HttpRequest, event: Event) -> list[dict[str, object]]:
        """What happened around it to the same command, task and instance; two short reads of an index for each."""
        found: list[dict[str, object]] = []
        for title, of, more in _relations(event):
            rows = self._told(request).filter(**of).defer("traceback", "meta")
            order = Order(("occurred_at", "id"))
            place = [event.occurred_at, event.pk]
            later = list(order.apply(rows.filter(order.after(place)))[:NEIGHBOURS_SHOWN])
            backwards = Order(("occurred_at", "id"), descending=True)
            earlier = list(backwards.apply(rows.filter(backwards.after(place)))[:NEIGHBOURS_SHOWN])
            if later or earlier:
                found.append({"title": title, "events": [*reversed(later), event, *earlier], "url": more})
        return found


def _relations(event: Event) -> list[tuple[str, dict[str, object], str]]:
    """What an event shares with others: a title, the filter, and the list of all of them."""
    view = "agents_event_changelist"
    found: list[tuple[str, dict[str, object], str]] = []
    if event.command_id:
        url = admin_url(view, command_id=f"cmd_{event.command_id.hex}", since="all")
        found.append((gettext("Same command"), {"command_id": event.command_id}, url))
    if event.task_name and event.service_id:
        of: dict[str, object] = {"service": event.service_id, "task_name": event.task_name}
        url = admin_url(view, service__id__exact=event.service_id, task_name=event.task_name)
        found.append((gettext("Same task"), of, url))
    if event.instance_id:
        found.append(_of_instance(event))
    if event.subject:
        url = admin_url(view, subject=event.subject)
        found.append((gettext("Same subject"), {"subject": event.subject}, url))
    return found


def _of_instance(event: Event) -> tuple[str, dict[str, object], str]:
    """The session in which it happened; of an instance that had none then, whatever happened to it."""
    sessions = Session.objects.filter(instance=event.instance_id, connected_at__lte=event.occurred_at)
    session = sessions.only("connected_at", "disconnected_at").order_by("-connected_at", "-pk").first()
    of: dict[str, object] = {"instance": event.instance_id}
    if session is None or (session.disconnected_at is not None and session.disconnected_at < event.occurred_at):
        url = admin_url("agents_event_changelist", instance_id=event.instance_id)
        return gettext("Same instance"), of, url
    of["occurred_at__gte"] = session.connected_at
    times = {"from": session.connected_at.isoformat()}
    if session.disconnected_at is not None:
        of["occurred_at__lte"] = session.disconnected_at
        times["to"] = session.disconnected_at.isoformat()
    return gettext("Same session"), of, admin_url("agents_event_changelist", instance_id=event.instance_id, **times)


def raw_event(event: Event) -> dict[str, object]:
    """All of it as the API writes it."""
    return dict(HistorySerializer(event).data)
