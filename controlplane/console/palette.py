"""The command palette (Ctrl-K): pages and acts of the console, and what the apps find by a text.

Each app names its sources in settings.PALETTE_SOURCES; a source answers what this reader may see and nothing else.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override
from django.views.decorators.cache import never_cache

from controlplane.console.formatting import Words

TEXT_MAX_CHARS: Final = 200
# Of each kind.
SHOWN: Final = 6
PAGES_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the palette: where it leads, and what stands beside its name."""

    title: Words
    url: str
    icon: str
    note: Words = ""


@dataclass(frozen=True, slots=True)
class Section:
    title: Words
    entries: Sequence[Entry]


Source: TypeAlias = Callable[[HttpRequest, str], Iterator[Section]]


@dataclass(frozen=True, slots=True)
class Act:
    """Something to do; offered to whoever has the permission, found by its own words and by `more`."""

    title: Words
    view: str
    icon: str
    permission: str
    more: str = ""


ACTS: Final = (
    Act(_("Send a command…"), "fan_out_send", "send", "agents.add_command", "fan-out bulk run"),
    Act(_("New agent token"), "admin:agents_agenttoken_add", "key", "agents.add_agenttoken", "connect add"),
    Act(_("New API token"), "admin:access_apitoken_add", "vpn_key", "access.add_apitoken", "program add"),
    Act(_("New group of instances"), "admin:agents_group_add", "workspaces", "agents.add_group", "selector add"),
    Act(_("New rule"), "admin:notifications_rule_add", "rule_settings", "notifications.add_rule", "alert notify add"),
    Act(
        _("New silence"),
        "admin:notifications_silence_add",
        "notifications_paused",
        "notifications.add_silence",
        "maintenance mute window add",
    ),
    Act(
        _("New channel"),
        "admin:notifications_channel_add",
        "campaign",
        "notifications.add_channel",
        "notify feishu wecom webhook mail apprise add",
    ),
    Act(_("New user"), "admin:auth_user_add", "person_add", "auth.add_user", "account role add"),
    Act(_("Time zone"), "console_zone", "schedule", "", "clock utc"),
    Act(_("Change password"), "admin:password_change", "password", "", "account"),
)


def _matches(text: str, *titles: Words) -> bool:
    """Whether every word of the text is in the titles, in the reader's language or in English."""
    spoken = " ".join(str(title) for title in titles)
    with override("en"):
        spoken += " " + " ".join(str(title) for title in titles)
    known = spoken.lower()
    return all(word in known for word in text.lower().split())


def _pages(request: HttpRequest, text: str) -> Iterator[Section]:
    navigation: Any = admin.site.get_sidebar_list(request)  # type: ignore[attr-defined]
    found = [
        Entry(
            title=item["title"],
            url=str(item["link"]),
            icon=item.get("icon", "description"),
            note=group.get("title") or "",
        )
        for group in navigation
        for item in group["items"]
        if item["has_permission"] and _matches(text, item["title"], group.get("title") or "")
    ]
    yield Section(_("Pages"), found[:PAGES_SHOWN] if text else found)


def _acts(request: HttpRequest, text: str) -> Iterator[Section]:
    yield Section(
        _("Do"),
        [
            Entry(title=act.title, url=reverse(act.view), icon=act.icon)
            for act in ACTS
            if (not act.permission or request.user.has_perm(act.permission)) and _matches(text, act.title, act.more)
        ],
    )


def found_by(request: HttpRequest, text: str) -> list[Section]:
    """What the palette shows for the text; for none, everything there is to do and every page."""
    sources: list[Source] = [_acts, _pages]
    if text:
        sources += [import_string(name) for name in settings.PALETTE_SOURCES]
    return [section for source in sources for section in source(request, text) if section.entries]


@never_cache
def _palette(request: HttpRequest) -> HttpResponse:
    text = request.GET.get("q", "").replace("\x00", "").strip()[:TEXT_MAX_CHARS]
    return TemplateResponse(request, "admin/console/palette.html", {"sections": found_by(request, text)})


palette_page = admin.site.admin_view(_palette)

__all__ = ["ACTS", "SHOWN", "Entry", "Section", "Source", "found_by", "palette_page"]
