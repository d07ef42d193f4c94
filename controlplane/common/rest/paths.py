"""Names in paths, whatever is in them.

ASGI servers decode `%2F` before Django sees the path, so a service called `a/b` could not be told from two segments.
The middleware rebuilds the path from the raw one, with each segment in one spelling, and the converter `name` decodes
its segment once.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import quote, unquote

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

API_PREFIX = "/api/"


def encode_segment(text: str) -> str:
    """One path segment in the only spelling that the converter `name` knows: `%` and `/` escaped, nothing else."""
    return text.replace("%", "%25").replace("/", "%2F")


def decode_segment(segment: str) -> str:
    return segment.replace("%2F", "/").replace("%25", "%")


def routed_path(request: HttpRequest) -> str:
    """The path to route by, with every segment spelled by `encode_segment`.

    Without a raw path (Django's test client) a decoded slash cannot be told from a separator and stays one.
    """
    scope = getattr(request, "scope", {})
    raw = scope.get("raw_path")
    if raw is None:
        return "/".join(segment.replace("%", "%25") for segment in request.path_info.split("/"))
    path = bytes(raw).decode("ascii", "replace").partition("?")[0]
    prefix = quote(scope.get("root_path") or "")
    return "/".join(encode_segment(unquote(segment)) for segment in path.removeprefix(prefix).split("/"))


@sync_and_async_middleware
def api_path_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]:
    """Route requests below API_PREFIX by their raw path."""

    def route(request: HttpRequest) -> None:
        if request.path_info.startswith(API_PREFIX):
            request.path_info = routed_path(request)

    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponseBase:
            route(request)
            response: HttpResponseBase = await get_response(request)
            return response

        return asynchronous

    def synchronous(request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        route(request)
        return get_response(request)

    return synchronous


class NameConverter:
    """A path segment that holds a name of any characters."""

    regex = "[^/]+"

    def to_python(self, value: str) -> str:
        return decode_segment(value)

    def to_url(self, value: str) -> str:
        # Django quotes what a converter returns, `%` included, so only the slash needs a spelling of its own.
        return encode_segment(value)
