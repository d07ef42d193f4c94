"""One error shape for the whole API: `{"detail": "<text>"}`, and for a bad request `{"detail": [<problem>, ...]}`.

A problem is `{"type", "loc", "msg", "input"}` with loc such as ["body", "kind"] or ["query", "limit"].
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.response import Response

from controlplane.common.clean import clean_text
from controlplane.common.errors import Conflict, Forbidden, Invalid, NotFound, TooMany, Unauthorized, Unavailable

logger = logging.getLogger(__name__)

AUTHENTICATION_REQUIRED = "authentication required"
# What is echoed of a wrong input, in characters of a text and items of a list or object.
ECHO_TEXT_MAX = 200
ECHO_ITEMS_MAX = 20
ECHO_DEPTH_MAX = 3
# Of these nothing is echoed: answers are logged by programs that others read.
SECRET_KEYS: Final = frozenset({"password"})
WITHHELD: Final = "***"
# DRF's codes in the words that clients of the reference control plane know.
_TYPES: Final = {
    "required": "missing",
    "invalid_choice": "enum",
    "max_length": "string_too_long",
    "min_length": "string_too_short",
    "blank": "string_too_short",
    "max_value": "less_than_equal",
    "min_value": "greater_than_equal",
    "not_a_list": "list_type",
    "not_a_dict": "dict_type",
    "null": "none_forbidden",
    "null_characters_not_allowed": "string_unstorable",
    "surrogate_characters_not_allowed": "string_unstorable",
    "invalid": "value_error",
}


class RequestInvalid(Exception):
    """The path, query or body of a request cannot be right; `problems` go out as they are."""

    def __init__(self, problems: list[dict[str, Any]]) -> None:
        super().__init__(problems)
        self.problems = problems


class PayloadTooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "request body is too large"
    default_code = "payload_too_large"


class TooManyRequests(exceptions.APIException):
    """Base of refusals that end by themselves: whoever asks again after `retry_after_s` may find room."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "too_many_requests"
    retry_after_s: int


def problem(kind: str, loc: Sequence[str | int], message: str, value: object) -> dict[str, Any]:
    is_secret = kind != "missing" and not SECRET_KEYS.isdisjoint(loc)
    return {
        "type": kind,
        "loc": [echo(part) for part in loc],
        "msg": message,
        "input": WITHHELD if is_secret else echo(value),
    }


def echo(value: object, depth: int = 0) -> Any:
    """What may be sent back of a wrong input: cut to ECHO_*_MAX, and always writable as JSON."""
    if isinstance(value, str):
        return clean_text(value, ECHO_TEXT_MAX)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 10**ECHO_ITEMS_MAX else echo(str(value)[:ECHO_TEXT_MAX])
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth >= ECHO_DEPTH_MAX:
        return "..."
    if isinstance(value, Mapping):
        pairs = list(value.items())[:ECHO_ITEMS_MAX]
        return {str(echo(str(key))): WITHHELD if key in SECRET_KEYS else echo(item, depth + 1) for key, item in pairs}
    if isinstance(value, (list, tuple)):
        return [echo(item, depth + 1) for item in value[:ECHO_ITEMS_MAX]]
    return echo(str(value))


def problems_of(detail: object, loc: tuple[str | int, ...], value: object) -> Iterator[dict[str, Any]]:
    """Flatten a serializer's errors; `value` is the input that they speak of, and is followed down with them."""
    if isinstance(detail, Mapping):
        for key, inner in detail.items():
            if key == "non_field_errors":
                yield from problems_of(inner, loc, value)
                continue
            yield from problems_of(inner, (*loc, key), _child(value, key))
    elif isinstance(detail, list):
        for inner in detail:
            yield from problems_of(inner, loc, value)
    elif isinstance(detail, exceptions.ErrorDetail):
        code = str(detail.code)
        kind = _TYPES.get(code, code)
        if code == "invalid" and not loc[1:]:
            kind = "dict_type"
        yield problem(kind, loc, "Field required" if kind == "missing" else str(detail), value)


def _child(value: object, key: object) -> object:
    """The input below `key`; of a missing key the object that should have held it."""
    if isinstance(value, Mapping):
        return value.get(key, value)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return value


# The first row that fits counts; without a text of its own an error is answered with what it says.
_ANSWERS: Final[tuple[tuple[tuple[type[Exception], ...], int, str | None], ...]] = (
    ((exceptions.NotAuthenticated,), status.HTTP_401_UNAUTHORIZED, AUTHENTICATION_REQUIRED),
    ((exceptions.AuthenticationFailed, Unauthorized), status.HTTP_401_UNAUTHORIZED, None),
    ((Forbidden, exceptions.PermissionDenied), status.HTTP_403_FORBIDDEN, None),
    ((PermissionDenied,), status.HTTP_403_FORBIDDEN, "permission denied"),
    # The reference control plane knows no 405: a verb that a path does not have is a path that does not exist.
    ((exceptions.MethodNotAllowed, exceptions.NotFound, Http404), status.HTTP_404_NOT_FOUND, "not found"),
    ((NotFound,), status.HTTP_404_NOT_FOUND, None),
    ((Conflict,), status.HTTP_409_CONFLICT, None),
    ((RequestDataTooBig,), status.HTTP_413_REQUEST_ENTITY_TOO_LARGE, PayloadTooLarge.default_detail),
    ((TooMany,), status.HTTP_429_TOO_MANY_REQUESTS, None),
    ((Unavailable,), status.HTTP_503_SERVICE_UNAVAILABLE, None),
    ((OperationalError, InterfaceError), status.HTTP_503_SERVICE_UNAVAILABLE, "the database is unavailable"),
)


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """The answer to an error that is somebody's fault, and None (a 500) for one that is ours."""
    if isinstance(exc, RequestInvalid):
        return Response({"detail": exc.problems}, status.HTTP_422_UNPROCESSABLE_ENTITY)
    if isinstance(exc, Invalid):
        return _invalid(exc, context.get("view"))
    for kinds, code, text in _ANSWERS:
        if isinstance(exc, kinds):
            return _detail(str(exc) if text is None else text, code, exc)
    if isinstance(exc, exceptions.APIException):
        return _detail(str(exc.detail), exc.status_code, exc)
    return None


def _invalid(exc: Invalid, view: Any) -> Response:
    """A service's verdict on a field of the body, or of the query where there is none, as a validation problem."""
    keys = exc.field.split(".") if exc.field else []
    is_read = view is not None and view.request.method in {"GET", "HEAD"}
    value = view.request.query_params if is_read else getattr(view, "raw_body", None)
    for key in keys:
        value = _child(value, key)
    problems = [problem(_TYPES.get(exc.code, exc.code), ["query" if is_read else "body", *keys], str(exc), value)]
    return Response({"detail": problems}, status.HTTP_422_UNPROCESSABLE_ENTITY)


def _detail(text: str, code: int, exc: Exception) -> Response:
    response = Response({"detail": text}, code)
    if code == status.HTTP_401_UNAUTHORIZED:
        response["WWW-Authenticate"] = 'Bearer realm="api"'
    elif (retry_after_s := getattr(exc, "retry_after_s", None)) is not None:
        response["Retry-After"] = str(retry_after_s)
    elif isinstance(exc, OperationalError | InterfaceError):
        logger.error("api.database_unavailable", exc_info=exc)
        response["Retry-After"] = "5"
    elif isinstance(exc, TooManyRequests):
        response["Retry-After"] = str(exc.retry_after_s)
    return response
