"""Instances: the state of each running agent, live, and the form that sends it commands."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from agents import badges
from agents.admin import columns
from agents.admin.archiving import InstanceArchivingAdmin
from agents.admin.bulk import BulkCommandMixin
from agents.admin.command_page import sent_context
from agents.admin.fan_out_form import send_url
from agents.admin.filters import ArchivedFilter, FactFilter, FactWordsFilter, GroupFilter, SelectorFilter
from agents.admin.labels import LabelsMixin
from agents.admin.sending import (
    Choices,
    OrderForm,
    choices_for_instance,
    control_state,
    ensure_may_send,
    kinds_for,
    prefilled,
    task_buttons,
    typed,
)
from agents.admin.timeline import older_part, timeline_context
from agents.admin.trouble_filters import InstanceTroubleFilter
from agents.labels import SelectorInvalid, parse
from agents.models import Command, Event, Instance, InstanceFacts
from agents.models.event import EventKind
from agents.models.instance import Dialect
from agents.selectors.census import UNWELL
from agents.selectors.events import notable_events
from agents.selectors.facts import TEXT_MAX, known_facts
from agents.selectors.groups import GroupUnknown, selector_of
from agents.selectors.instances import named_like
from agents.selectors.presence import Presence, conflict_state, presence, presences
from agents.selectors.targets import TargetState
from agents.words import end_reason
from controlplane.access.actors import actor_of
from controlplane.common.errors import ControlPlaneError, Forbidden, Invalid, Unauthorized
from controlplane.console.admin import redirect_to_login_again
from controlplane.console.formatting import NOTHING, admin_url, age, clock, pretty_json
from tasks_app.models import TaskControls
from tasks_app.services.commands import order_command

FACTS_SHOWN = 200


@admin.register(Instance)
class InstanceAdmin(LabelsMixin, BulkCommandMixin, InstanceArchivingAdmin):
    list_display = (
        "name",
        "service_column",
        "connectivity_column",
        "since",
        "health_column",
        "last_seen",
        "inflight",
        "version",
    )
    list_display_links = ("name",)
    list_filter = (
        ArchivedFilter,
        InstanceTroubleFilter,
        ("connectivity", ChoicesDropdownFilter),
        ("health", ChoicesDropdownFilter),
        ("dialect", ChoicesDropdownFilter),
        SelectorFilter,
        GroupFilter,
        FactFilter,
        FactWordsFilter,
        "service__environment",
        ("service", AutocompleteSelectFilter),
    )
    list_select_related = ("service",)
    search_fields = ("node_name", "hostname", "=external_id", "service__name", "deployment_version")
    date_hierarchy = "created_at"
    actions: tuple[str, ...] = (*BulkCommandMixin.actions, "set_labels", "archive_selected", "restore_selected")
    page_template = "admin/agents/instance/page.html"
    list_before_template = "admin/agents/instance/list_before.html"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Instance], search_term: str
    ) -> tuple[QuerySet[Instance], bool]:
        if self._id_of(search_term) is not None:
            return super().get_search_results(request, queryset, search_term)
        return named_like(queryset, search_term.split()), False

    @admin.display(description=_("Instance"), ordering="node_name")
    def name(self, row: Instance) -> SafeString:
        return format_html('<span title="{}">{}</span>', row.external_id, row.node_name or row.external_id[:8])

    @admin.display(description=_("Service"), ordering="service__name")
    def service_column(self, row: Instance) -> SafeString | str:
        return columns.service_link(row.service)

    @admin.display(description=_("Connectivity"), ordering="connectivity")
    def connectivity_column(self, row: Any) -> SafeString:
        return badges.connectivity(row.presence)

    @admin.display(description=_("Since"), ordering="connectivity_changed_at")
    def since(self, row: Any) -> SafeString | str:
        return age(row.presence.since)

    @admin.display(description=_("Health"), ordering="health")
    def health_column(self, row: Any) -> SafeString:
        return badges.health(row.presence)

    @admin.display(description=_("Last seen"), ordering="last_seen_at")
    def last_seen(self, row: Any) -> SafeString | str:
        return age(row.presence.last_heard_at)

    @admin.display(description=_("In flight"), ordering="inflight_tasks")
    def inflight(self, row: Instance) -> str:
        return NOTHING if row.inflight_tasks is None else str(row.inflight_tasks)

    @admin.display(description=_("Version"), ordering="deployment_version")
    def version(self, row: Instance) -> str:
        return row.deployment_version or NOTHING

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        answer: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **_ways_on(request)})
        return answer

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The rows of the page, each with its `presence`."""
        changelist = super().get_changelist_instance(request)
        rows: list[Any] = list(changelist.result_list)
        for row, here in zip(rows, presences(rows), strict=True):
            row.presence = here
        return changelist

    def get_page_queryset(self, request: HttpRequest) -> QuerySet[Instance]:
        return Instance.objects.select_related("service", "task_controls")

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        own = [
            ("send", "send", self.send_view),
            ("live", "live", self.live_view),
            ("timeline", "timeline", self.timeline_view),
            ("labels", "labels", self.labels_view),
        ]
        return [*own, *super().get_page_urls()]

    def page_context(self, request: HttpRequest, obj: Instance) -> dict[str, object]:
        live = self._live_context(request, obj)
        choices: Choices = live["choices"]
        facts = known_facts(obj)
        return {
            **live,
            "facts": fact_rows(facts),
            "facts_changed_at": facts.changed_at if facts else None,
            "form": OrderForm(initial=prefilled(request), choices=choices, surface=Command.Surface.INSTANCE),
            "instance_key": str(obj.pk),
            "form_action": admin_url("agents_instance_send", obj.pk),
            **self.labels_context(request, obj),
        }

    def _live_context(self, request: HttpRequest, instance: Instance) -> dict[str, Any]:
        """What changes while the page is open. Nine queries at most, whatever the size."""
        here = presence(instance)
        controls = _controls(instance)
        choices = choices_for_instance(here.session, here.last_session, controls, kinds_for(request))
        return {
            **self.archiving_context(request, instance, present=int(here.is_present)),
            "presence": here,
            "session": here.session,
            "choices": choices,
            "may_send": bool(kinds_for(request)),
            "conflict": conflict_state(instance, now=timezone.now()),
            "degraded_means": badges.health_means(instance) if here.is_current else "",
            "controls": controls,
            "tasks": _task_rows(here, controls, choices),
            "why": why_so(here),
            "trouble": last_trouble(instance) if here.is_current and here.instance.health in UNWELL else None,
            **timeline_context(request, instance.pk, view="agents_instance", state=_target_state(here)),
        }

    def timeline_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Older entries of the timeline, for the page that has the newer ones."""
        return older_part(request, self.get_page_object(request, object_id).pk, view="agents_instance")

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The parts of the page that live.js asks for again."""
        instance = self.get_page_object(request, object_id)
        context = {**self._live_context(request, instance), "object": instance}
        return TemplateResponse(request, "admin/agents/instance/live.html", context)

    def send_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Order one command of this instance; what was typed stays on the page when it is refused.

        The panel asks by htmx and is answered with itself; without scripts the page is shown again.
        """
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        instance = self.get_page_object(request, object_id)
        live = self._live_context(request, instance)
        form = OrderForm(request.POST, choices=live["choices"], surface=Command.Surface.INSTANCE)
        status = 422
        try:
            ensure_may_send(request, request.POST.get("kind", ""))
            if form.is_valid():
                return self._ordered(
                    request, instance, order_command(instance.pk, form.order(), actor=actor_of(request))
                )
        except Unauthorized:
            back = admin_url("agents_instance_change", instance.pk, **typed(request))
            return _led_on(request, redirect_to_login_again(f"{back}#send"))
        except Invalid as error:
            form.add_service_error(error)
        except ControlPlaneError as error:
            form.full_clean()
            form.add_error(None, str(error))
            status = 403 if isinstance(error, Forbidden) else 409
        if by_htmx(request):
            # 200, for a refusal that the panel shows is no error of the page: browsers log any other answer as one.
            return self.render_page(request, instance, template=SEND_TEMPLATE, form=form)
        return self.render_page(request, instance, form=form, status=status)

    def _ordered(self, request: HttpRequest, instance: Instance, command: Command) -> HttpResponse:
        if not by_htmx(request):
            text = gettext("Ordered: %(kind)s. Its state is below.") % {"kind": columns.kind_label(command.kind)}
            messages.success(request, text)
            return HttpResponseRedirect(admin_url("agents_instance_change", instance.pk))
        return self.render_page(request, instance, template=SEND_TEMPLATE, sent=command, **sent_context(command))


SEND_TEMPLATE = "admin/agents/instance/send.html"
# So far back the last thing that went wrong is looked for, where the agent says that something does.
TROUBLE_LOOK = timedelta(hours=1)
_TROUBLES = (EventKind.TASK_FAILED, EventKind.TASK_RETRIED, EventKind.TASK_DEAD_LETTERED)


def by_htmx(request: HttpRequest) -> bool:
    """Whether a part of the page asks, and not the browser for a whole one."""
    return request.headers.get("HX-Request") == "true"


def _led_on(request: HttpRequest, answer: HttpResponseRedirect) -> HttpResponse:
    """The same, in the words of htmx where that asks: it would put the other page into this one."""
    return HttpResponse(status=204, headers={"HX-Redirect": answer.url}) if by_htmx(request) else answer


def last_trouble(instance: Instance) -> Event | None:
    """The newest task event of the last while that is no success: why the agent calls itself unwell."""
    lately = timezone.now() - TROUBLE_LOOK
    return notable_events(instance=instance, occurred_at__gte=lately, kind__in=_TROUBLES).first()


def why_so(here: Presence) -> list[Any]:
    """Why an instance is away, in words; nothing for one that is there."""
    lines: list[Any] = []
    since = here.instance.connectivity_changed_at
    if here.state == "offline" and since is not None:
        text = gettext("Offline since {since}: nothing was heard of it for {limit} s before.")
        is_node = here.instance.dialect == Dialect.ARGUS
        limit = settings.OFFLINE_THRESHOLD_SECONDS if is_node else settings.INSTANCE_OFFLINE_AFTER_S
        lines.append(format_html(text, since=clock(since), limit=limit))
    if here.left_at is not None and here.last_session is not None and here.last_session.end_reason:
        text = gettext("Its last session ended {at}: {why}")
        lines.append(format_html(text, at=clock(here.left_at), why=end_reason(here.last_session)))
    return lines


def _target_state(here: Presence) -> TargetState:
    session = here.session
    is_live = session is not None and session.replica is not None and session.replica.stopped_at is None
    is_leaving = here.instance.forget_requested_at is not None
    return TargetState(here.instance, session, here.last_session, is_live=is_live, is_leaving=is_leaving)


def _ways_on(request: HttpRequest) -> dict[str, str]:
    """To the selector lab, to an order for those that are listed where nothing but labels says who that is, and to
    the page that connects an agent, for whoever may make a token.
    """
    narrowed = {name: str(value) for name, value in request.GET.items() if value and name not in _HARMLESS}
    lab = reverse("selector_lab")
    if selector := request.GET.get("selector"):
        lab = f"{lab}?{urlencode({'selector': selector})}"
    is_one = len(narrowed) == 1 and set(narrowed) <= {"selector", "group"}
    leads_on = is_one and kinds_for(request) and _names_somebody(narrowed)
    return {
        "lab_url": lab,
        "narrowed_url": send_url(*narrowed.items()) if leads_on else "",
        "connect_url": reverse("connect") if request.user.has_perm("agents.add_agenttoken") else "",
    }


def _names_somebody(narrowed: Mapping[str, str]) -> bool:
    """Whether an order could be aimed so: the selector can be read and asks for something, the group exists."""
    try:
        return bool(parse(narrowed["selector"]) if "selector" in narrowed else selector_of(narrowed["group"]))
    except (SelectorInvalid, GroupUnknown):
        return False


# What a list may be asked for without meaning other instances.
_HARMLESS = frozenset({"o", "p", "all"})


def fact_rows(stored: InstanceFacts | None) -> list[Mapping[str, Any]]:
    """The facts by name: a plain value with the list of those that share it, what nests as JSON to unfold."""
    rows: list[Mapping[str, Any]] = []
    for name, value in sorted((stored.facts if stored else {}).items())[:FACTS_SHOWN]:
        if isinstance(value, dict | list):
            rows.append({"name": name, "nested": pretty_json(value), "count": len(value)})
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        path = name.replace(".", "\\.")
        written = f"{path}={json.dumps(value, ensure_ascii=False)}"
        can_be_sought = '"' not in name and len(written) <= TEXT_MAX
        url = admin_url("agents_instance_changelist", fact=written) if can_be_sought else ""
        rows.append({"name": name, "value": text, "url": url})
    return rows


def _controls(instance: Instance) -> TaskControls | None:
    """What its last heartbeat said of its tasks, or None where none came; free if it was selected along."""
    return getattr(instance, "task_controls", None)


def _task_rows(here: Presence, controls: TaskControls | None, choices: Choices) -> list[Mapping[str, Any]]:
    """Every task of the service, with what this instance says of it and the commands that it would take now."""
    instance = here.instance
    known = {entry["task_name"]: entry for entry in (controls.controls if controls else ())}
    tasks = {task.name: task for task in instance.service.tasks.defer("source_config", "retry_policy")}
    rows: list[Mapping[str, Any]] = []
    for name in sorted(tasks.keys() | known.keys()):
        entry = known.get(name, {})
        rows.append(
            {
                "name": name,
                "task": tasks.get(name),
                "control": entry or None,
                # A drained agent still reports its tasks as running.
                "state": "drained" if here.drain else control_state(entry),
                "actions": task_buttons(instance, name, choices, entry),
            }
        )
    return rows
