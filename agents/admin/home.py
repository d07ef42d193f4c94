"""The front page: how the fleet is, what is wrong now, what happened last."""

from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from agents.admin import troubles
from agents.admin.connect import connect_context
from agents.models.instance import Dialect
from controlplane.access.policy import may_administer, may_command
from controlplane.console.formatting import admin_url
from controlplane.console.shared import Shared

FIGURES_SHOWN: Final = 20
_shared: Shared[troubles.Snapshot] = Shared()


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What unfold adds to the index page. A dozen queries, whatever the size of the fleet, and none within a moment."""
    return {**context, **home_context(request), **connect_context(request), "is_fullwidth": "1"}


def home_context(request: HttpRequest) -> dict[str, Any]:
    if not request.user.has_perm("agents.view_instance"):
        return {"may_look": False}
    shared = _shared.get(troubles.take, ttl_s=settings.HOME_SNAPSHOT_S)
    taken = shared.value
    fleet = taken.census
    return {
        "may_look": True,
        "taken_at": shared.at,
        "fleet": fleet,
        "online": fleet.total("online"),
        "offline": fleet.total("offline"),
        "never_reported": fleet.total("never_reported"),
        "figures": [_figures_row(row) for row in fleet.figures[:FIGURES_SHOWN]],
        "more_figures": max(0, len(fleet.figures) - FIGURES_SHOWN),
        "causes": troubles.causes(taken),
        "open_commands": taken.open_commands,
        "failed_command_count": sum(orders.count for orders in taken.failed),
        "failing_count": len(taken.failing),
        "unwell_count": sum(group.count for group in fleet.unwell),
        "underway": taken.underway,
        "told": taken.told,
        "events": taken.events[may_administer(request)],
        "may_make_tokens": request.user.has_perm("agents.add_agenttoken"),
        "may_command": may_command(request, destructive=False),
    }


def _figures_row(row: Any) -> dict[str, Any]:
    of = {"dialect__exact": row.dialect, "service__environment": row.environment}
    url = "agents_instance_changelist"
    return {
        "row": row,
        "dialect": Dialect(row.dialect).label,
        "url": admin_url(url, **of),
        "online_url": admin_url(url, **of, connectivity__exact="online"),
        "offline_url": admin_url(url, **of, connectivity__exact="offline"),
        "never_url": admin_url(url, **of, connectivity__exact="never_reported"),
        "services_url": admin_url("agents_service_changelist", environment=row.environment),
    }


def live_home(request: HttpRequest) -> HttpResponse:
    """The part of the front page that is fetched anew when something happened."""
    return TemplateResponse(request, "admin/console/home.html", home_context(request))
