"""The table of controlplane.access.table, enforced. Imported by DRF's settings, so it imports no views."""

from rest_framework.request import Request

from controlplane.access.standing import admission_of, admissions, is_let_in, login_of
from controlplane.access.table import Door, rule_for
from controlplane.common.errors import Forbidden, Unauthorized
from controlplane.common.rest.errors import AUTHENTICATION_REQUIRED
from controlplane.common.rest.standing import LastingPermission, Stands


class IsConsoleUser(LastingPermission):
    """Lets in whoever has the role that the table asks for this route and verb; nobody where it asks for none."""

    def has_permission(self, request: Request, view: object) -> bool:
        match = request.resolver_match
        rule = rule_for(match.route, request.method or "") if match else None
        if rule is Door.ANYBODY:
            return True
        if not request.user.is_authenticated:
            raise Unauthorized(AUTHENTICATION_REQUIRED)
        if rule is Door.LOGGED_IN:
            return True
        if match is None or not is_let_in(request, match.route, request.method or ""):
            raise Forbidden(getattr(view, "refusal", "insufficient role"))
        return True

    def standing_of(self, request: Request) -> Stands:
        """Whether it would be let in to see the same."""
        login, admitted = login_of(request), admission_of(request)
        match = request.resolver_match
        route = match.route if match else ""
        return lambda: admissions([login], route=route)[login] == admitted
