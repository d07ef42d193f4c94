"""The console: django-unfold, its navigation and its look."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

from controlplane.settings.base import BASE_DIR

STATICFILES_DIRS = [BASE_DIR / "static"]


def _asset(path: str) -> Callable[[HttpRequest], str]:
    return lambda _request: static(path)


def _may(permission: str) -> Callable[[HttpRequest], bool]:
    return lambda request: request.user.has_perm(permission)


def _item(title: Any, icon: str, view: str, permission: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{view}"), "permission": _may(permission)}


# What the command palette finds beside pages: functions of (request, text) that yield sections.
PALETTE_SOURCES = ["agents.admin.palette.fleet", "tasks_app.admin.palette.work", "notifications.admin.palette.told"]

STYLES = (
    "vendor/uplot/uPlot.min.css",
    *(
        f"console/{name}.css"
        for name in ("console", "events", "home", "instance", "notifications", "service", "system", "task")
    ),
)
SCRIPTS = (
    "vendor/uplot/uPlot.iife.min.js",
    *(
        f"console/{name}.js"
        for name in ("console", "live", "charts", "forms", "palette", "events", "instance", "task", "notifications")
    ),
)

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": _("Control plane"),
    "SITE_HEADER": _("Control plane"),
    "SITE_SYMBOL": "hub",
    "SITE_URL": None,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _asset("console/favicon.svg")}],
    "SHOW_LANGUAGES": True,
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "agents.admin.home.dashboard",
    "STYLES": [_asset(name) for name in STYLES],
    "SCRIPTS": [_asset(name) for name in SCRIPTS],
    "BORDER_RADIUS": "6px",
    "COLORS": {
        "primary": {
            "50": "oklch(97.1% .014 222)",
            "100": "oklch(94.2% .03 222)",
            "200": "oklch(88.9% .055 222)",
            "300": "oklch(80.5% .088 222)",
            "400": "oklch(70.5% .115 224)",
            "500": "oklch(60.5% .118 227)",
            "600": "oklch(50.5% .104 230)",
            "700": "oklch(43.5% .09 231)",
            "800": "oklch(38% .076 232)",
            "900": "oklch(33.5% .062 233)",
            "950": "oklch(26% .05 235)",
        },
    },
    "SIDEBAR": {
        "command_search": True,
        "show_all_applications": False,
        "navigation": [
            {
                "items": [
                    {
                        "title": _("Overview"),
                        "icon": "dashboard",
                        "link": reverse_lazy("admin:index"),
                    },
                ],
            },
            {
                "title": _("Fleet"),
                "items": [
                    _item(_("Services"), "deployed_code", "agents_service_changelist", "agents.view_service"),
                    _item(_("Instances"), "dns", "agents_instance_changelist", "agents.view_instance"),
                    _item(_("Nodes"), "lan", "agents_node_changelist", "agents.view_node"),
                    _item(_("Groups of instances"), "workspaces", "agents_group_changelist", "agents.view_group"),
                    {
                        "title": _("Selectors"),
                        "icon": "manage_search",
                        "link": reverse_lazy("selector_lab"),
                        "permission": _may("agents.view_instance"),
                    },
                    _item(_("Sessions"), "link", "agents_session_changelist", "agents.view_session"),
                    {
                        "title": _("Inventory"),
                        "icon": "inventory_2",
                        "link": reverse_lazy("inventory"),
                        "permission": _may("agents.view_instance"),
                    },
                    _item(_("Removals"), "delete_sweep", "agents_removal_changelist", "agents.view_removal"),
                ],
            },
            {
                "title": _("Work"),
                "items": [
                    _item(_("Tasks"), "account_tree", "tasks_app_task_changelist", "tasks_app.view_task"),
                    _item(_("Commands"), "terminal", "agents_command_changelist", "agents.view_command"),
                    _item(_("Fan-outs"), "call_split", "agents_fanout_changelist", "agents.view_fanout"),
                ],
            },
            {
                "title": _("Notifications"),
                "items": [
                    _item(
                        _("Alerts"),
                        "notifications_active",
                        "notifications_alert_changelist",
                        "notifications.view_alert",
                    ),
                    _item(_("Rules"), "rule_settings", "notifications_rule_changelist", "notifications.view_rule"),
                    _item(
                        _("Silences"),
                        "notifications_paused",
                        "notifications_silence_changelist",
                        "notifications.view_silence",
                    ),
                    _item(
                        _("Deliveries"), "outbox", "notifications_delivery_changelist", "notifications.view_delivery"
                    ),
                    _item(_("Channels"), "campaign", "notifications_channel_changelist", "notifications.view_channel"),
                ],
            },
            {
                "title": _("History"),
                "items": [_item(_("Events"), "history", "agents_event_changelist", "agents.view_event")],
            },
            {
                "title": _("Access"),
                "items": [
                    {
                        "title": _("Users and tokens"),
                        "icon": "shield_person",
                        "link": reverse_lazy("access"),
                        "permission": _may("access.view_apitoken"),
                    },
                    _item(_("Agent tokens"), "key", "agents_agenttoken_changelist", "agents.view_agenttoken"),
                    _item(_("API tokens"), "vpn_key", "access_apitoken_changelist", "access.view_apitoken"),
                    _item(_("Users"), "person", "auth_user_changelist", "auth.view_user"),
                    _item(_("Groups"), "group", "auth_group_changelist", "auth.view_group"),
                    _item(_("Logins"), "login", "access_successfullogin_changelist", "access.view_successfullogin"),
                    _item(_("Failed logins"), "block", "access_failedlogin_changelist", "access.view_failedlogin"),
                ],
            },
            {
                "title": _("System"),
                "items": [
                    {
                        "title": _("State of the portal"),
                        "icon": "monitor_heart",
                        "link": reverse_lazy("system"),
                        "permission": _may("access.view_apitoken"),
                    },
                    _item(_("Portal processes"), "memory", "agents_replica_changelist", "agents.view_replica"),
                    _item(
                        _("Background jobs"),
                        "schedule",
                        "agents_backgroundjob_changelist",
                        "agents.view_backgroundjob",
                    ),
                    _item(
                        _("Schedules"),
                        "event_repeat",
                        "django_celery_beat_periodictask_changelist",
                        "django_celery_beat.view_periodictask",
                    ),
                    {
                        "title": _("API docs"),
                        "icon": "api",
                        "link": reverse_lazy("api-docs"),
                        "permission": _may("agents.view_service"),
                    },
                ],
            },
        ],
    },
}
