"""Nodes of the registry: how each fares by its components, and what operators set on it."""

import ipaddress
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, TextFilter
from unfold.widgets import UnfoldAdminTextareaWidget

from agents.admin import columns
from agents.admin.archiving import InstanceArchivingAdmin
from agents.admin.labels import LabelsMixin
from agents.admin.node_filters import ArchivedNodeFilter, NodeGroupFilter, NodeSelectorFilter
from agents.admin.timeline import older_part, timeline_context
from agents.gateways.argus.protocol import LABEL_MAX_CHARS, LABELS_MAX, META_NUMBERS, META_TEXTS
from agents.gateways.argus.reading import BodyInvalid, read_object
from agents.labels import read_tags
from agents.models import Instance, Node
from agents.models.instance import Connectivity, Health
from agents.selectors.facts import Fact, with_fact
from agents.selectors.nodes import component_changes, settings_mark
from agents.services.node_health import verdict_of
from agents.services.nodes import configure_node
from controlplane.access.actors import actor_of
from controlplane.access.policy import may_command
from controlplane.common.clean import clean_text
from controlplane.common.errors import Conflict, NotFound
from controlplane.console.formatting import NOTHING, admin_url, age, badge, cut, duration

# Of the labels of one node in the list.
LABELS_SHOWN = 3
LABEL_SHOWN_CHARS = 40
# Of labels that cannot be selected by, so many are told after saving.
WARNINGS_MAX = 10
# Clocks that differ by less are told as right: a report takes that long on its way.
SKEW_SHOWN_FROM = timedelta(seconds=2)
_CONFIG_MAX_CHARS = 200_000


@dataclass(frozen=True, slots=True)
class Component:
    """One component as it was last reported. `since` is None where its status changed longer ago than is looked for."""

    name: str
    status: str
    health: Health
    since: datetime | None
    details: list[tuple[str, str]]


class ConfigForm(forms.Form):
    """What an operator sets on a node: its config as JSON, its labels one per line."""

    label = forms.CharField(
        label=_("Registry labels"),
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false", "placeholder": "gpu\nteam=storage"}),
        help_text=_(
            "One per line, as in gpu or team=storage. They go into nodes.json as they stand, and into selectors and "
            "nodes.sd.json, where an operator label of the same key wins."
        ),
    )
    config = forms.CharField(
        label=_("Config"),
        required=False,
        max_length=_CONFIG_MAX_CHARS,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8, "spellcheck": "false", "placeholder": "{}"}),
        help_text=_("A JSON object. The node reads it when it asks for itself."),
    )
    # Of what was on the page: nobody undoes unseen what somebody else set meanwhile.
    seen = forms.CharField(widget=forms.HiddenInput)

    def clean_label(self) -> list[str]:
        labels = _lines(self.cleaned_data["label"])
        if len(labels) > LABELS_MAX:
            raise ValidationError(_("A node has %(n)s labels at most."), params={"n": LABELS_MAX})
        for label in labels:
            if len(label) > LABEL_MAX_CHARS:
                raise ValidationError(
                    _("A label has %(n)s characters at most; this one is longer: %(label)s"),
                    params={"n": LABEL_MAX_CHARS, "label": f"{label[:40]}…"},
                )
        return labels

    def clean_config(self) -> dict[str, Any]:
        text = self.cleaned_data["config"].strip() or "{}"
        try:
            is_object = isinstance(json.loads(text), dict)
        except json.JSONDecodeError as error:
            raise ValidationError(
                _("This is no JSON: look at line %(line)s, column %(column)s."),
                params={"line": error.lineno, "column": error.colno},
            ) from error
        except (ValueError, RecursionError) as error:
            raise ValidationError(_("This is no JSON that could be stored.")) from error
        if not is_object:
            raise ValidationError(_("This must be a JSON object, as in {}."))
        try:
            return read_object(text.encode("utf-8", "replace"))
        except BodyInvalid as error:
            raise ValidationError(_("This cannot be stored: %(reason)s"), params={"reason": str(error)}) from error


class TypeFilter(TextFilter):  # type: ignore[misc]
    """Nodes of one type, typed exactly: whoever registers names types, so there may be too many to choose from."""

    title = _("type")
    parameter_name = "type"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Node]) -> QuerySet[Node]:
        value = clean_text((self.value() or "").strip())
        return queryset.filter(**{self.parameter_name: value}) if value else queryset


class EnvironmentFilter(TypeFilter):
    """The same for the environment."""

    title = _("environment")
    parameter_name = "instance__service__environment"


