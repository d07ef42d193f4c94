"""The page Inventory: the fleet by what it runs, and who of it may be gone or there twice."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agents.admin.archiving import SELECTED_MAX, tell_archived
from agents.admin.filters import GROUPS_OFFERED
from agents.labels import Selector, SelectorInvalid, parse
from agents.labels.selector import TEXT_MAX_CHARS
from agents.models import Instance
from agents.models.instance import Dialect
from agents.selectors.groups import GroupUnknown, selector_of
from agents.selectors.groups import groups as saved_groups
from agents.selectors.inventory import Composition, FleetPart, Scope, VersionCount, Versions, capabilities
from agents.selectors.presence import presences
from agents.selectors.suspects import WHAT_TO_DO, WHY, duplicates, stale
from agents.services.archive import archive_instances
from controlplane.access.actors import actor_of
from controlplane.access.policy import may_command
from controlplane.common.clean import clean_text
from controlplane.console.formatting import admin_url

# Rows of each part of the page; the API has more.
VERSIONS_SHOWN = 12
DRIFTS_SHOWN = 20
LACKING_SHOWN = 20
STALE_SHOWN = 50
DUPLICATES_SHOWN = 30
TITLES = {
    "agent_version": _("Agent versions"),
    "deployment_version": _("Deployed versions"),
    "python_version": _("Python versions"),
}


def inventory_page(request: HttpRequest) -> HttpResponse:
    """What the fleet is made of: three statements, whatever its size. The other parts are fetched once it is shown."""
    asked, scope = _entered(request)
    composition = Composition(scope)
    drift_count, drifted = composition.drifts()
    context = {
        **admin.site.each_context(request),
        "title": _("Inventory"),
        "is_fullwidth": "1",
        "asked": asked,
        "query": _query(asked),
        "narrowed": [value for value in asked.values() if value],
        "groups": list(saved_groups().values_list("name", flat=True)[:GROUPS_OFFERED]),
        "selector_max": TEXT_MAX_CHARS,
        "all_url": _list_url(asked),
        "parts": [_part(asked, part) for part in composition.parts()],
        "versions": [_bars(asked, each) for each in composition.versions(limit=VERSIONS_SHOWN)],
        "drift_count": drift_count,
        "drifts": drifted[:DRIFTS_SHOWN],
        "more_drifts": max(0, drift_count - DRIFTS_SHOWN),
    }
    return TemplateResponse(request, "admin/inventory/page.html", context)


def capabilities_part(request: HttpRequest) -> HttpResponse:
    """What the sessions accept, and who lacks what its service has."""
    _asked_for, scope = _entered(request, complains=False)
    able = capabilities(scope)
    context = {
        "able": able,
        "lacking": able.lacking[:LACKING_SHOWN],
        "more_lacking": max(0, able.lacking_count - LACKING_SHOWN),
    }
    return TemplateResponse(request, "admin/inventory/capabilities.html", context)


def suspects_part(request: HttpRequest) -> HttpResponse:
    """Who may be gone, or there twice."""
    asked, scope = _entered(request, complains=False)
    stale_count, stale_ones = stale(scope, now=timezone.now())
    duplicate_count, groups = duplicates(scope)
    context = {
        "query": _query(asked),
        "stale_count": stale_count,
        "stale": [_told(each, instance=each.instance) for each in stale_ones[:STALE_SHOWN]],
        "more_stale": max(0, stale_count - STALE_SHOWN),
        "duplicate_count": duplicate_count,
        "duplicates": [_told(each, group=each) for each in groups[:DUPLICATES_SHOWN]],
        "more_duplicates": max(0, duplicate_count - DUPLICATES_SHOWN),
        "may_archive": may_command(request, destructive=False),
    }
    return TemplateResponse(request, "admin/inventory/suspects.html", context)


def _entered(request: HttpRequest, *, complains: bool = True) -> tuple[dict[str, str], Scope]:
    """What was asked for and what that is of the fleet, for whoever may see it. Raises PermissionDenied.

    It is nothing of the fleet where the selector or the group cannot be read, which the page says.
    """
    if not request.user.has_perm("agents.view_instance"):
        raise PermissionDenied
    asked = _asked(request)
    request.current_app = admin.site.name
    try:
        return asked, _scope(asked)
    except (SelectorInvalid, GroupUnknown) as error:
        if complains:
            messages.error(request, str(error))
        return asked, Scope(environments=())


def archive_chosen(request: HttpRequest) -> HttpResponse:
    """Name what was chosen on the page and ask again; once confirmed, archive it and go back to the page."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not may_command(request, destructive=False):
        raise PermissionDenied
    section = "duplicates" if request.POST.get("section") == "duplicates" else "stale"
    query = _query(_asked(request))
    back = f"{reverse('inventory')}{query}#{section}"
    chosen = _chosen(request)
    if not chosen:
        messages.error(request, gettext("Choose at least one instance, and %d at most.") % SELECTED_MAX)
        return HttpResponseRedirect(back)
    if "confirm" in request.POST:
        done = archive_instances(chosen, actor=actor_of(request))
        tell_archived(request, len(done.changed), len(done.refused))
        return HttpResponseRedirect(back)
    rows = Instance.objects.filter(pk__in=chosen, archived_at=None).select_related("service")
    found = presences(rows.order_by("service__environment", "service__name", "node_name", "pk"))
    going = [here for here in found if not here.is_present]
    if not going:
        tell_archived(request, 0, len(found))
        return HttpResponseRedirect(back)
    request.current_app = admin.site.name
    context = {
        **admin.site.each_context(request),
        "title": _("Archive"),
        "going": going,
        "staying": [here for here in found if here.is_present],
        "section": section,
        "action": f"{reverse('inventory_archive')}{query}",
        "back": back,
    }
    return TemplateResponse(request, "admin/inventory/archive.html", context)


