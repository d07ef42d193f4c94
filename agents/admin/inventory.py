"""The page Inventory: the fleet by what it runs, and who of it may be gone or there twice."""

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agents.admin.archiving import SELECTED_MAX, tell_archived
from agents.models.instance import Dialect
from agents.selectors.inventory import Composition, Scope, VersionCount, Versions, capabilities
from agents.selectors.suspects import WHAT_TO_DO, WHY, duplicates, stale
from agents.services.archive import archive_instances
from controlplane.access.actors import actor_of
from controlplane.access.policy import may_command
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
    """About fifteen statements, whatever the size of the fleet."""
    if not request.user.has_perm("agents.view_instance"):
        raise PermissionDenied
    scope = _scope(request)
    request.current_app = admin.site.name
    composition = Composition(scope)
    drift_count, drifted = composition.drifts()
    able = capabilities(scope)
    stale_count, stale_ones = stale(scope, now=timezone.now())
    duplicate_count, groups = duplicates(scope)
    context = {
        **admin.site.each_context(request),
        "title": _("Inventory"),
        "is_fullwidth": "1",
        "scope": scope,
        "parts": [{"row": part, "dialect": Dialect(part.dialect).label} for part in composition.parts()],
        "versions": [_bars(each) for each in composition.versions(limit=VERSIONS_SHOWN)],
        "drift_count": drift_count,
        "drifts": drifted[:DRIFTS_SHOWN],
        "more_drifts": max(0, drift_count - DRIFTS_SHOWN),
        "able": able,
        "lacking": able.lacking[:LACKING_SHOWN],
        "more_lacking": max(0, able.lacking_count - LACKING_SHOWN),
        "stale_count": stale_count,
        "stale": [_told(each, instance=each.instance) for each in stale_ones[:STALE_SHOWN]],
        "more_stale": max(0, stale_count - STALE_SHOWN),
        "duplicate_count": duplicate_count,
        "duplicates": [_told(each, group=each) for each in groups[:DUPLICATES_SHOWN]],
        "more_duplicates": max(0, duplicate_count - DUPLICATES_SHOWN),
        "may_archive": may_command(request, destructive=False),
    }
    return TemplateResponse(request, "admin/inventory.html", context)


def archive_stale(request: HttpRequest) -> HttpResponse:
    """Archive what was chosen on the page, and go back to it."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not may_command(request, destructive=False):
        raise PermissionDenied
    try:
        chosen = [uuid.UUID(text) for text in dict.fromkeys(request.POST.getlist("instance"))]
    except ValueError:
        chosen = []
    if not 0 < len(chosen) <= SELECTED_MAX:
        messages.error(request, gettext("Choose at least one instance, and %d at most.") % SELECTED_MAX)
    else:
        done = archive_instances(chosen, actor=actor_of(request))
        tell_archived(request, len(done.changed), len(done.refused))
    return HttpResponseRedirect(f"{reverse('inventory')}#stale")


def _scope(request: HttpRequest) -> Scope:
    """What the links of the page narrow it to; a dialect that there is not narrows nothing."""
    dialect = request.GET.get("dialect", "")
    environment = request.GET.get("environment", "").replace("\0", "")
    return Scope(dialect=dialect if dialect in Dialect.values else "", environment=environment)


def _bars(found: Versions) -> dict[str, Any]:
    most = max((item.instances for item in found.items), default=1)
    rows = [_bar(found.field, item, most) for item in found.items]
    return {"title": TITLES[found.field], "rows": rows, "left_out": found.left_out}


def _bar(field: str, item: VersionCount, most: int) -> dict[str, Any]:
    """One row; widths are percents of the commonest version, drawn in SVG because no style may stand in the page."""
    narrowed = {"dialect__exact": item.dialect, "service__environment": item.environment, field: item.version}
    return {
        "item": item,
        "url": admin_url("agents_instance_changelist", **narrowed),
        "width": max(1, round(100 * item.instances / most)),
        "online": round(100 * item.online / most),
    }


def _told(suspect: Any, **more: object) -> dict[str, object]:
    return {"why": gettext(WHY[suspect.why]), "what_to_do": gettext(WHAT_TO_DO[suspect.why]), **more}
