"""Who calls the API: a program with an API token, or a person with a console session."""

from django.contrib.auth.models import User
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from controlplane.access.actors import address_of
from controlplane.access.models import ApiToken
from controlplane.access.origins import ensure_own_origin
from controlplane.access.services import SECRET_PREFIX, use_api_token

REALM = 'Bearer realm="api"'
UNKNOWN_TOKEN = "the API token is unknown, revoked or expired"  # noqa: S105 -- a sentence, no secret


class ApiTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer opt_...`. A bearer that is wrong is refused, even beside a good session."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        scheme, _, secret = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        secret = secret.strip()
        token = use_api_token(secret, address=address_of(request)) if secret.startswith(SECRET_PREFIX) else None
        if token is None:
            raise AuthenticationFailed(UNKNOWN_TOKEN)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 -- DRF's signature
        return REALM


class ConsoleSessionAuthentication(SessionAuthentication):
    """The session of the console. Unsafe verbs are taken from pages of trusted origins only, and need no token."""

    def enforce_csrf(self, request: HttpRequest | Request) -> None:
        ensure_own_origin(request._request if isinstance(request, Request) else request)  # noqa: SLF001 -- as DRF does

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 -- DRF's signature
        return REALM
