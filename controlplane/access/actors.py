"""Who acts in a request, as history tells it."""

from django.http import HttpRequest
from rest_framework.request import Request

from controlplane.access.policy import token_of
from controlplane.common.actors import Actor
from controlplane.common.clean import clean_text
from controlplane.common.rest.paths import API_PREFIX

CONSOLE = "console"
API = "api"
ADDRESS_MAX_CHARS = 64


def actor_of(request: HttpRequest | Request) -> Actor:
    """The person of the session, or the one whose token the program shows, and from where they act.

    Raises TypeError where nobody proved who they are.
    """
    user = request.user
    if not user.is_authenticated:
        raise TypeError("An anonymous request acts as nobody.")
    token = token_of(request)
    return Actor(
        name=user.get_username(),
        user_id=user.pk,
        address=address_of(request),
        token=token.name if token is not None else "",
        via=surface_of(request),
    )


def address_of(request: HttpRequest | Request) -> str:
    """The address of the peer; behind TRUSTED_PROXIES the server has put the client's in its place already."""
    return clean_text(str(request.META.get("REMOTE_ADDR") or ""), ADDRESS_MAX_CHARS)


def surface_of(request: HttpRequest | Request) -> str:
    """`api` or `console`."""
    return API if request.path_info.startswith(API_PREFIX) else CONSOLE
