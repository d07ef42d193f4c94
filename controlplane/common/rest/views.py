"""The way of an API request: who, then what, then whether they may, then whether it exists.

Each handler declares by `endpoint` what it takes and gives; the view validates by that before the handler runs, and
the OpenAPI document is drawn from it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ClassVar, TypeVar, cast

from django.conf import settings
from django.core.exceptions import TooManyFieldsSent
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils import translation
from django.views import defaults
from rest_framework import exceptions, serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from controlplane.common.rest.errors import PayloadTooLarge, RequestInvalid, problem, problems_of
from controlplane.common.rest.etags import tag
from controlplane.common.rest.fields import BodySerializer, QuerySerializer, unstorable
from controlplane.common.rest.paths import API_PREFIX
from controlplane.common.rest.renderers import ApiRenderer
from controlplane.common.rest.standing import LastingPermission, Stands

BODY_MAX_BYTES = 2 * 1024 * 1024
View = TypeVar("View", bound="ApiView")
Answer = TypeVar("Answer", bound=HttpResponseBase)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What one handler takes and gives. `refusals` are the statuses that it can answer beside those of all.

    All answer 422, 503, 401 and 403, and 413 where they are not a GET; one that is `open_to_anybody` asks for no login,
    and names 401 and 403 among its refusals where it has them. `example` is a body that the document shows.
    Answers of one that is `tagged` carry an ETag. `status` is that of a good answer.
    """

    summary: str
    # None where it is no JSON.
    responds: type[serializers.BaseSerializer[Any]] | None
    query: type[QuerySerializer] | None = None
    body: type[BodySerializer] | None = None
    refusals: tuple[int, ...] = ()
    open_to_anybody: bool = False
    # Of a good answer.
    media_type: str = "application/json"
    # Request headers that count, with what they mean.
    headers: Mapping[str, str] = field(default_factory=dict)
    tagged: bool = False
    example: Mapping[str, Any] | None = None
    status: int = 200

    @property
    def gives_files(self) -> bool:
        """Whether a query may ask for the whole list as a file."""
        return self.query is not None and "format" in self.query().fields


