"""Labels on the console: the card of an instance with its form, and the list action for many."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextareaWidget

from agents.labels.lines import TEXT_MAX_CHARS, keys_of_lines, labels_of_lines, lines_of
from agents.models import Instance
from agents.selectors.labels import Labels, labels_of
from agents.services.labels import INSTANCES_MAX, LabelsChanged, change_operator_labels
from controlplane.access.actors import actor_of
from controlplane.access.policy import may_command
from controlplane.common.changes import subject_of
from controlplane.common.errors import ControlPlaneError, Invalid
from controlplane.console.formatting import admin_url

# Of many selected instances, so many are named on the page that asks.
NAMED_MAX = 20
_REFUSED = _("Your role does not allow to give labels.")


class LabelsField(forms.CharField):
    """Labels, one a line; each wrong line is an error of its own."""

    def __init__(self, **kwargs: Any) -> None:
        attrs = {"rows": 6, "spellcheck": "false", "placeholder": "env=prod\nteam=payments"}
        # Blanks at the ends may belong to quoted values of the first and last line.
        super().__init__(
            required=False,
            strip=False,
            max_length=TEXT_MAX_CHARS,
            widget=UnfoldAdminTextareaWidget(attrs=attrs),
            **kwargs,
        )

    def clean(self, value: Any) -> Any:
        labels, problems = labels_of_lines(super().clean(value))
        if problems:
            raise forms.ValidationError([str(problem) for problem in problems])
        return labels


class LabelsForm(forms.Form):
    """The operators' labels of one instance. `shown` are those that the page showed: what differs is what is changed,
    so that labels which somebody else gave meanwhile stay."""

    labels = LabelsField(
        label=_("Labels of operators"),
        help_text=_(
            "One key=value a line. They go into selectors and nodes.sd.json, where they win over registry labels and "
            "over what the agent says, and not into nodes.json. No secrets."
        ),
    )
    shown = LabelsField()
    shown.widget = forms.HiddenInput()

    def change(self) -> tuple[dict[str, str], list[str]]:
        """Which labels are given, and which taken off."""
        wanted, shown = self.cleaned_data["labels"], self.cleaned_data["shown"]
        given = {key: value for key, value in wanted.items() if shown.get(key) != value}
        return given, [key for key in shown if key not in wanted]


class BulkLabelsForm(forms.Form):
    """Labels that many instances get, and keys of labels that they lose."""

    given = LabelsField(label=_("Set"), help_text=_("One key=value a line. Other labels stay as they are."))
    removed = forms.CharField(
        label=_("Remove"),
        required=False,
        max_length=TEXT_MAX_CHARS,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false", "placeholder": "old"}),
        help_text=_("One key a line. Only labels of operators are removed."),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not self.errors and not data["given"] and not keys_of_lines(data["removed"]):
            raise forms.ValidationError(gettext("Name labels to set or remove."))
        return data


class LabelsMixin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Adds labels to the admin of instances: the page `labels`, and the action `set_labels`, which it must name."""

    def has_set_labels_permission(self, request: HttpRequest) -> bool:
        return may_command(request, destructive=False)

    def labels_context(self, request: HttpRequest, instance: Instance) -> dict[str, object]:
        """What the card shows. Two queries."""
        labels = labels_of([instance])[instance.pk]
        lines = lines_of(labels.operator)
        return {
            "label_layers": _layers(labels),
            "labels_left_out": labels.agent_left_out,
            "tags_left_out": labels.tags_left_out,
            "may_label": self.has_set_labels_permission(request),
            "labels_form": LabelsForm(initial={"labels": lines, "shown": lines}),
            "labels_action": admin_url("agents_instance_labels", instance.pk),
            "labels_history": admin_url("agents_event_changelist", subject=subject_of(instance)),
        }

    def labels_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Change the operators' labels of an instance; what was typed stays on the page when it is refused."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        page: Any = self
        instance = page.get_page_object(request, object_id)
        form = LabelsForm(request.POST)
        status = 422
        if not self.has_set_labels_permission(request):
            form.add_error(None, str(_REFUSED))
            status = 403
        elif form.is_valid():
            given, removed = form.change()
            try:
                done = change_operator_labels([instance.pk], given=given, removed=removed, actor=actor_of(request))
            except Invalid as error:
                form.add_error("labels", str(error))
            else:
                _tell_one(request, done)
                return HttpResponseRedirect(admin_url("agents_instance_change", instance.pk))
        answer: HttpResponse = page.render_page(request, instance, labels_form=form, labels_open=True, status=status)
        return answer

    @admin.action(description=_("Set labels"), permissions=["set_labels"])
    def set_labels(self, request: HttpRequest, queryset: QuerySet[Instance]) -> HttpResponse | None:
        """The page that asks which labels; once confirmed, changes all or none and goes back to the list."""
        ids = list(queryset.order_by().values_list("pk", flat=True)[: INSTANCES_MAX + 1])
        if len(ids) > INSTANCES_MAX:
            messages.error(request, gettext("Select %d instances at most.") % INSTANCES_MAX)
            return None
        confirmed = "confirm" in request.POST
        form = BulkLabelsForm(request.POST if confirmed else None)
        if confirmed and form.is_valid():
            try:
                done = change_operator_labels(
                    ids,
                    given=form.cleaned_data["given"],
                    removed=keys_of_lines(form.cleaned_data["removed"]),
                    actor=actor_of(request),
                )
            except ControlPlaneError as error:
                form.add_error("removed" if getattr(error, "field", "") == "remove" else None, str(error))
            else:
                _tell_many(request, done)
                return None
        request.current_app = self.admin_site.name
        is_all = request.POST.get("select_across") == "1"
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": gettext("Set labels"),
            "form": form,
            "count": len(ids),
            "named": list(queryset.select_related("service")[:NAMED_MAX]),
            "unnamed_count": max(0, len(ids) - NAMED_MAX),
            # All that the filters leave are selected by them; one id says that there is a selection.
            "selected": ids[:1] if is_all else ids,
            "select_across": "1" if is_all else "0",
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/agents/instance/set_labels.html", context)


def _layers(labels: Labels) -> list[Mapping[str, object]]:
    """The layers, the strongest first, without empty ones but the operators'; each label with whether it is covered."""
    layers = (
        (_("Operators"), labels.operator),
        (_("Registry labels"), labels.tags),
        (_("Agent"), labels.agent),
        (_("Portal"), labels.derived),
    )
    covering: set[str] = set()
    shown: list[Mapping[str, object]] = []
    for name, layer in layers:
        rows = [{"key": key, "value": layer[key], "is_covered": key in covering} for key in sorted(layer)]
        covering |= layer.keys()
        if rows or layer is labels.operator:
            shown.append({"name": name, "labels": rows})
    return shown


def _tell_one(request: HttpRequest, done: LabelsChanged) -> None:
    text = gettext("The labels were changed.") if done.changed_ids else gettext("The labels are as they were.")
    messages.success(request, text)
    _warn(request, done)


def _tell_many(request: HttpRequest, done: LabelsChanged) -> None:
    changed = len(done.changed_ids)
    text = ngettext(
        "The labels of %(changed)d instance were changed.", "The labels of %(changed)d instances were changed.", changed
    )
    messages.success(request, text % {"changed": changed})
    if same := done.instance_count - changed:
        text = ngettext(
            "%(same)d instance had these labels already.", "%(same)d instances had these labels already.", same
        )
        messages.info(request, text % {"same": same})
    _warn(request, done)


def _warn(request: HttpRequest, done: LabelsChanged) -> None:
    for warning in done.warnings:
        messages.warning(request, warning)
