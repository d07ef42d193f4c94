"""What answers let browsers do: Content-Security-Policy and Permissions-Policy."""

from typing import Final

from csp.constants import HEADER
from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

CONSOLE_PREFIX: Final = "/admin/"
# Of data: a browser that shows it as a page, tricked or not, runs and loads nothing.
DATA_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
# No page of the portal has a use for any of these.
PERMISSIONS_POLICY: Final = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer",
        "camera",
        "display-capture",
        "geolocation",
        "gyroscope",
        "magnetometer",
        "microphone",
        "midi",
        "payment",
        "screen-wake-lock",
        "serial",
        "usb",
        "xr-spatial-tracking",
    )
)


class BrowserPolicies(CSPMiddleware):
    """CONTENT_SECURITY_POLICY on pages, DATA_POLICY on everything else, PERMISSIONS_POLICY on both."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        if not response.headers.get("Content-Type", "").startswith("text/html"):
            response.headers.setdefault(HEADER, DATA_POLICY)
            return response
        return super().process_response(request, response)

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if request.path_info.startswith(CONSOLE_PREFIX) and parts.update is None:
            parts.update = settings.CSP_OF_CONSOLE
        return parts
