"""That everything which can be called stands in the permission table. Asked once, when a process starts to serve."""

import re
from collections.abc import Iterable, Iterator, Mapping

from django.contrib.admin import AdminSite
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver

from controlplane.access.console import MODELS, model_rules_of
from controlplane.access.pages import APP_LIST, PAGES
from controlplane.access.sockets import SOCKETS
from controlplane.access.table import API_ROUTES, Rule

_APP_LIST = re.compile(r"admin/\^\(\?P<app_label>[^)]*\)/\$")


def rules_of(route: str) -> Mapping[str, Rule] | None:
    """The rules by verb of any route, as `routes` names it; None where the table has none."""
    for part in (API_ROUTES, PAGES):
        if route in part:
            return part[route]
    return model_rules_of(route)


def routes(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    """Every route that is served, in the order in which they are tried."""
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield APP_LIST if _APP_LIST.fullmatch(route) else route
        else:
            yield from routes(pattern, route)


def undeclared(resolver: URLResolver, site: AdminSite, sockets: Iterable[str]) -> list[str]:
    """Every route, action and socket that stands nowhere in the table, in words."""
    missing = [f"the URL {route!r}" for route in routes(resolver) if rules_of(route) is None]
    for model, model_admin in site._registry.items():  # noqa: SLF001 -- public only from Django 6 on
        rules = MODELS.get(model._meta.label_lower)
        known = rules.actions if rules is not None else {}
        missing += [
            f"the action {action!r} of {model._meta.label_lower}"
            for action in model_admin.actions or ()
            if action not in known
        ]
    return missing + [f"the socket {path!r}" for path in sockets if path not in SOCKETS]


def ensure_declared(resolver: URLResolver, site: AdminSite, sockets: Iterable[str]) -> None:
    """Raise ImproperlyConfigured where something could be called that nobody said who may call."""
    missing = undeclared(resolver, site, sockets)
    if missing:
        raise ImproperlyConfigured(
            f"The permission table in controlplane/access has no rule for {', '.join(missing)}. Nothing is served."
        )
