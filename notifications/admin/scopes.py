"""The part of a form that says, while one types, whom and what its scope means now."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext

from agents.labels import SelectorInvalid, parse
from agents.models import Service
from agents.selectors.presence import presences
from controlplane.console.formatting import admin_url
from notifications.admin.forms import ScopeFields, environment_choices
from notifications.models import Rule
from notifications.selectors.scopes import instances_of, tasks_of, unknown_services

SAMPLE: Final = 5
SUGGESTED: Final = 6
LOOKED_AT: Final = 500
COUNT_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A service that is not there, and those that may be meant."""

    typed: str
    near: list[str]


def scope_view(request: HttpRequest) -> HttpResponse:
    """Whom and what the fields of the query mean. Some eight queries, of which two read the fleet."""
    if not request.user.has_perm("notifications.view_rule"):
        raise PermissionDenied
    form = ScopeFields(request.GET)
    environments: Any = form.fields["environments"]
    environments.choices = environment_choices(request.GET.getlist("environments"))
    context: dict[str, Any] = {}
    if form.is_valid():
        context = _meant(form.cleaned_data)
    else:
        context["problems"] = [str(each) for errors in form.errors.values() for each in errors]
    # A line that is being typed is no whole service yet.
    context["suggestions"] = suggestions(request.GET.get("service_scopes", ""))
    selector = request.GET.get("selector", "").strip()
    lab = reverse("selector_lab")
    context["lab_url"] = f"{lab}?{urlencode({'selector': selector})}" if selector else lab
    return TemplateResponse(request, "admin/notifications/scope.html", context)


def _meant(cleaned: dict[str, Any]) -> dict[str, Any]:
    scope = Rule(**cleaned)
    try:
        scope.selector = str(parse(scope.selector)) if scope.selector.strip() else ""
    except SelectorInvalid as error:
        return {"problems": [gettext("Selector: %s") % error]}
    rows = instances_of(scope)
    count = rows.order_by().count()
    tasks = tasks_of(scope).order_by()[:COUNT_MAX].count() if scope.task_pattern.strip() else None
    narrows = bool(scope.service_scopes or scope.environments or scope.selector)
    only_selector = scope.selector and not scope.service_scopes and not scope.environments
    return {
        "is_known": True,
        "narrows": narrows,
        "count": count,
        "sample": presences(list(rows[:SAMPLE])) if narrows else [],
        "more": max(0, count - SAMPLE),
        "task_count": tasks,
        "list_url": admin_url("agents_instance_changelist", selector=scope.selector) if only_selector else "",
    }


def suggestions(text: str) -> list[Suggestion]:
    """For the last lines that name no service those that are like them. Two queries at most."""
    lines = [line.strip()[:400] for line in text.splitlines() if line.strip()][-20:]
    scopes = [{"environment": line.partition("/")[0], "name": line.partition("/")[2]} for line in lines]
    unknown = set(unknown_services(scopes)) & set(lines)
    return [Suggestion(line, _near(line)) for line in lines if line in unknown or "/" not in line][-3:]


def _near(typed: str) -> list[str]:
    """Services whose name has what was typed, else those that are spelled much like it."""
    part = typed.rpartition("/")[2].strip() if "/" in typed else typed
    environment = typed.partition("/")[0] if "/" in typed else ""
    rows = Service.objects.filter(archived_at=None)
    found = rows.filter(name__icontains=part, environment__startswith=environment).order_by("environment", "name")
    names = [str(row) for row in found[:SUGGESTED]]
    if names:
        return names
    known = [str(row) for row in rows.order_by("environment", "name")[:LOOKED_AT]]
    return get_close_matches(typed, known, n=SUGGESTED)
