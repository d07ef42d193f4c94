"""GET /metrics. Source: contract 8."""

import logging
import re
from collections.abc import AsyncIterator

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from agents.selectors.visibility import Environments
from controlplane.common.errors import Forbidden, Unauthorized
from controlplane.prometheus.door import NoTokens, environments_of_bearer
from controlplane.prometheus.kept import Busy, Keeper
from controlplane.prometheus.portal import portal_text
from controlplane.prometheus.series import write_series
from controlplane.prometheus.text import CONTENT_TYPE, Exposition, Writer

logger = logging.getLogger(__name__)

_RETRY_AFTER_S = "5"
_TAKES_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)
keeper = Keeper()


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponseBase:
    """The series of tasks that the bearer may see and, where it sees all, what the portal tells of itself.

    401 without a good bearer, 403 for an API token of somebody without a role, 503 where no token is configured, the
    database is away or answers for others are being made.
    """
    try:
        environments = environments_of_bearer(request)
        exposition = keeper.get(environments, lambda: made(environments), ttl_s=settings.PROMETHEUS_CACHE_TTL_S)
    except Unauthorized as error:
        return _refusal(401, str(error), {"WWW-Authenticate": 'Bearer realm="metrics"'})
    except Forbidden as error:
        return _refusal(403, str(error))
    except NoTokens as error:
        return _refusal(503, str(error))
    except Busy as error:
        return _refusal(503, str(error), {"Retry-After": _RETRY_AFTER_S})
    except DatabaseError as error:
        logger.warning("metrics.database_silent error=%s", type(error).__name__)
        return _refusal(503, "the database is away", {"Retry-After": _RETRY_AFTER_S})
    return _answer(request, exposition)


def made(environments: Environments) -> Exposition:
    """An answer for whoever sees these environments; None sees all. Memory: see `write_series`."""
    now = timezone.now()
    writer = Writer()
    write_series(writer, now=now, environments=environments)
    # Counts over the whole portal would tell of what does not exist for a token that is narrowed.
    if environments is None:
        writer.write(portal_text(now))
    return writer.finished()


def _answer(request: HttpRequest, exposition: Exposition) -> HttpResponseBase:
    """Compressed for whoever takes that, as Prometheus does: kept so, an answer is a sixth of its size."""
    response: HttpResponseBase
    if _TAKES_GZIP.search(request.headers.get("Accept-Encoding", "")):
        response = HttpResponse(exposition.compressed, content_type=CONTENT_TYPE)
        response.headers["Content-Encoding"] = "gzip"
    else:
        response = StreamingHttpResponse(_streamed(exposition), content_type=CONTENT_TYPE)
    patch_vary_headers(response, ("Accept-Encoding", "Authorization"))
    return response


async def _streamed(exposition: Exposition) -> AsyncIterator[bytes]:
    for piece in exposition.pieces():
        yield piece


def _refusal(status: int, detail: str, headers: dict[str, str] | None = None) -> JsonResponse:
    response = JsonResponse({"detail": detail}, status=status, headers=headers)
    # Django would log an error per scrape for what the body says already.
    response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001
    return response
