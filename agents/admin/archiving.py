"""Archive, restore and forget on the console: list actions, buttons of a page, and the page that asks for the name."""

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextInputWidget

from agents.models import Instance, Removal, Service
from agents.selectors.presence import present_count
from agents.selectors.removals import open_removal
from agents.services.archive import (
    archive_instance,
    archive_instances,
    archive_service,
    restore_instances,
    restore_service,
)
from agents.services.forgetting import forget_instance, forget_service, name_to_repeat
from controlplane.access.actors import actor_of
from controlplane.access.policy import logged_in_recently, may_administer, may_command
from controlplane.common.errors import ControlPlaneError, Invalid
from controlplane.console.admin import PageAdmin, redirect_to_login_again
from controlplane.console.formatting import admin_url

# More than this is not chosen by hand.
SELECTED_MAX = 1000


class ForgetForm(forms.Form):
    """The name, typed again."""

    name = forms.CharField(
        label=_("Name"), max_length=255, strip=False, widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})
    )


class ArchivingAdmin(PageAdmin):
    """The base of the admins of what can be archived and forgotten."""

    def has_archive_permission(self, request: HttpRequest) -> bool:
        return may_command(request, destructive=False)

    @admin.action(description=_("Archive"), permissions=["archive"])
    def archive_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        chosen = self._chosen(request, queryset)
        if chosen:
            self.archive_rows(request, chosen)

    @admin.action(description=_("Restore"), permissions=["archive"])
    def restore_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        chosen = self._chosen(request, queryset)
        if chosen:
            self.restore_rows(request, chosen)

    def archive_rows(self, request: HttpRequest, rows: list[Any]) -> None:
        """Archive what can be, and tell how many were and how many not."""
        raise NotImplementedError

    def restore_rows(self, request: HttpRequest, rows: list[Any]) -> None:
        raise NotImplementedError

    def _chosen(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        chosen = list(queryset.order_by()[: SELECTED_MAX + 1])
        if len(chosen) <= SELECTED_MAX:
            return chosen
        messages.error(request, gettext("Select %d at most.") % SELECTED_MAX)
        return []

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        return [
            ("archive", "archive", self.archive_view),
            ("restore", "restore", self.restore_view),
            ("forget", "forget", self.forget_view),
        ]

    def archiving_context(self, request: HttpRequest, obj: Instance | Service, *, present: int) -> dict[str, object]:
        """What the buttons of a page need; `present` is how many instances of it are online or connected."""
        return {
            "why_not": _why_not(obj, present),
            "export_url": _export_url(obj),
            "may_archive": self.has_archive_permission(request),
            "may_forget": may_administer(request),
            "removal": open_removal(obj.pk) if obj.forget_requested_at else None,
            "archive_url": self._url(obj, "archive"),
            "restore_url": self._url(obj, "restore"),
            "forget_url": self._url(obj, "forget"),
        }

    def archive_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._act(request, object_id, self._archive)

    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._act(request, object_id, lambda request, obj: self.restore_rows(request, [obj]))

    def _archive(self, request: HttpRequest, obj: Instance | Service) -> None:
        actor = actor_of(request)
        if isinstance(obj, Service):
            archive_service(obj, actor=actor)
        else:
            archive_instance(obj, actor=actor)
        messages.success(request, gettext("Archived. It comes back by itself as soon as it reports again."))

    def _act(
        self, request: HttpRequest, object_id: str, act: Callable[[HttpRequest, Instance | Service], None]
    ) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        obj = self.get_page_object(request, object_id)
        if not self.has_archive_permission(request):
            raise PermissionDenied
        try:
            act(request, obj)
        except ControlPlaneError as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(self._url(obj, "change"))

    def forget_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The page that tells what goes and asks for the name; once it is typed, the removal begins."""
        obj = self.get_page_object(request, object_id)
        if not may_administer(request):
            raise PermissionDenied
        if request.method == "POST" and not logged_in_recently(request):
            return redirect_to_login_again(self._url(obj, "forget"))
        form = ForgetForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                removal = _forget(request, obj, form.cleaned_data["name"])
            except Invalid as error:
                form.add_error("name", str(error))
            except ControlPlaneError as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, gettext("It is being removed. This page tells how far that is."))
                return HttpResponseRedirect(admin_url("agents_removal_change", removal.pk))
        return self._forget_page(request, obj, form)

    def _forget_page(self, request: HttpRequest, obj: Instance | Service, form: ForgetForm) -> TemplateResponse:
        request.current_app = self.admin_site.name
        of_service = isinstance(obj, Service)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": obj,
            "object": obj,
            "title": gettext("Forget %s") % obj,
            "form": form,
            "name": name_to_repeat(obj),
            "of_service": of_service,
            "instance_count": obj.instances.count() if isinstance(obj, Service) else 1,
            "why_not": _why_not(obj, present_count(_instances_of(obj))),
            "export_url": _export_url(obj),
            "back_url": self._url(obj, "change"),
        }
        status = 422 if form.errors else 200
        return TemplateResponse(request, "admin/console/forget.html", context, status=status)

    def _url(self, obj: Instance | Service, view: str) -> str:
        return admin_url(f"agents_{self.opts.model_name}_{view}", obj.pk)


def _instances_of(obj: Instance | Service) -> QuerySet[Instance]:
    return obj.instances.all() if isinstance(obj, Service) else Instance.objects.filter(pk=obj.pk)


def _why_not(obj: Instance | Service, present: int) -> str:
    """Why it can neither be archived nor forgotten now, in words; empty where it can."""
    if not present:
        return ""
    if isinstance(obj, Instance):
        return gettext(
            "It is online or connected. Stop its process first: once it is offline, it can be archived or forgotten."
        )
    return (
        ngettext(
            "%d instance of it is online or connected. Stop it first: once all are offline, the service can be "
            "archived or forgotten.",
            "%d instances of it are online or connected. Stop them first: once all are offline, the service can be "
            "archived or forgotten.",
            present,
        )
        % present
    )


def _forget(request: HttpRequest, obj: Instance | Service, name: str) -> Removal:
    actor = actor_of(request)
    if isinstance(obj, Service):
        return forget_service(obj, name=name, actor=actor)
    return forget_instance(obj, name=name, actor=actor)


def _export_url(obj: Instance | Service) -> str:
    if isinstance(obj, Service):
        return reverse("api-service-export", args=[obj.name], query={"environment": obj.environment})
    return reverse("api-instance-export", args=[str(obj.pk)])


class InstanceArchivingAdmin(ArchivingAdmin):
    """The same for instances, and for rows that have the keys of theirs."""

    def archive_rows(self, request: HttpRequest, rows: list[Any]) -> None:
        done = archive_instances([row.pk for row in rows], actor=actor_of(request))
        tell_archived(request, len(done.changed), len(done.refused))

    def restore_rows(self, request: HttpRequest, rows: list[Any]) -> None:
        count = restore_instances([row.pk for row in rows], actor=actor_of(request))
        messages.success(request, ngettext("%d instance restored.", "%d instances restored.", count) % count)


class ServiceArchivingAdmin(ArchivingAdmin):
    """The same for services."""

    def archive_rows(self, request: HttpRequest, rows: list[Service]) -> None:
        done, refused = _each(request, rows, archive_service)
        if done:
            messages.success(request, ngettext("%d service archived.", "%d services archived.", done) % done)
        _tell_refused(request, refused)

    def restore_rows(self, request: HttpRequest, rows: list[Service]) -> None:
        done, refused = _each(request, rows, restore_service)
        if done:
            messages.success(request, ngettext("%d service restored.", "%d services restored.", done) % done)
        _tell_refused(request, refused)


def _each(request: HttpRequest, rows: Sequence[Service], act: Callable[..., object]) -> tuple[int, list[str]]:
    """To how many it was done, and why not to the others."""
    refused: list[str] = []
    for row in rows:
        try:
            act(row, actor=actor_of(request))
        except ControlPlaneError as error:
            refused.append(str(error))
    return len(rows) - len(refused), refused


def _tell_refused(request: HttpRequest, refused: Sequence[str]) -> None:
    for reason in refused[:5]:
        messages.warning(request, reason)


def tell_archived(request: HttpRequest, archived: int, refused: int) -> None:
    if archived:
        text = ngettext("%d instance archived.", "%d instances archived.", archived)
        messages.success(request, text % archived)
    if refused:
        text = ngettext(
            "%d instance left as it is: it is online or connected.",
            "%d instances left as they are: they are online or connected.",
            refused,
        )
        messages.warning(request, text % refused)
    if not archived and not refused:
        messages.info(request, gettext("They were archived before."))
