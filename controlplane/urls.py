"""Every URL of the portal. New routes below api/ go above the catch-all and into controlplane/access/table.py."""

from csp.decorators import csp_update
from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path, register_converter
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularSwaggerSplitView

from agents.admin.connect import connect_live, connect_page
from agents.admin.event_list import event_chart, event_facets, event_new
from agents.admin.fan_out_form import send_view
from agents.admin.home import live_home
from agents.admin.inventory import archive_chosen, capabilities_part, inventory_page, suspects_part
from agents.admin.saved_views import change_saved_view, delete_saved_view, save_list_view
from agents.admin.selectors import selector_known, selector_lab, selector_matches
from agents.gateways.argus.views import unknown as unknown_in_registry
from agents.gateways.onestep.views import presence
from controlplane.access.table import UNKNOWN_NODE_ROUTE, UNKNOWN_ROUTE
from controlplane.common.rest.document import DocumentView
from controlplane.common.rest.paths import NameConverter
from controlplane.common.rest.views import NotFoundView
from controlplane.console.palette import palette_page
from controlplane.console.views import browsers_log_in, change_own_password, favicon, login_again
from controlplane.console.zones import zone_page
from controlplane.health import healthz, node_healthz, node_readyz, readyz
from controlplane.prometheus.views import metrics
from controlplane.system.access_page import access_live, access_page
from controlplane.system.api import SystemView
from controlplane.system.roles import roles_page
from controlplane.system.views import system_file, system_live, system_page
from notifications.admin.rule import draft_replay
from notifications.admin.scopes import scope_view
from notifications.admin.silence import draft_silence_replay
from tasks_app.admin.work_chart import work_chart

# The script of the page is an answer of its own, since no inline script runs.
_api_docs = csp_update(settings.CSP_OF_API_DOCS)(
    browsers_log_in(SpectacularSwaggerSplitView.as_view(url_name="api-schema"))
)

register_converter(NameConverter, "name")

urlpatterns = [
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
    path("favicon.ico", favicon),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/login-again/", login_again, name="login_again"),
    path("admin/password_change/", change_own_password),
    path("admin/time-zone/", zone_page, name="console_zone"),
    path("admin/palette/", palette_page, name="console_palette"),
    path("admin/live/", admin.site.admin_view(live_home), name="home_live"),
    path("admin/connect/", admin.site.admin_view(connect_page), name="connect"),
    path("admin/connect/live/", admin.site.admin_view(connect_live), name="connect_live"),
    path("admin/inventory/", admin.site.admin_view(inventory_page), name="inventory"),
    path("admin/inventory/capabilities/", admin.site.admin_view(capabilities_part), name="inventory_capabilities"),
    path("admin/inventory/suspects/", admin.site.admin_view(suspects_part), name="inventory_suspects"),
    path("admin/inventory/archive/", admin.site.admin_view(archive_chosen), name="inventory_archive"),
    path("admin/charts/work/", admin.site.admin_view(work_chart), name="chart_work"),
    path("admin/selectors/", admin.site.admin_view(selector_lab), name="selector_lab"),
    path("admin/selectors/known/", admin.site.admin_view(selector_known), name="selector_known"),
    path("admin/selectors/matches/", admin.site.admin_view(selector_matches), name="selector_matches"),
    path("admin/fan-outs/send/", admin.site.admin_view(send_view), name="fan_out_send"),
    path("admin/system/", admin.site.admin_view(system_page), name="system"),
    path("admin/system/live/", admin.site.admin_view(system_live), name="system_live"),
    path("admin/system/report.json", admin.site.admin_view(system_file), name="system_file"),
    path("admin/access/", admin.site.admin_view(access_page), name="access"),
    path("admin/access/live/", admin.site.admin_view(access_live), name="access_live"),
    path("admin/access/roles/", admin.site.admin_view(roles_page), name="access_roles"),
    path("admin/events/chart/", admin.site.admin_view(event_chart), name="events_chart"),
    path("admin/events/facets/", admin.site.admin_view(event_facets), name="events_facets"),
    path("admin/events/new/", admin.site.admin_view(event_new), name="events_new"),
    path("admin/views/", admin.site.admin_view(save_list_view), name="view_save"),
    path("admin/views/<int:view_id>/", admin.site.admin_view(change_saved_view), name="view_change"),
    path("admin/views/<int:view_id>/delete/", admin.site.admin_view(delete_saved_view), name="view_delete"),
    path("admin/notifications/scope/", admin.site.admin_view(scope_view), name="notification_scope"),
    path(
        "admin/notifications/silence-replay/",
        admin.site.admin_view(draft_silence_replay),
        name="notification_silence_replay",
    ),
    path("admin/notifications/replay/", admin.site.admin_view(draft_replay), name="notification_replay"),
    path("admin/language/", include("django.conf.urls.i18n")),
    path("admin/", admin.site.urls),
    path("api/v1/agents/presence", presence),
    path("api/v1/master/healthz", node_healthz),
    path("api/v1/master/readyz", node_readyz),
    path("api/v1/master/", include("agents.gateways.argus.urls")),
    re_path(UNKNOWN_NODE_ROUTE, unknown_in_registry),
    path("api/v1/", include("controlplane.access.api.urls")),
    path("api/v1/", include("agents.api.urls")),
    path("api/v1/", include("tasks_app.api.urls")),
    path("api/v1/", include("notifications.api.urls")),
    path("api/v1/system", SystemView.as_view()),
    path("api/schema/", browsers_log_in(DocumentView.as_view()), name="api-schema"),
    path("api/docs/", _api_docs, name="api-docs"),
    re_path(UNKNOWN_ROUTE, NotFoundView.as_view()),
]
handler500 = "controlplane.common.rest.views.server_error"
