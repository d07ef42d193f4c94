"""The selector lab: whom a selector means, who misses it narrowly, and what labels there are to ask for."""

from typing import Any
from urllib.parse import urlsplit

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext

from agents.admin.fan_out_form import send_url
from agents.admin.sending import kinds_for
from agents.labels import Selector, SelectorInvalid, parse
from agents.labels.selector import TEXT_MAX_CHARS
from agents.selectors.groups import groups
from agents.selectors.matches import known_keys, match
from agents.selectors.presence import presences
from controlplane.console.formatting import admin_url

EXAMPLES = (
    "portal/environment=prod",
    "portal/dialect in (onestep,argus)",
    "region in (eu,us),!canary",
    "cpu-cores>8",
    "portal/version!=1.2.0",
)
GROUPS_SHOWN = 50


def selector_lab(request: HttpRequest) -> HttpResponse:
    """The page, which reads no instance: whom its selector means and which labels there are come in parts after it."""
    text, selector, problem = _asked(request)
    context = {
        "text": text,
        "pending": selector is not None,
        **problem,
        "title": gettext("Selectors"),
        "examples": EXAMPLES,
        "groups": groups()[:GROUPS_SHOWN],
        "max_chars": TEXT_MAX_CHARS,
    }
    request.current_app = admin.site.name
    full = {**admin.site.each_context(request), "is_fullwidth": "1", **context}
    return TemplateResponse(request, "admin/selectors/lab.html", full)


def selector_matches(request: HttpRequest) -> HttpResponse:
    """The part of the page that changes while one types; the address of the page follows what was typed."""
    answer = TemplateResponse(request, "admin/selectors/matches.html", matches_context(request))
    lab = reverse("selector_lab")
    if urlsplit(request.headers.get("HX-Current-URL", "")).path == lab:
        answer["HX-Replace-Url"] = f"{lab}?{urlencode({'selector': request.GET.get('selector', '')})}"
    return answer


def selector_known(request: HttpRequest) -> HttpResponse:
    """The part of the page that names labels to ask for."""
    _ensure_may_ask(request)
    return TemplateResponse(request, "admin/selectors/known.html", {"known_keys": known_keys()})


def _ensure_may_ask(request: HttpRequest) -> None:
    if not request.user.has_perm("agents.view_instance"):
        raise PermissionDenied


def _asked(request: HttpRequest) -> tuple[str, Selector | None, dict[str, str]]:
    """The text of the query, its selector where it asks for something, and what is wrong with it."""
    _ensure_may_ask(request)
    text = request.GET.get("selector", "")
    if not text.strip():
        return "", None, {}
    try:
        return text, parse(text), {}
    except SelectorInvalid as error:
        return text, None, {"error": str(error), **_place(text, error.position)}


def matches_context(request: HttpRequest) -> dict[str, Any]:
    """Whom the selector of the query means; about ten queries, of which two read the labels of the fleet."""
    text, selector, problem = _asked(request)
    if selector is None:
        return {"text": text, "found": None, **problem}
    found = match(selector)
    canonical = str(selector)
    return {
        "text": text,
        "found": found,
        # Below the form of a group, which has its own ways on.
        "brief": "brief" in request.GET,
        "canonical": canonical,
        "sample": presences(found.sample),
        "list_url": admin_url("agents_instance_changelist", selector=canonical),
        "group_url": f"{reverse('admin:agents_group_add')}?{urlencode({'selector': canonical})}"
        if request.user.has_perm("agents.add_group")
        else "",
        "send_url": send_url(("selector", canonical)) if kinds_for(request) and selector else "",
    }


def _place(text: str, position: int | None) -> dict[str, str]:
    """The text around where it went wrong."""
    if position is None:
        return {}
    return {"before": text[:position], "wrong": text[position : position + 1] or " ", "after": text[position + 1 :]}
