"""Saving, renaming, sharing and deleting the views that stand above lists."""

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext

from agents.models import SavedView
from agents.services.saved_views import change_view, delete_view, save_view
from controlplane.access.actors import actor_of
from controlplane.common.errors import ControlPlaneError


def save_list_view(request: HttpRequest) -> HttpResponse:
    """Save the filters that the list was shown with; leads to the list with just them."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    list_name = request.POST.get("list", "")
    back = _list_url(request, list_name)
    query = request.POST.get("query", "")
    try:
        view = save_view(
            list_name=list_name,
            name=request.POST.get("name", ""),
            query=query,
            is_shared="is_shared" in request.POST,
            owner=_person(request),
            actor=actor_of(request),
        )
    except ControlPlaneError as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(f"{back}?{query}" if query.isprintable() else back)
    messages.success(request, gettext("The view %s was saved.") % view.name)
    return HttpResponseRedirect(f"{back}?{view.query}")


def change_saved_view(request: HttpRequest, view_id: int) -> HttpResponse:
    """Rename a view, share it, or keep it to oneself."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    back = _back(request, view_id)
    try:
        change_view(
            view_id,
            name=request.POST.get("name", ""),
            is_shared="is_shared" in request.POST,
            person=_person(request),
            actor=actor_of(request),
        )
    except ControlPlaneError as error:
        messages.error(request, str(error))
    return HttpResponseRedirect(back)


def delete_saved_view(request: HttpRequest, view_id: int) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    back = _back(request, view_id)
    try:
        view = delete_view(view_id, person=_person(request), actor=actor_of(request))
        messages.success(request, gettext("The view %s was deleted.") % view.name)
    except ControlPlaneError as error:
        messages.error(request, str(error))
    return HttpResponseRedirect(back)


def _person(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def _ensure_looks(request: HttpRequest) -> None:
    """Raises PermissionDenied for who has no role: there is no list to come back to."""
    if not request.user.has_perm("agents.view_instance"):
        raise PermissionDenied


def _list_url(request: HttpRequest, list_name: str) -> str:
    """The list of a model, for somebody who may see it. Raises PermissionDenied, and Http404 where there is none."""
    _ensure_looks(request)
    try:
        model = apps.get_model(list_name)
    except (LookupError, ValueError):
        raise Http404(gettext("There is no such list.")) from None
    listed = admin.site._registry.get(model)  # noqa: SLF001 -- Django has no public look-up that does not raise
    if listed is None or not listed.has_view_permission(request):
        raise PermissionDenied
    opts = model._meta
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")


def _back(request: HttpRequest, view_id: int) -> str:
    """The list that a view is of; where there is no such view, the front page."""
    _ensure_looks(request)
    view = SavedView.objects.filter(pk=view_id).only("list_name").first()
    return _list_url(request, view.list_name) if view else reverse("admin:index")
