"""The page Access: who may come in, with what, and when they last did."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext

from controlplane.access.admin import group_words
from controlplane.access.policy import may_administer
from controlplane.access.roles import Role
from controlplane.console.tokens import EXPIRES_WITHIN
from controlplane.system.checks.people import UNUSED_FOR
from controlplane.system.people import (
    TOKENS_SHOWN,
    USERS_SHOWN,
    Person,
    access_figures,
    agent_token_uses,
    api_token_uses,
    people,
)


def access_page(request: HttpRequest) -> HttpResponse:
    """About twenty statements, whatever the number of users, tokens and sessions."""
    now = _now_for(request)
    request.current_app = admin.site.name
    context = {
        **admin.site.each_context(request),
        "title": gettext("Access"),
        "is_fullwidth": "1",
        "people": [_person(each) for each in people(now)],
        "agent_tokens": agent_token_uses(now),
        "api_tokens": api_token_uses(now),
        "users_shown": USERS_SHOWN,
        "tokens_shown": TOKENS_SHOWN,
        "soon": now + EXPIRES_WITHIN,
        "long_ago": now - UNUSED_FOR,
        "figures": access_figures(now),
        "now": now,
    }
    return TemplateResponse(request, "admin/system/access.html", context)


def access_live(request: HttpRequest) -> HttpResponse:
    """The figures at its head."""
    now = _now_for(request)
    context = {"figures": access_figures(now), "now": now}
    return TemplateResponse(request, "admin/system/access_live.html", context)


def _now_for(request: HttpRequest) -> Any:
    if not may_administer(request):
        raise PermissionDenied
    return timezone.now()


def _person(person: Person) -> dict[str, Any]:
    """With its role in words; who has none is told so."""
    user, names = person.user, [group_words(group) for group in person.groups]
    if user.is_superuser:
        names.insert(0, gettext("Superuser"))
    has_role = user.is_superuser or any(group.name in set(Role) for group in person.groups)
    if not user.is_active:
        state, words = "revoked", gettext("Disabled")
    elif not user.is_staff:
        state, words = "expired", gettext("May not log in here")
    elif not has_role:
        state, words = "expired", gettext("Has no role")
    else:
        state, words = "usable", gettext("Active")
    return {"row": person, "user": user, "roles": ", ".join(names), "state": state, "state_words": words}