def endpoint(
    summary: str,
    *,
    responds: type[serializers.BaseSerializer[Any]] | None,
    query: type[QuerySerializer] | None = None,
    body: type[BodySerializer] | None = None,
    refusals: tuple[int, ...] = (),
    open_to_anybody: bool = False,
    media_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
    tagged: bool = False,
    example: Mapping[str, Any] | None = None,
    status: int = 200,
) -> Callable[[Callable[[View], HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """Declare a handler of an ApiView; a handler without this answers 404. It takes what the view validated."""

    def declare(handler: Callable[[View], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @wraps(handler)
        def handle(view: View, *args: object, **kwargs: object) -> HttpResponseBase:  # noqa: ARG001 -- DRF's signature
            answer = handler(view)
            return tag(view.request, answer) if tagged and isinstance(answer, Response) else answer

        handle.endpoint = Endpoint(  # type: ignore[attr-defined]
            summary,
            responds,
            query,
            body,
            refusals,
            open_to_anybody,
            media_type,
            headers or {},
            tagged,
            example,
            status,
        )
        return handle

    return declare


class ApiView(APIView):
    """Checks in this order: 401, 413 and 422, then 403 by the permission classes; 404 and 409 are the handler's.

    `params`, `query` and `body` hold validated data when the handler runs.
    """

    http_method_names = ["get", "head", "post", "put", "patch", "delete"]
    renderer_classes = (ApiRenderer,)
    # One validating field for each keyword of the route.
    path_fields: ClassVar[Mapping[str, serializers.Field[Any, Any, Any, Any]]] = {}
    # What a requester below the route's minimal role is told.
    refusal: ClassVar[str] = "insufficient role"

    params: Mapping[str, Any]
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    raw_body: object = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        # Detail texts are part of the interface: programs compare them, whatever language their proxy asks for.
        with translation.override("en"):
            return super().dispatch(request, *args, **kwargs)

    @classmethod
    def endpoint_of(cls, method: str) -> Endpoint | None:
        name = "get" if method.upper() == "HEAD" else method.lower()
        found = getattr(getattr(cls, name, None), "endpoint", None)
        return found if isinstance(found, Endpoint) else None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002 -- DRF's signature
        self.format_kwarg = None
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(request, force=True)
        declared = self.endpoint_of(request.method or "")
        if declared is None:
            raise exceptions.NotFound
        self.perform_authentication(request)
        if not request.user.is_authenticated and not declared.open_to_anybody:
            raise exceptions.NotAuthenticated
        self.params = self._validate_path(kwargs)
        self.query = self._validate_query(request, declared)
        self.body = self._validate_body(request, declared)
        self.check_permissions(request)
        self.check_throttles(request)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        finished = super().finalize_response(request, response, *args, **kwargs)
        finished.headers.setdefault("Cache-Control", "no-store")
        return finished

    def standing(self) -> Stands:
        """What tells, at any later time and in any thread, whether this request would still be let in."""
        permissions = cast("list[LastingPermission]", self.get_permissions())
        standings = [permission.standing_of(self.request) for permission in permissions]
        return lambda: all(stands() for stands in standings)

    def _validate_path(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        problems: list[dict[str, Any]] = []
        for name, text in kwargs.items():
            try:
                values[name] = self.path_fields[name].run_validation(text)
            except serializers.ValidationError as exc:
                problems.extend(problems_of(exc.detail, ("path", name), text))
        if problems:
            raise RequestInvalid(problems)
        return values

    def _validate_query(self, request: Request, declared: Endpoint) -> Mapping[str, Any]:
        try:
            query = request.query_params
        except TooManyFieldsSent as exc:
            message = f"Input should have at most {settings.DATA_UPLOAD_MAX_NUMBER_FIELDS} parameters"
            raise RequestInvalid([problem("too_long", ["query"], message, None)]) from exc
        problems = [
            problem("string_unstorable", ["query", name], "Input should not hold a NUL", text)
            for name, texts in query.lists()
            for text in texts
            if unstorable(name) or unstorable(text)
        ]
        if problems:
            raise RequestInvalid(problems)
        if declared.query is None:
            return {}
        fields = declared.query().fields
        given = {
            name: texts if isinstance(fields.get(name), serializers.ListField) else texts[-1]
            for name, texts in query.lists()
        }
        return self._validated(declared.query, given, "query")

    def _validate_body(self, request: Request, declared: Endpoint) -> Mapping[str, Any]:
        if declared.body is None:
            return {}
        self.raw_body = read_json(request)
        return self._validated(declared.body, self.raw_body, "body")

    def _validated(
        self, serializer_class: type[serializers.Serializer[Any]], data: object, place: str
    ) -> Mapping[str, Any]:
        serializer = serializer_class(data=data, context={"request": self.request, "params": self.params})
        if not serializer.is_valid():
            raise RequestInvalid(list(problems_of(serializer.errors, (place,), data)))
        validated: Mapping[str, Any] = serializer.validated_data
        return validated


def read_json(request: Request) -> object:
    """The JSON body of a request, read up to BODY_MAX_BYTES whatever its length header says.

    DRF takes a body without Content-Length (chunked) for no body, and reads any other to its end.
    """
    http = request._request  # noqa: SLF001 -- DRF offers no other way to the unread stream
    media_type = (http.content_type or "application/json").lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise RequestInvalid(
            [problem("json_type", ["header", "content-type"], "Send the body as application/json", media_type)]
        )
    raw = http.read(BODY_MAX_BYTES + 1)
    if len(raw) > BODY_MAX_BYTES:
        raise PayloadTooLarge
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        message = "JSON decode error" if isinstance(exc, ValueError) else "JSON is nested too deeply"
        raise RequestInvalid([problem("json_invalid", ["body"], message, str(exc))]) from exc


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class NotFoundView(ApiView):
    """What answers below /api where nothing else does, to everybody and every verb."""

    authentication_classes = ()
    permission_classes: tuple[type[BasePermission], ...] = ()
    http_method_names = [*ApiView.http_method_names, "options", "trace"]
    schema = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        kwargs.clear()
        return super().dispatch(request, *args, **kwargs)


def server_error(request: HttpRequest) -> HttpResponse:
    """The answer to a fault of ours: JSON below API_PREFIX, a page elsewhere."""
    if request.path_info.startswith(API_PREFIX):
        return JsonResponse({"detail": "internal server error"}, status=500)
    return defaults.server_error(request)
