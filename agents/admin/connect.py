"""Connecting an agent: one command to paste, with a token of its own, and what is seen of it while one looks."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.validators import RegexValidator
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agents.admin.token import portal_url
from agents.models import AgentToken
from agents.models.instance import Dialect
from agents.models.service import Environment
from agents.selectors.onboarding import Refusal, Sight, sight
from agents.services.refusals import Cause
from agents.services.tokens import OFFERED_DIALECTS, create_agent_token
from controlplane.access.actors import actor_of
from controlplane.console.formatting import Words

UNUSED_FOR: Final = timedelta(hours=1)
# So long is nothing said of an agent that is not there yet.
PATIENCE: Final = timedelta(seconds=60)

CAUSE_WORDS: Final[dict[str, Words]] = {
    Cause.TOKEN_MISSING: _("Token refused: it showed none. Set the token where the agent runs."),
    Cause.TOKEN_UNKNOWN: _("Token refused: nobody here has made it. Copy the whole command again."),
    Cause.TOKEN_CUT: _(
        "Token refused: it begins like this one and goes on otherwise. It was cut or changed on its way."
    ),
    Cause.TOKEN_REVOKED: _("Token refused: it was revoked. Make a new one."),
    Cause.TOKEN_EXPIRED: _("Token refused: it has expired. Make a new one."),
    Cause.TOKEN_OTHER_DIALECT: _(
        "Token refused: it is for agents of another dialect. Choose the dialect of this agent."
    ),
    Cause.ENVIRONMENT: _("Wrong environment: the token does not speak for the one that the agent names."),
    Cause.HELLO: _("It came with this token and its hello was refused."),
    Cause.BODY: _("It reached the registry and what it sent was refused."),
    Cause.FULL: _("The registry has no room for a new node."),
}


class ConnectForm(forms.Form):
    dialect = forms.ChoiceField(
        label=_("Dialect"),
        choices=[(name.value, name.label) for name in OFFERED_DIALECTS],
        initial=Dialect.ONESTEP.value,
    )
    environment = forms.ChoiceField(label=_("Environment"), choices=Environment.choices, initial=Environment.DEV.value)
    # It stands in a command of the shell.
    name = forms.CharField(
        label=_("Name of the agent"),
        initial="first-agent",
        max_length=63,
        validators=[
            RegexValidator(r"\A[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z", _("Letters, digits, “.”, “_” and “-”."))
        ],
    )


def connect_context(request: HttpRequest) -> dict[str, Any]:
    """What the form takes, wherever it is shown."""
    return {"connect_form": ConnectForm(), "may_make_tokens": request.user.has_perm("agents.add_agenttoken")}


def connect_page(request: HttpRequest) -> HttpResponse:
    """The form, and as its answer the command. The secret is in that one answer and stored nowhere."""
    if not request.user.has_perm("agents.add_agenttoken"):
        raise PermissionDenied
    form = ConnectForm(request.POST or None)
    context = {**admin.site.each_context(request), "title": gettext("Connect an agent"), "connect_form": form}
    if request.method != "POST" or not form.is_valid():
        return _page(request, "admin/console/connect_page.html", context, 422 if request.method == "POST" else 200)
    dialect, environment, name = (form.cleaned_data[field] for field in ("dialect", "environment", "name"))
    now = timezone.now()
    token, secret = None, ""
    if dialect != Dialect.ARGUS or settings.AUTH_MODE == "token":
        token, secret = create_agent_token(
            name=f"{name} {now:%Y-%m-%d %H:%M:%S.%f}",
            dialects=[dialect],
            environments=[environment],
            expires_at=now + UNUSED_FOR,
            unless_used=True,
            actor=actor_of(request),
        )
    query = {"dialect": dialect, "name": name, "since": now.timestamp(), **({"token": token.pk} if token else {})}
    shown = {
        "token": token,
        "secret": secret,
        "dialect": dialect,
        "agent_environment": environment,
        "name": name,
        "portal_url": portal_url(request),
        "live_url": reverse("connect_live", query=query),
        **_live(request, dialect=dialect, token=token, name=name, since=now),
    }
    return _page(request, "admin/console/connect_page.html", {**context, **shown})


def _page(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    request.current_app = admin.site.name
    answer = TemplateResponse(request, template, context, status=status)
    answer["Cache-Control"] = "no-store"
    return answer


def connect_live(request: HttpRequest) -> HttpResponse:
    """What was seen of the agent until now."""
    if not request.user.has_perm("agents.view_agenttoken"):
        raise PermissionDenied
    dialect = request.GET.get("dialect", "")
    try:
        since = datetime.fromtimestamp(float(request.GET.get("since", "")), tz=UTC)
        token_id = int(request.GET.get("token") or 0)
    except (ValueError, OverflowError, OSError):
        raise Http404 from None
    if dialect not in {name.value for name in OFFERED_DIALECTS}:
        raise Http404
    # No look at an older history than a token lives unused.
    since = max(since, timezone.now() - UNUSED_FOR)
    token = AgentToken.objects.filter(pk=token_id).first() if 0 < token_id < 2**31 else None
    context = _live(request, dialect=dialect, token=token, name=request.GET.get("name", "")[:63], since=since)
    return TemplateResponse(request, "admin/console/connect_live.html", context)


def _live(
    request: HttpRequest, *, dialect: str, token: AgentToken | None, name: str, since: datetime
) -> dict[str, Any]:
    seen = sight(dialect=dialect, token=token, name=name.replace("\0", ""), since=since)
    now = timezone.now()
    return {
        "sight": seen,
        "since": since,
        "told": _told(seen, token, waited=now - since),
        "refusals": [(each, cause_words(each)) for each in seen.refusals],
        "portal_url": portal_url(request),
    }


def cause_words(refusal: Refusal) -> Words:
    return CAUSE_WORDS.get(refusal.cause, refusal.reason)


def _told(seen: Sight, token: AgentToken | None, *, waited: timedelta) -> Words:
    """In one sentence, where it stands; empty while one may simply wait."""
    if seen.stage == "green":
        return ""
    own = next((each for each in seen.refusals if each.is_own), None)
    if own is not None and seen.stage == "waiting":
        return cause_words(own)
    if seen.stage == "left":
        return _("It connected and left again. Look at what it printed.")
    if token is not None and not token.is_usable:
        return _("The token is revoked or has expired before it was used. Make a new one.")
    if waited < PATIENCE:
        return ""
    if seen.stage == "silent":
        return _("It is known here, and no heartbeat came from it yet.")
    if seen.refusals:
        return cause_words(seen.refusals[0])
    return _("Nothing has arrived at this address. Is it the one under which the agent reaches the portal?")
