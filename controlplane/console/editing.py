"""Rows that have a page to look at, and a form beside it whose values a service writes."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.forms.models import modelform_factory
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.utils.translation import gettext

from controlplane.common.errors import ControlPlaneError, Invalid, Unauthorized
from controlplane.console.admin import ModelAdmin, PageAdmin, report
from controlplane.console.formatting import admin_url

# By this code a service says that a name is in use.
NAME_TAKEN = "name_taken"
_REFUSAL_ATTRIBUTE = "_refused_by_service"


class ServedForm(forms.ModelForm):  # type: ignore[type-arg]
    """A form whose values a service judges when they are saved; what that refuses is told at its field.

    `PLACES` maps parts of a field of the service to the field of the form, where they are called differently.
    """

    PLACES: dict[str, str] = {}
    refusal: ControlPlaneError | None = None

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.refusal is not None:
            place = self._place_of(self.refusal)
            self.add_error(place if place in self.fields else None, str(self.refusal))
        return cleaned

    def _place_of(self, refusal: ControlPlaneError) -> str:
        if refusal.code == NAME_TAKEN:
            return "name"
        parts = refusal.field.split(".") if isinstance(refusal, Invalid) else []
        places = [self.PLACES.get(part, part) for part in parts]
        return next((place for place in places if place in self.fields), "")

    def values(self) -> dict[str, Any]:
        """What the service is given, by the names of the model."""
        return dict(self.cleaned_data)

    def validate_unique(self) -> None:
        """Nothing: the service says so, and knows it for sure."""


class ServedAdmin(PageAdmin):
    """`write` and `remove` call the services, which write the events. The form is at `edit/` below a row."""

    def write(self, request: HttpRequest, form: Any, row: Any | None) -> models.Model:
        """Make a row of the valid form, or change `row`; returns it."""
        raise NotImplementedError

    def remove(self, request: HttpRequest, row: Any) -> None:
        raise NotImplementedError

    def has_add_permission(self, request: HttpRequest) -> bool:
        return ModelAdmin.has_add_permission(self, request)

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return ModelAdmin.has_change_permission(self, request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return ModelAdmin.has_delete_permission(self, request, obj)

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        return [("edit", "edit", self.edit_view)]

    def page_url(self, row: models.Model, view: str = "change") -> str:
        return admin_url(f"{self.opts.app_label}_{self.opts.model_name}_{view}", row.pk)

    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if request.method not in {"GET", "HEAD", "POST"}:
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        row = self.get_page_object(request, object_id)
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        return self.changeform_view(request, str(row.pk))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return self.changeform_view(request, None, form_url, extra_context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """With one way out. What the service refuses is shown in the form with what was typed."""
        one_way = {"show_save_and_add_another": False, "show_save_and_continue": False}
        context = {**(extra_context or {}), **one_way, "is_fullwidth": "1"}
        try:
            answer: HttpResponse = super().changeform_view(request, object_id, form_url, context)
        except Unauthorized as error:
            return report(request, error, next_url=request.get_full_path())
        except ControlPlaneError as refusal:
            setattr(request, _REFUSAL_ATTRIBUTE, refusal)
            answer = super().changeform_view(request, object_id, form_url, context)
        return answer

    def get_form(self, request: HttpRequest, obj: Any | None = None, change: bool = False, **kwargs: Any) -> Any:
        """The form as it is, with the widgets of the console: it says itself which fields it has, and a service may
        take what the model lets nobody edit."""
        callback = partial(self.formfield_for_dbfield, request=request)
        form: Any = self.form
        made = modelform_factory(self.model, form=form, fields=form.Meta.fields, formfield_callback=callback)
        return type(made.__name__, (made,), {"refusal": getattr(request, _REFUSAL_ATTRIBUTE, None)})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        row = self._stored(obj.pk) if change else None
        obj.__dict__.update(self.write(request, form, row).__dict__)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Nothing: the service has written it."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        """Nothing: the service has written its event."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        """Nothing: the service has written its event."""

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """The rows alone: what goes with them may be thousands, and nobody has a say in it."""
        rows = list(objs)
        return [str(row) for row in rows], {str(self.opts.verbose_name_plural): len(rows)}, set(), []

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            answer: HttpResponse = super().delete_view(request, object_id, extra_context)
        except ControlPlaneError as error:
            return report(request, error, next_url=self.page_url(self.get_page_object(request, object_id)))
        return answer

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """What a service refuses to an action is told on the list; nothing of the action stays."""
        try:
            answer: HttpResponse = super().changelist_view(request, extra_context)
        except ControlPlaneError as error:
            return report(request, error, next_url=request.get_full_path())
        return answer

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.remove(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        with transaction.atomic():
            for row in queryset:
                self.remove(request, row)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        messages.success(request, gettext("%s was made.") % obj)
        return HttpResponseRedirect(self.page_url(obj))

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        messages.success(request, gettext("%s was changed.") % obj)
        return HttpResponseRedirect(self.page_url(obj))
