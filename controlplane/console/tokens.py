"""What agent tokens and API tokens share on the console: made by a form, the secret shown once, revoked."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.text import format_lazy
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from controlplane.common.environments import Environment
from controlplane.common.tokens import STATES, in_state, state_of
from controlplane.console.admin import ModelAdmin, PageAdmin
from controlplane.console.formatting import NOTHING, admin_url, age, badge

# Usable tokens that expire within this are shown as such, and the self-check tells of them.
EXPIRES_WITHIN = timedelta(days=14)
IDLE_AFTER = timedelta(days=30)


class TokenStateFilter(admin.SimpleListFilter):
    """Usable tokens, or those that open no door."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("usable", _("Usable")), ("expired", _("Expired")), ("revoked", _("Revoked"))]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        state = self.value()
        return queryset.filter(in_state(state, timezone.now())) if state in STATES else queryset


class TokenUseFilter(admin.SimpleListFilter):
    """Tokens that somebody should look after: nobody shows them, or they will be refused soon."""

    title = _("use")
    parameter_name = "use"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("never", _("Never used")), ("idle", _("Not used for 30 days")), ("expiring", _("Expires soon"))]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        now = timezone.now()
        chosen = {
            "never": models.Q(last_used_at=None),
            "idle": models.Q(last_used_at__lt=now - IDLE_AFTER),
            "expiring": models.Q(expires_at__lte=now + EXPIRES_WITHIN),
        }.get(self.value() or "")
        return queryset if chosen is None else queryset.filter(chosen, in_state("usable", now))


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean_expires_at(self) -> datetime | None:
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= timezone.now():
            raise forms.ValidationError(_("This time has passed already; the token would never be usable."))
        return expires_at


def environments_field(help_text: Any) -> forms.MultipleChoiceField:
    """The environments as boxes to tick; none ticked means all."""
    return forms.MultipleChoiceField(
        label=_("Environments"),
        choices=[(name.value, format_lazy("{} ({})", name.label, name.value)) for name in Environment],
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=help_text,
    )


class TokenAdmin(PageAdmin):
    """Tokens are added and revoked, never edited or deleted: history names them."""

    form = TokenForm
    list_filter_submit = False
    list_filter: ClassVar[tuple[Any, ...]] = (TokenStateFilter, TokenUseFilter)
    search_fields: ClassVar[tuple[str, ...]] = ("name", "prefix")
    date_hierarchy = "created_at"
    actions = ("revoke_selected",)
    made_template: ClassVar[str]

    def make(self, request: HttpRequest, data: dict[str, Any]) -> tuple[models.Model, str]:
        """Make the token that the valid form describes; returns it and its secret."""
        raise NotImplementedError

    def revoke(self, request: HttpRequest, token: Any) -> bool:
        """Revoke the token; False if it was revoked before."""
        raise NotImplementedError

    def sessions_cut(self, tokens: Collection[Any]) -> Mapping[Any, int]:
        """How many open sessions end with each token, by its key; a token that holds none is left out."""
        return {}

    @admin.display(description=_("State"))
    def state(self, row: Any) -> SafeString:
        return badge("token", state_of(row, timezone.now()))

    @admin.display(description=_("Last used"), ordering="last_used_at")
    def last_used(self, row: Any) -> SafeString | str:
        return age(row.last_used_at)

    @admin.display(description=_("Expires"), ordering="expires_at")
    def expires(self, row: Any) -> SafeString | str:
        return age(row.expires_at) if row.expires_at else gettext("Never")

    @admin.display(description=_("Created"), ordering="created_at")
    def created(self, row: Any) -> SafeString | str:
        return age(row.created_at)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return ModelAdmin.has_add_permission(self, request)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return ModelAdmin.has_change_permission(self, request)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One way out of the form: the page that shows the secret."""
        only_save = {"show_save_and_add_another": False, "show_save_and_continue": False}
        response: HttpResponse = super().add_view(request, form_url, {**(extra_context or {}), **only_save})
        return response

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        made, request.made_secret = self.make(request, form.cleaned_data)  # type: ignore[attr-defined]
        obj.__dict__.update(made.__dict__)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        """Nothing: the service that made the token has written its event."""

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """The one page that shows the secret: the answer itself, so that it is stored nowhere on the way."""
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": obj,
            "object": obj,
            "title": str(obj),
            "secret": request.made_secret,  # type: ignore[attr-defined]
            **self.made_context(request, obj),
        }
        return TemplateResponse(request, self.made_template, context)

    def made_context(self, request: HttpRequest, obj: Any) -> dict[str, object]:
        return {}

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, object]:
        return {
            "state": state_of(obj, timezone.now()),
            "may_revoke": obj.revoked_at is None and self.has_revoke_permission(request),
            "sessions_cut": sum(self.sessions_cut([obj]).values()) if obj.revoked_at is None else 0,
        }

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        return [("revoke", "revoke", self.revoke_view)]

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        token = self.get_page_object(request, object_id)
        here = admin_url(f"{self.opts.app_label}_{self.opts.model_name}_change", token.pk)
        if not self.has_revoke_permission(request):
            messages.error(request, gettext("Your role does not allow revoking tokens."))
        elif self.revoke(request, token):
            messages.success(request, gettext("%s was revoked.") % token)
        else:
            messages.warning(request, gettext("%s was revoked before.") % token)
        return HttpResponseRedirect(here)

    @admin.action(description=_("Revoke selected tokens"), permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> HttpResponse | None:
        tokens = list(queryset)
        if "confirm" not in request.POST:
            request.current_app = self.admin_site.name
            now, cut = timezone.now(), self.sessions_cut(tokens)
            context = {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": gettext("Revoke selected tokens"),
                "tokens": [(token, state_of(token, now), cut.get(token.pk, 0)) for token in tokens],
                "sessions_cut": sum(cut.values()),
                "action_checkbox_name": ACTION_CHECKBOX_NAME,
            }
            return TemplateResponse(request, "admin/console/confirm_revoke.html", context)
        revoked = sum(1 for token in tokens if self.revoke(request, token))
        if revoked:
            messages.success(request, ngettext("%d token revoked.", "%d tokens revoked.", revoked) % revoked)
        if before := len(tokens) - revoked:
            text = ngettext("%d token was revoked before.", "%d tokens were revoked before.", before)
            messages.warning(request, text % before)
        return None


def words(values: list[str], empty: str) -> str:
    """A list as one line, or what an empty one means."""
    return ", ".join(values) or empty or NOTHING
