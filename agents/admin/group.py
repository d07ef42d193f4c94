"""Groups: selectors with a name, and who belongs to each now."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextareaWidget

from agents.admin.fan_out_form import send_url
from agents.admin.sending import kinds_for
from agents.models import Group
from agents.selectors.groups import member_counts
from agents.services.groups import change_group, checked_description, checked_name, checked_selector, create_group
from controlplane.access.actors import actor_of
from controlplane.common.errors import ControlPlaneError, Invalid
from controlplane.console.admin import ModelAdmin, report
from controlplane.console.formatting import NOTHING, admin_url, age, cut, link


class GroupForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Group
        fields = ("name", "selector", "description")
        widgets = {
            "selector": UnfoldAdminTextareaWidget(
                attrs={"rows": 2, "spellcheck": "false", "placeholder": "portal/environment=prod,region in (eu,us)"}
            ),
            "description": UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        }

    def clean_name(self) -> str:
        return _checked(checked_name, self.cleaned_data["name"])

    def clean_selector(self) -> str:
        return _checked(checked_selector, self.cleaned_data["selector"])

    def clean_description(self) -> str:
        return _checked(checked_description, self.cleaned_data["description"])


def _checked(check: Any, value: str) -> str:
    try:
        checked: str = check(value)
    except Invalid as error:
        raise forms.ValidationError(str(error)) from error
    return checked


@admin.register(Group)
class GroupAdmin(ModelAdmin):
    form = GroupForm
    list_display = ("name", "selector_column", "members", "described", "by", "updated")
    search_fields = ("name", "selector", "description")
    show_full_result_count = False
    list_per_page = 50
    list_fullwidth = True
    warn_unsaved_form = True
    change_form_after_template = "admin/agents/group/preview.html"

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The rows of the page, each with its `member_count`; one query for all of them."""
        changelist = super().get_changelist_instance(request)
        rows: list[Any] = list(changelist.result_list)
        counts = member_counts(rows)
        for row in rows:
            row.member_count = counts[row.pk]
        return changelist

    @admin.display(description=_("Selector"))
    def selector_column(self, row: Group) -> SafeString:
        return format_html('<code class="c-mono">{}</code>', cut(row.selector, 80))

    @admin.display(description=_("Instances now"))
    def members(self, row: Any) -> SafeString | str:
        return link(admin_url("agents_instance_changelist", group=row.name), row.member_count)

    @admin.display(description=_("Description"))
    def described(self, row: Group) -> SafeString | str:
        return cut(row.description, 60)

    @admin.display(description=_("Created by"), ordering="created_by_name")
    def by(self, row: Group) -> str:
        return row.created_by_name or NOTHING

    @admin.display(description=_("Changed"), ordering="updated_at")
    def updated(self, row: Group) -> SafeString | str:
        return age(row.updated_at)

    def save_model(self, request: HttpRequest, obj: Group, form: Any, change: bool) -> None:
        """By the service, which writes the event."""
        data = form.cleaned_data
        if not change:
            made = create_group(**data, actor=actor_of(request))
        else:
            changes = {name: data[name] for name in form.changed_data}
            made = change_group(form.initial["name"], changes, actor=actor_of(request))
        obj.__dict__.update(made.__dict__)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        """Nothing: the service has written its event."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        """Nothing: the service has written its event."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        group = self.get_object(request, object_id) if object_id else None
        try:
            answer: HttpResponse = super().changeform_view(
                request, object_id, form_url, {**(extra_context or {}), **_links(request, group)}
            )
        except ControlPlaneError as error:
            # Somebody else took the name, or the group away, since the form was checked.
            return report(request, error, next_url=request.get_full_path())
        return answer


def _links(request: HttpRequest, group: Model | None) -> dict[str, Any]:
    if not isinstance(group, Group):
        return {}
    return {
        "group_list_url": admin_url("agents_instance_changelist", group=group.name),
        "group_send_url": send_url(("group", group.name)) if kinds_for(request) else "",
    }