@admin.register(Node)
class NodeAdmin(LabelsMixin, InstanceArchivingAdmin):
    """Actions and buttons are those of the instances behind the nodes, whose keys are the same."""

    list_display = (
        "name_column",
        "node_id",
        "status_column",
        "last_report",
        "health_column",
        "type",
        "version",
        "environment",
        "labels",
    )
    list_display_links = ("name_column",)
    list_filter = (
        ArchivedNodeFilter,
        ("instance__connectivity", ChoicesDropdownFilter),
        ("instance__health", ChoicesDropdownFilter),
        NodeSelectorFilter,
        NodeGroupFilter,
        TypeFilter,
        EnvironmentFilter,
    )
    list_select_related = ("instance__service",)
    search_fields = ("name", "=instance__external_id", "instance__hostname", "type", "version")
    search_help_text = _("Name, id, host name, IP address, type or version.")
    ordering = ("number",)
    actions: tuple[str, ...] = ("set_labels", "archive_selected", "restore_selected")
    page_template = "admin/agents/node/page.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        return super().get_queryset(request).defer("config", "health")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Node], search_term: str
    ) -> tuple[QuerySet[Node], bool]:
        """By what the columns hold; a term that is an IP address finds the nodes that say it is theirs too."""
        found, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        address = search_term.strip()
        if not _is_address(address):
            return found, may_have_duplicates
        owners = Instance.objects.order_by().filter(with_fact(Fact(("ip",), (address,))))
        return found | queryset.filter(instance__in=owners.values("pk")), may_have_duplicates

    @admin.display(description=_("Node"), ordering="name")
    def name_column(self, row: Node) -> SafeString | str:
        return cut(row.name, 60)

    @admin.display(description=_("Id"), ordering="number")
    def node_id(self, row: Node) -> str:
        return row.instance.external_id

    @admin.display(description=_("Status"), ordering="instance__connectivity")
    def status_column(self, row: Node) -> SafeString:
        return status_badge(row.instance)

    @admin.display(description=_("Last report"), ordering="instance__last_seen_at")
    def last_report(self, row: Node) -> SafeString | str:
        return age(row.instance.last_seen_at)

    @admin.display(description=_("Health"), ordering="instance__health")
    def health_column(self, row: Node) -> SafeString:
        return health_badge(row.instance)

    @admin.display(description=_("Environment"), ordering="instance__service__environment")
    def environment(self, row: Node) -> str:
        return row.instance.service.environment

    @admin.display(description=_("Registry labels"))
    def labels(self, row: Node) -> SafeString | str:
        if not row.label:
            return NOTHING
        more = len(row.label) - LABELS_SHOWN
        shown = [each[:LABEL_SHOWN_CHARS] for each in row.label[:LABELS_SHOWN]] + ([f"+{more}"] if more > 0 else [])
        return format_html_join(" ", '<span class="c-mono">{}</span>', ((each,) for each in shown))

    def get_page_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        return Node.objects.select_related("instance__service", "instance__facts")

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        own = [("configure", "configure", self.configure_view), ("live", "live", self.live_view)]
        own.append(("timeline", "timeline", self.timeline_view))
        # What is forgotten is the instance, on a page of its own.
        return [*own, *(each for each in super().get_page_urls() if each[0] != "forget")]

    def page_context(self, request: HttpRequest, obj: Node) -> dict[str, object]:
        instance = obj.instance
        return {
            **_live_context(request, obj),
            **_meta_data(instance),
            "may_configure": may_command(request, destructive=False),
            "form": ConfigForm(initial=_initial(obj)),
            "form_action": admin_url("agents_node_configure", obj.pk),
            **self.archiving_context(request, instance, present=int(instance.connectivity == Connectivity.ONLINE)),
            **self.labels_context(request, instance),
            "labels_elsewhere": f"{admin_url('agents_instance_change', instance.pk)}#labels",
        }

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The parts of the page that live.js asks for again."""
        node = self.get_page_object(request, object_id)
        return TemplateResponse(
            request, "admin/agents/node/live.html", {**_live_context(request, node), "object": node}
        )

    def timeline_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Older entries of the timeline, for the page that has the newer ones."""
        return older_part(request, self.get_page_object(request, object_id).pk, view="agents_node", of_node=True)

    @admin.action(description=_("Set labels"), permissions=["set_labels"])
    def set_labels(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Operator labels of the instances behind the nodes."""
        return super().set_labels(request, Instance.objects.filter(pk__in=queryset.order_by().values("pk")))

    def _archive(self, request: HttpRequest, obj: Any) -> None:
        super()._archive(request, obj.instance)

    def _url(self, obj: Any, view: str) -> str:
        return admin_url("agents_instance_forget", obj.pk) if view == "forget" else super()._url(obj, view)

    def configure_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Set config and labels; what was typed stays on the page when it is refused."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        node = self.get_page_object(request, object_id)
        form, shown = ConfigForm(request.POST), _initial(node)
        status = 422
        if not may_command(request, destructive=False):
            form.full_clean()
            form.add_error(None, gettext("Your role does not allow this."))
            status = 403
        elif form.is_valid():
            try:
                configure_node(
                    node.instance.external_id,
                    config=form.cleaned_data["config"],
                    label=form.cleaned_data["label"] if form.cleaned_data["label"] != _lines(shown["label"]) else None,
                    actor=actor_of(request),
                    seen=form.cleaned_data["seen"],
                )
            except NotFound:
                return HttpResponseRedirect(admin_url("agents_node_changelist"))
            except Conflict:
                form.add_error(
                    None,
                    gettext("Somebody else changed them meanwhile. Open the page again, and make your change there."),
                )
                status = 409
            else:
                messages.success(request, gettext("Config and registry labels are set."))
                _warn(request, form.cleaned_data["label"])
                return HttpResponseRedirect(admin_url("agents_node_change", node.pk))
        return self.render_page(request, node, form=form, status=status)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def status_badge(instance: Instance) -> SafeString:
    """The status of a node, in the words of connectivity."""
    return badge("connectivity", instance.connectivity, instance.get_connectivity_display())


def health_badge(instance: Instance) -> SafeString:
    """What its components make of its health; grey where that is no longer news."""
    is_past = instance.connectivity != "online"
    return badge("health", instance.health, instance.get_health_display(), is_past=is_past)


def _initial(node: Node) -> dict[str, str]:
    config = json.dumps(node.config, indent=2, ensure_ascii=False) if node.config else ""
    return {"label": "\n".join(node.label), "config": config, "seen": settings_mark(node)}


def _lines(text: str) -> list[str]:
    """The labels of a text with one per line, each once."""
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def _live_context(request: HttpRequest, node: Node) -> dict[str, object]:
    """What changes while the page is open. Three queries, whatever the size."""
    instance = node.instance
    return {
        "instance": instance,
        "status": status_badge(instance),
        "health": health_badge(instance),
        "components": _components(node),
        "skew": _skew(instance),
        "service_link": columns.service_link(instance.service),
        "instance_key": str(instance.pk),
        **timeline_context(request, instance.pk, view="agents_node", of_node=True),
    }


def _warn(request: HttpRequest, tags: list[str]) -> None:
    """Tell of each tag that selectors will not know; the registry has them all."""
    left_out = read_tags(tags).left_out
    for tag, reason in list(left_out.items())[:WARNINGS_MAX]:
        messages.warning(
            request,
            gettext("“%(tag)s” goes into nodes.json, but selectors do not know it: %(reason)s")
            % {"tag": tag[:LABEL_SHOWN_CHARS], "reason": reason},
        )
    if (more := len(left_out) - WARNINGS_MAX) > 0:
        text = ngettext(
            "The same holds for %(n)d more; the card of labels has all.",
            "The same holds for %(n)d more; the card of labels has all.",
            more,
        )
        messages.warning(request, text % {"n": more})


def _components(node: Node) -> list[Component]:
    """The components, those that are bad first."""
    since = component_changes(node.instance_id) if node.health else {}
    rank = {Health.ERROR: 0, Health.DEGRADED: 1, Health.UNKNOWN: 2}
    found = [
        Component(
            name=name,
            status=str(said.get("status", "")),
            health=verdict_of(said.get("status")),
            since=since.get(name),
            details=[(key, _told(value)) for key, value in said.items() if key != "status"],
        )
        for name, said in node.health.items()
    ]
    return sorted(found, key=lambda each: (rank.get(each.health, 3), each.name))


def _meta_data(instance: Instance) -> dict[str, object]:
    """Meta data by key as text: those that the contract knows first."""
    facts = getattr(instance, "facts", None)
    said: Mapping[str, object] = facts.facts if facts is not None else {}
    known = [name for name in (*META_TEXTS, *META_NUMBERS) if name in said]
    others = sorted(name for name in said if name not in known)
    return {
        "meta_data": [(name, _told(said[name])) for name in (*known, *others)],
        "meta_data_changed_at": facts.changed_at if facts is not None else None,
    }


def _told(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _skew(instance: Instance) -> str:
    """How far the node's clock is off, in words; empty where it is right or never reported."""
    if instance.last_seen_at is None or instance.last_heartbeat_sent_at is None:
        return ""
    off = instance.last_heartbeat_sent_at - instance.last_seen_at
    if abs(off) < SKEW_SHOWN_FROM:
        return ""
    words = duration(abs(off).total_seconds() * 1000)
    return gettext("%s ahead") % words if off > timedelta() else gettext("%s behind") % words
