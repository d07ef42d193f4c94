"""The page System: what the portal is made of and how each part fares, for administrators."""

import json
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone, translation

from controlplane.access.policy import may_administer
from controlplane.common.env import variables
from controlplane.system.report import system_report
from controlplane.system.selfcheck import Look
from controlplane.system.versions import versions

# One file of what one would be asked for.
FILE_NAME = "portal-report-{:%Y%m%d-%H%M%S}.json"


def system_page(request: HttpRequest) -> HttpResponse:
    """About thirty statements, whatever the size of the fleet."""
    look = _look(request)
    request.current_app = admin.site.name
    configuration = variables()
    context = {
        **admin.site.each_context(request),
        "title": translation.gettext("State of the portal"),
        "is_fullwidth": "1",
        "versions": versions(),
        "up_since": look.up_since,
        "configuration": configuration,
        "changed_count": sum(1 for each in configuration if each.is_set),
        "kept": look.kept,
        "whole": look.whole,
        "tables": [each for each in look.growth if each.table],
        "disks": look.disks,
        **_live_context(look),
    }
    return TemplateResponse(request, "admin/system/page.html", context)


def system_live(request: HttpRequest) -> HttpResponse:
    """The part of the page that changes by itself."""
    return TemplateResponse(request, "admin/system/live.html", _live_context(_look(request)))


def system_file(request: HttpRequest) -> HttpResponse:
    """The same as a file, in English whoever asks: it is read by others."""
    look = _look(request)
    with translation.override("en"):
        text = json.dumps(system_report(look), indent=2, ensure_ascii=False, cls=DjangoJSONEncoder)
    name = FILE_NAME.format(look.now)
    return HttpResponse(
        text, content_type="application/json", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


def _look(request: HttpRequest) -> Look:
    if not may_administer(request):
        raise PermissionDenied
    return Look(timezone.now())


def _live_context(look: Look) -> dict[str, Any]:
    findings = look.findings
    return {
        "now": look.now,
        "findings": findings,
        "processes": look.processes,
        "queues": [(each, queue) for each in look.processes for queue in each.queues],
        "servers": look.reaches,
        "jobs": look.jobs,
    }
