"""Pages beside the admin site's own: the step-up login, the own password, the icon."""

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth import authenticate, login
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.templatetags.static import static
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from unfold.widgets import UnfoldAdminPasswordWidget

from controlplane.access.actors import actor_of
from controlplane.common.changes import ChangeKind, change_of, record_changes
from controlplane.common.snapshots import Difference


def favicon(request: HttpRequest) -> HttpResponseRedirect:  # noqa: ARG001 -- a view
    """Where browsers look for the icon when no page tells them: error pages, JSON, the API's own pages."""
    return HttpResponseRedirect(static("console/favicon.svg"))


def browsers_log_in(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Lead people who are not logged in to the login, where `view` would tell them a bare 401; programs get that."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        is_person = "text/html" in request.headers.get("Accept", "") and "Authorization" not in request.headers
        if is_person and not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path(), reverse("admin:login"))
        return view(request, *args, **kwargs)

    return guarded


def _change_own_password(request: HttpRequest) -> HttpResponse:
    """The page of the site on which people change their own password, in one transaction with the event of it."""
    with transaction.atomic():
        response: HttpResponse = admin.site.password_change(request)
        if request.method == "POST" and response.status_code == HTTPStatus.FOUND and isinstance(request.user, User):
            changed = Difference(withheld=["password"])
            record_changes([change_of(ChangeKind.CHANGED, request.user, actor=actor_of(request), what=changed)])
    return response


class PasswordAgainForm(forms.Form):
    """The password of the one who is logged in, and nothing else."""

    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password", "autofocus": True}),
    )

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        self.user: User | None = None

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        self.user = authenticate(self.request, username=self.request.user.get_username(), password=password)
        if self.user is None or self.user.pk != self.request.user.pk:
            raise forms.ValidationError(_("This is not your password."))
        return password


@sensitive_post_parameters()
@never_cache
def _login_again(request: HttpRequest) -> HttpResponse:
    """Ask a logged-in person for the password again and lead on to `next`."""
    form = PasswordAgainForm(request.POST or None, request=request)
    next_url = safe_next(request)
    if request.method == "POST" and form.is_valid() and form.user is not None:
        login(request, form.user)
        return HttpResponseRedirect(next_url)
    context = {
        **admin.site.each_context(request),
        "title": _("Confirm that it is you"),
        "form": form,
        "next": next_url,
    }
    return TemplateResponse(request, "admin/console/login_again.html", context)


def safe_next(request: HttpRequest) -> str:
    """Where to go on: only within this portal, else to the front page."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else reverse("admin:index")


login_again = admin.site.admin_view(_login_again)
change_own_password = admin.site.admin_view(_change_own_password, cacheable=True)
