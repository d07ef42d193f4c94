"""Agent tokens: made here, shown once, revoked here."""

from collections.abc import Collection, Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from agents.models import AgentToken, Session
from agents.models.instance import Dialect
from agents.models.service import Environment
from agents.selectors.services import other_environments
from agents.selectors.tokens import open_sessions_by_token
from agents.services.tokens import OFFERED_DIALECTS, create_agent_token, revoke_agent_token
from controlplane.access.actors import actor_of
from controlplane.console.formatting import admin_url, link
from controlplane.console.tokens import TokenAdmin, TokenForm, environments_field, words

SESSIONS_SHOWN = 20


def portal_url(request: HttpRequest) -> str:
    """The address under which this person reached the portal, as agents on the same network can."""
    return request.build_absolute_uri("/").rstrip("/")


class AgentTokenForm(TokenForm):
    dialects = forms.MultipleChoiceField(
        label=_("Dialects"),
        choices=[(name.value, name.label) for name in OFFERED_DIALECTS],
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=_("What it may speak; none chosen means every dialect."),
    )
    environments = environments_field(_("What it may speak for; none chosen means all."))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Nodes of the registry bring names of their own.
        offered = self.fields["environments"]
        offered.choices = [*offered.choices, *((name, name) for name in other_environments())]  # type: ignore[attr-defined]

    class Meta:
        model = AgentToken
        fields = ("name", "dialects", "environments", "expires_at")


@admin.register(AgentToken)
class AgentTokenAdmin(TokenAdmin):
    form = AgentTokenForm
    list_display = (
        "name",
        "state",
        "shown_prefix",
        "speaks",
        "speaks_for",
        "last_used",
        "sessions_held",
        "expires",
        "created",
    )
    page_template = "admin/agents/agenttoken/page.html"
    made_template = "admin/agents/agenttoken/made.html"

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """With the open sessions of the tokens on this page, counted together."""
        shown = super().get_changelist_instance(request)
        held = open_sessions_by_token(list(shown.result_list))
        for row in shown.result_list:
            row.held = held.get(row.pk, 0)
        return shown

    @admin.display(description=_("Open sessions"))
    def sessions_held(self, row: Any) -> SafeString | str:
        if not row.held:
            return "0"
        return link(admin_url("agents_session_changelist", token__id__exact=row.pk, status__exact="active"), row.held)

    def sessions_cut(self, tokens: Collection[Any]) -> Mapping[Any, int]:
        return open_sessions_by_token([token for token in tokens if token.revoked_at is None])

    @admin.display(description=_("Secret begins with"))
    def shown_prefix(self, row: AgentToken) -> SafeString:
        return format_html('<code class="c-mono">{}…</code>', row.prefix)

    @admin.display(description=_("Dialects"))
    def speaks(self, row: AgentToken) -> str:
        return words([str(Dialect(name).label) for name in row.dialects if name in Dialect.values], gettext("All"))

    @admin.display(description=_("Environments"))
    def speaks_for(self, row: AgentToken) -> str:
        return words(row.environments, gettext("All"))

    def made_context(self, request: HttpRequest, obj: AgentToken) -> dict[str, object]:
        environment = obj.environments[0] if obj.environments else Environment.DEV.value
        return {"agent_environment": environment, "portal_url": portal_url(request)}

    def page_context(self, request: HttpRequest, obj: AgentToken) -> dict[str, object]:
        return {
            **super().page_context(request, obj),
            "dialects": self.speaks(obj),
            "environments": self.speaks_for(obj),
            "sessions": Session.objects.filter(token=obj)
            .select_related("instance__service")
            .defer("capabilities", "accepted_capabilities")
            .order_by("-connected_at", "-id")[:SESSIONS_SHOWN],
        }

    def get_page_queryset(self, request: HttpRequest) -> QuerySet[AgentToken]:
        return AgentToken.objects.select_related("created_by")

    def make(self, request: HttpRequest, data: dict[str, Any]) -> tuple[AgentToken, str]:
        return create_agent_token(
            name=data["name"],
            dialects=data["dialects"],
            environments=data["environments"],
            expires_at=data["expires_at"],
            actor=actor_of(request),
        )

    def revoke(self, request: HttpRequest, token: Any) -> bool:
        return revoke_agent_token(token, actor=actor_of(request))