def _chosen(request: HttpRequest) -> list[uuid.UUID]:
    """The instances that were checked; none where they are too many or one of them is no id."""
    try:
        chosen = [uuid.UUID(text) for text in dict.fromkeys(request.POST.getlist("instance"))]
    except ValueError:
        return []
    return chosen if len(chosen) <= SELECTED_MAX else []


def _asked(request: HttpRequest) -> dict[str, str]:
    """What the page is narrowed to, as text; a dialect that there is not narrows nothing."""
    asked = {name: clean_text(request.GET.get(name, "")) for name in ("dialect", "environment", "selector", "group")}
    asked["selector"] = asked["selector"].strip()
    return asked if asked["dialect"] in Dialect.values else asked | {"dialect": ""}


def _scope(asked: Mapping[str, str]) -> Scope:
    """Raises SelectorInvalid and GroupUnknown."""
    read: tuple[tuple[str, Callable[[str], Selector]], ...] = (("selector", parse), ("group", selector_of))
    selectors = tuple(reads(asked[name]) for name, reads in read if asked[name])
    return Scope(dialect=asked["dialect"], environment=asked["environment"], selectors=selectors)


def _query(asked: Mapping[str, str], **more: str) -> str:
    """The query of the page for what it is narrowed to, with its question mark; empty where that is nothing."""
    given = {name: value for name, value in {**asked, **more}.items() if value}
    return f"?{urlencode(given)}" if given else ""


def _list_url(asked: Mapping[str, str], **more: str) -> str:
    """The list of the instances that the page counts."""
    named = {"dialect__exact": asked["dialect"], "service__environment": asked["environment"]}
    labels = {"selector": asked["selector"], "group": asked["group"]}
    return admin_url("agents_instance_changelist", **(named | labels | more))


def _part(asked: Mapping[str, str], part: FleetPart) -> dict[str, Any]:
    """One row of the fleet: each figure with the list of those that it counts."""
    narrowed = {**asked, "dialect": part.dialect, "environment": part.environment}
    counts = [("", part.instances), *((each, getattr(part, each)) for each in ("online", "offline", "never_reported"))]
    return {
        "row": part,
        "dialect": Dialect(part.dialect).label,
        "url": f"{reverse('inventory')}{_query(narrowed)}",
        "counts": [(count, _list_url(narrowed, connectivity__exact=each)) for each, count in counts],
    }


def _bars(asked: Mapping[str, str], found: Versions) -> dict[str, Any]:
    most = max((item.instances for item in found.items), default=1)
    rows = [_bar(asked, found.field, item, most) for item in found.items]
    return {"title": TITLES[found.field], "rows": rows, "left_out": found.left_out}


def _bar(asked: Mapping[str, str], field: str, item: VersionCount, most: int) -> dict[str, Any]:
    """One row; widths are percents of the commonest version, drawn in SVG because no style may stand in the page."""
    narrowed = {**asked, "dialect": item.dialect, "environment": item.environment}
    return {
        "item": item,
        "url": _list_url(narrowed, **{field: item.version}),
        "width": max(1, round(100 * item.instances / most)),
        "online": round(100 * item.online / most),
    }


def _told(suspect: Any, **more: object) -> dict[str, object]:
    return {"why": gettext(WHY[suspect.why]), "what_to_do": gettext(WHAT_TO_DO[suspect.why]), **more}
