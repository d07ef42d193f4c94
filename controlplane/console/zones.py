"""The time zone in which somebody reads the console: chosen by hand, else that of the browser, else the portal's own.

Both are cookies, so that they hold before the login and on every page; what they say is believed only where it names a
zone. The API stays in the portal's own time zone.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote
from zoneinfo import ZoneInfo, available_timezones

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from controlplane.common.headers import CONSOLE_PREFIX
from controlplane.console.formatting import offset_words
from controlplane.console.views import safe_next

# Chosen on the page of time zones.
CHOSEN_COOKIE: Final = "console_zone"
# Written by console.js with what the browser says of itself.
BROWSER_COOKIE: Final = "console_zone_of_browser"
KEPT_S: Final = 365 * 86400
# Only names of places and UTC are offered; others ("EST5EDT", "posix/…") are read where a browser has them.
_REGIONS: Final = frozenset(
    "Africa America Antarctica Arctic Asia Atlantic Australia Europe Indian Pacific".split()  # noqa: SIM905 -- a list of ten words
)
_NAME_MAX_CHARS = 64


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(available_timezones())


@lru_cache(maxsize=1)
def offered_names() -> tuple[str, ...]:
    """The zones to choose from, by name."""
    return ("UTC", *sorted(name for name in _names() if name.split("/")[0] in _REGIONS and "/" in name))


def zone_named(name: str) -> ZoneInfo | None:
    """The zone of that name, None for anything else; no file is looked for by a name that is no zone's."""
    if len(name) > _NAME_MAX_CHARS or name not in _names():
        return None
    return ZoneInfo(name)


def _from_cookie(request: HttpRequest, cookie: str) -> ZoneInfo | None:
    return zone_named(unquote(request.COOKIES.get(cookie, "")))


def zone_of(request: HttpRequest) -> ZoneInfo | None:
    """What the viewer reads times in; None for the portal's own zone."""
    return _from_cookie(request, CHOSEN_COOKIE) or _from_cookie(request, BROWSER_COOKIE)


class ViewerZone:
    """Middleware: pages of the console are made in the zone of who reads them, and nothing else is."""

    sync_capable = True
    # The probes pass here on the server's event loop, and were sent to a thread for its sake.
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if iscoroutinefunction(self):
            return self.__acall__(request)
        with _read_in(request):
            return self.get_response(request)

    async def __acall__(self, request: HttpRequest) -> Any:
        with _read_in(request):
            return await self.get_response(request)


def _read_in(request: HttpRequest) -> AbstractContextManager[object]:
    zone = zone_of(request) if request.path_info.startswith(CONSOLE_PREFIX) else None
    return nullcontext() if zone is None else timezone.override(zone)


def zone_label(now: datetime | None = None) -> str:
    """The zone of this page in words: `Europe/Berlin (UTC+1)`."""
    name = timezone.get_current_timezone_name()
    offset = offset_words(timezone.localtime(now))
    return name if name == offset else f"{name} ({offset})"


def _zone_page(request: HttpRequest) -> HttpResponse:
    """Choose the zone by hand, or leave it to the browser."""
    if request.method == "POST":
        return _choose(request)
    now = timezone.now()
    browser = _from_cookie(request, BROWSER_COOKIE)
    chosen = _from_cookie(request, CHOSEN_COOKIE)
    request.current_app = admin.site.name
    context = {
        **admin.site.each_context(request),
        "title": _("Time zone"),
        "browser_zone": browser.key if browser else settings.TIME_ZONE,
        "chosen": chosen.key if chosen else "",
        "zones": [(name, offset_words(now.astimezone(ZoneInfo(name)))) for name in offered_names()],
        "now": now,
        "next": safe_next(request),
    }
    return TemplateResponse(request, "admin/console/zone.html", context)


def _choose(request: HttpRequest) -> HttpResponse:
    name = request.POST.get("zone", "")
    zone = zone_named(name)
    if name and zone is None:
        messages.error(request, gettext("There is no such time zone."))
        return HttpResponseRedirect(reverse("console_zone"))
    response = HttpResponseRedirect(safe_next(request))
    if zone is None:
        response.delete_cookie(CHOSEN_COOKIE, path=CONSOLE_PREFIX, samesite="Lax")
    else:
        response.set_cookie(
            CHOSEN_COOKIE,
            zone.key,
            max_age=KEPT_S,
            path=CONSOLE_PREFIX,
            secure=request.is_secure(),
            httponly=True,
            samesite="Lax",
        )
    return response


zone_page = admin.site.admin_view(_zone_page)
