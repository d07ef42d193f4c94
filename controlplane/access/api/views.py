"""Logins of the console for programs and for consoles of their own: the session of a cookie, no bearer."""

from django.contrib.auth import logout
from django.contrib.auth.models import User
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.response import Response

from controlplane.access.api.serializers import LoginBody, SessionInfoSerializer
from controlplane.access.authentication import ConsoleSessionAuthentication
from controlplane.access.logins import log_in, log_out_everywhere, session_info
from controlplane.access.origins import ensure_own_origin
from controlplane.common.rest.views import ApiView, endpoint


class _SessionOfCookieView(ApiView):
    authentication_classes = (ConsoleSessionAuthentication,)

    def perform_authentication(self, request: Request) -> None:
        """A foreign page may not log in or out whoever looks at it, logged in or not."""
        ensure_own_origin(request._request)  # noqa: SLF001 -- DRF offers no other way to it
        super().perform_authentication(request)

    @property
    def http(self) -> HttpRequest:
        """The request that has the session; DRF's passes reads on to it, but no writes."""
        return self.request._request  # noqa: SLF001 -- DRF offers no other way to it

    def info(self) -> Response:
        """Who is logged in now, as this request leaves it."""
        return Response(SessionInfoSerializer(session_info(self.http.user)).data)


class AuthSessionView(_SessionOfCookieView):
    """Answers 200 whoever asks."""

    @endpoint("Who is logged in", responds=SessionInfoSerializer, open_to_anybody=True)
    def get(self) -> Response:
        return self.info()


class AuthLoginView(_SessionOfCookieView):
    """Sets the cookie of a new session and ends the user's other sessions. After too many failures of one username
    from one address, 429 instead of 401 until `Retry-After`; 503 where no user exists yet."""

    @endpoint(
        "Log in",
        responds=SessionInfoSerializer,
        body=LoginBody,
        refusals=(401, 403, 429),
        open_to_anybody=True,
        example={"username": "ann", "password": "secret"},
    )
    def post(self) -> Response:
        log_in(self.http, username=self.body["username"], password=self.body["password"])
        return self.info()


class AuthLogoutView(_SessionOfCookieView):
    """Ends the session of the cookie, if there is one, and clears the cookie."""

    @endpoint("Log out", responds=SessionInfoSerializer, refusals=(403,), open_to_anybody=True)
    def post(self) -> Response:
        logout(self.http)
        return self.info()


class AuthLogoutAllView(_SessionOfCookieView):
    """Ends every session of whoever is logged in, on the console as well, and clears the cookie."""

    @endpoint("Log out everywhere", responds=SessionInfoSerializer)
    def post(self) -> Response:
        user = self.http.user
        if not isinstance(user, User):
            raise TypeError("Nobody is logged in.")
        log_out_everywhere(self.http, user)
        return self.info()
