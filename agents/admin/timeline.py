"""The timeline of an instance on its page and on that of its node: the newest part live, older ones on demand."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from agents.models import Command
from agents.selectors.targets import TargetState
from agents.selectors.timeline import SHOWN, Place, Show, timeline
from agents.selectors.waiting import waits
from agents.words import wait_words
from controlplane.console.formatting import Words, admin_url

SHOW_WORDS: Mapping[Show, Words] = {
    "all": _("Everything"),
    "commands": _("Commands"),
    "sessions": _("Sessions"),
    "health": _("State and health"),
    "tasks": _("Tasks"),
    "changes": _("Changes"),
}
# Nodes are sent no commands, have no sessions and run no tasks.
NODE_SHOW: tuple[Show, ...] = ("all", "health", "changes")


def shown(request: HttpRequest) -> Show:
    """What the timeline is narrowed to."""
    return next((each for each in SHOWN if each == request.GET.get("show")), "all")


def timeline_context(
    request: HttpRequest, instance_id: UUID, *, view: str, state: TargetState | None = None, of_node: bool = False
) -> dict[str, Any]:
    """The newest part: down to `floor` where the page has told it, and so without a gap to what it loaded further down.

    `view` is the name of the admin's pages, as in agents_instance. Four queries, two for a node; one or two more where
    commands wait.
    """
    show, floor = shown(request), Place.parse(request.GET.get("floor", ""))
    page = timeline(instance_id, show=show, down_to=floor, events_only=of_node)
    bottom = floor or page.older or (page.entries[-1].place if page.entries else None)
    return {
        "entries": page.entries,
        "is_cut": bool(floor and page.older),
        "older": None if floor else page.older,
        "reasons": _reasons(page.commands, state),
        "show": show,
        "shows": [
            (each, SHOW_WORDS[each], f"{admin_url(f'{view}_change', instance_id, show=each)}#timeline")
            for each in (NODE_SHOW if of_node else SHOW_WORDS)
        ],
        "timeline_url": admin_url(f"{view}_timeline", instance_id),
        # What the live part is asked for, whatever the page has loaded since.
        "live_values": json.dumps({"show": show, "floor": str(bottom or "")}),
    }


def older_part(request: HttpRequest, instance_id: UUID, *, view: str, of_node: bool = False) -> HttpResponse:
    """What lies before the place in the address, with the button for what lies before that."""
    show, before = shown(request), Place.parse(request.GET.get("before", ""))
    page = timeline(instance_id, show=show, before=before, events_only=of_node)
    context = {
        "entries": page.entries,
        "older": page.older,
        "reasons": _reasons(page.commands, None),
        "show": show,
        "timeline_url": admin_url(f"{view}_timeline", instance_id),
    }
    return TemplateResponse(request, "admin/agents/timeline/older.html", context)


def _reasons(commands: list[Command], state: TargetState | None) -> dict[UUID, str]:
    """Why each command that is under way still is, in words."""
    if not any(command.is_open for command in commands):
        return {}
    found = waits(commands, now=timezone.now(), states={state.instance.pk: state} if state else None)
    return {pk: wait_words(wait) for pk, wait in found.items()}
