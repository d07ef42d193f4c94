"""The front page: how the fleet is, what is wrong now, what happened last."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from agents.admin.token import portal_url
from agents.selectors import overview
from agents.selectors.presence import conflict_state, presences
from controlplane.access.policy import may_administer, may_command

SHOWN = overview.TROUBLES_SHOWN


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What unfold adds to the index page. About ten queries, whatever the size of the fleet."""
    return {**context, **home_context(request), "is_fullwidth": "1"}


def home_context(request: HttpRequest) -> dict[str, Any]:
    if not request.user.has_perm("agents.view_instance"):
        return {"may_look": False}
    now = timezone.now()
    fleet = overview.fleet()
    failing = overview.failing_tasks(now=now)
    troubled = list(overview.troubled_instances(now=now))
    failed_commands = list(overview.failed_commands(now=now))
    jobs = overview.unwell_jobs(now=now)
    processes = list(overview.silent_processes(now=now))
    return {
        "may_look": True,
        "fleet": fleet,
        "open_commands": overview.open_commands().count(),
        "failing": failing[:SHOWN],
        "failing_count": len(failing),
        "more_failing": max(0, len(failing) - SHOWN),
        "troubled": [
            (here.instance, here, conflict_state(here.instance, now=now)) for here in presences(troubled[:SHOWN])
        ],
        "more_troubled": max(0, len(troubled) - SHOWN),
        "failed_commands": failed_commands[:SHOWN],
        "failed_command_count": len(failed_commands),
        "more_failed_commands": max(0, len(failed_commands) - SHOWN),
        "jobs": [(job, overview.job_state(job, now=now)) for job in jobs],
        "processes": processes,
        "all_well": not (failing or troubled or failed_commands or jobs or processes),
        "events": overview.recent_events(administrator=may_administer(request)),
        "portal_url": portal_url(request),
        "may_make_tokens": request.user.has_perm("agents.add_agenttoken"),
        "may_command": may_command(request, destructive=False),
    }


def live_home(request: HttpRequest) -> HttpResponse:
    """The part of the front page that console.js asks for again every few seconds."""
    return TemplateResponse(request, "admin/console/home.html", home_context(request))
