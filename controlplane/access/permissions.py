"""The table of controlplane.access.table, enforced. Imported by DRF's settings, so it imports no views."""

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from controlplane.access.policy import role_of_request
from controlplane.access.roles import Role
from controlplane.access.table import Door, rule_for
from controlplane.common.errors import Forbidden, Unauthorized
from controlplane.common.rest.errors import AUTHENTICATION_REQUIRED


class IsConsoleUser(BasePermission):
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
        role = role_of_request(request)
        if not isinstance(rule, Role) or role is None or role.rank < rule.rank:
            raise Forbidden(getattr(view, "refusal", "insufficient role"))
        return True
