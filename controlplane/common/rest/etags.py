"""Answers that a client may keep, and ask whether they still hold."""

import hashlib

from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response, patch_vary_headers
from rest_framework.request import Request
from rest_framework.response import Response

# May be kept by who asked, and is asked for again each time.
CACHE_CONTROL = "private, no-cache"


def etag_of(content: bytes) -> str:
    """A strong ETag of a body."""
    return f'"{hashlib.blake2b(content, digest_size=16).hexdigest()}"'


def tag(request: Request, response: Response) -> Response:
    """Give an answer a strong ETag of its body; one that the client has already is answered with 304 and no body."""
    response["Cache-Control"] = CACHE_CONTROL
    patch_vary_headers(response, ["Accept"])

    def finish(rendered: Response) -> HttpResponseBase:
        rendered["ETag"] = etag_of(rendered.content)
        http = request._request  # noqa: SLF001 -- Django's own check reads its own request
        return get_conditional_response(http, etag=rendered["ETag"], response=rendered) or rendered

    response.add_post_render_callback(finish)
    return response
