"""The permission table for every URL that is neither below /api nor of an admin, by verb."""

from collections.abc import Mapping
from typing import Final

from controlplane.access.roles import Role
from controlplane.access.table import UNKNOWN_ROUTE, Door, Rule

OPEN: Final[Mapping[str, Rule]] = {"GET": Door.ANYBODY}
STAFF: Final[Mapping[str, Rule]] = {"GET": Door.STAFF}
STAFF_FORM: Final[Mapping[str, Rule]] = {"GET": Door.STAFF, "POST": Door.STAFF}
# Django makes its pattern of the labels of all apps with an admin.
APP_LIST: Final = "admin/<app_label>/"

PAGES: Final[Mapping[str, Mapping[str, Rule]]] = {
    "healthz": OPEN,
    "readyz": OPEN,
    "metrics": {"GET": Door.PROGRAM},
    "favicon.ico": OPEN,
    # They lead to the console, which asks for the login.
    "": OPEN,
    "admin": OPEN,
    "admin/login/": {"GET": Door.ANYBODY, "POST": Door.ANYBODY},
    "admin/language/setlang/": {"POST": Door.ANYBODY},
    "admin/logout/": {"POST": Door.ANYBODY},
    "admin/login-again/": STAFF_FORM,
    "admin/password_change/": STAFF_FORM,
    "admin/password_change/done/": STAFF,
    "admin/time-zone/": STAFF_FORM,
    # What these show is cut to what the reader may see.
    "admin/": STAFF,
    "admin/palette/": STAFF,
    "admin/live/": STAFF,
    "admin/charts/work/": {"GET": Role.VIEWER},
    # The token that it makes is what takes the role.
    "admin/connect/": {"GET": Role.ADMIN, "POST": Role.ADMIN},
    "admin/connect/live/": {"GET": Role.VIEWER},
    "admin/selectors/": {"GET": Role.VIEWER},
    "admin/selectors/known/": {"GET": Role.VIEWER},
    "admin/selectors/matches/": {"GET": Role.VIEWER},
    "admin/events/chart/": {"GET": Role.VIEWER},
    "admin/events/facets/": {"GET": Role.VIEWER},
    "admin/events/new/": {"GET": Role.VIEWER},
    # Views of lists that one may see; others' are theirs alone.
    "admin/views/": {"POST": Role.VIEWER},
    "admin/views/<int:view_id>/": {"POST": Role.VIEWER},
    "admin/views/<int:view_id>/delete/": {"POST": Role.VIEWER},
    # And for what stops an instance the role admin and a recent login.
    "admin/fan-outs/send/": {"GET": Role.OPERATOR, "POST": Role.OPERATOR},
    "admin/notifications/scope/": {"GET": Role.VIEWER},
    # It only asks.
    "admin/notifications/replay/": {"POST": Role.VIEWER},
    "admin/notifications/silence-replay/": {"POST": Role.VIEWER},
    APP_LIST: STAFF,
    "admin/inventory/": {"GET": Role.VIEWER},
    "admin/inventory/capabilities/": {"GET": Role.VIEWER},
    "admin/inventory/suspects/": {"GET": Role.VIEWER},
    "admin/inventory/archive/": {"POST": Role.OPERATOR},
    "admin/system/": {"GET": Role.ADMIN},
    "admin/system/live/": {"GET": Role.ADMIN},
    "admin/system/report.json": {"GET": Role.ADMIN},
    "admin/access/": {"GET": Role.ADMIN},
    "admin/access/live/": {"GET": Role.ADMIN},
    "admin/access/roles/": STAFF,
    "admin/search/": STAFF,
    "admin/jsi18n/": STAFF,
    # And what it completes: it asks the admin of that model.
    "admin/autocomplete/": {"GET": Role.VIEWER},
    "admin/r/<path:content_type_id>/<path:object_id>/": STAFF,
    # No page: an answer that says so.
    "admin/(?P<url>.*)$": STAFF,
    UNKNOWN_ROUTE: OPEN,
}
# Files of the console itself, served before any URL is looked up.
STATIC_FILES: Final[Rule] = Door.ANYBODY
