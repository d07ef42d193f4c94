"""The OpenAPI document, drawn from what each handler declares."""

import inspect
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema_field
from rest_framework import serializers

from controlplane.common.rest.exports import FileFormat
from controlplane.common.rest.fields import IdField, QuerySerializer
from controlplane.common.rest.filters import CommaField
from controlplane.common.rest.sparse import SparseSerializer
from controlplane.common.rest.views import ApiView, Endpoint


class TimestampScheme(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """What is taken is more than what is given."""

    target_class = "controlplane.common.rest.fields.TimestampField"
    match_subclasses = True

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:  # noqa: ARG002
        moment = {"type": "string", "format": "date-time"}
        return moment if direction == "response" else {"anyOf": [moment, {"type": "number"}]}


class BodyScheme(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """A body with a key that nobody knows is refused."""

    target_class = "controlplane.common.rest.fields.BodySerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        # The way that drf-spectacular offers to extensions; it is neither public nor typed.
        mapped: Any = auto_schema._map_serializer  # noqa: SLF001
        return {**mapped(self.target, direction, bypass_extensions=True), "additionalProperties": False}


class ErrorSerializer(serializers.Serializer[Any]):
    detail = serializers.CharField()


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "integer"}]})
class PlaceField(serializers.Field[Any, Any, Any, Any]):
    """A key of an object, or where in a list."""


class ProblemSerializer(serializers.Serializer[Any]):
    type = serializers.CharField(help_text="What is wrong, for programs: `missing`, `enum`, `extra_forbidden` …")
    loc = serializers.ListField(
        child=PlaceField(), help_text='Where: ["body", "args", "task_name"], ["query", "kind", 0], ["query", "limit"].'
    )
    msg = serializers.CharField(help_text="What is wrong, for people.")
    input = serializers.JSONField(help_text="What was sent, cut short.")


class InvalidRequestSerializer(serializers.Serializer[Any]):
    detail = ProblemSerializer(many=True)


_MEANING = {
    401: (
        "Nobody is logged in, the token is unknown, revoked or expired, the login is too old for this, or the username "
        "or password is wrong."
    ),
    403: "The role, or the scope of the token, does not allow it, or a page of a foreign origin asks with a cookie.",
    404: "It does not exist.",
    409: "The state of things does not allow it now.",
    413: "The body is larger than 2 MiB.",
    422: "The path, query or body cannot be right; `detail` names each problem.",
    429: "Too many; the same is taken again after `Retry-After` seconds.",
    503: "It cannot be done yet, or not now: the database is unavailable, or the process too busy.",
}
_HEADERS = (
    OpenApiParameter("WWW-Authenticate", OpenApiTypes.STR, OpenApiParameter.HEADER, response=[401]),
    OpenApiParameter(
        "Retry-After",
        OpenApiTypes.INT,
        OpenApiParameter.HEADER,
        response=[429, 503],
        description="Seconds after which the same is taken again, where the portal knows.",
    ),
)


def _lists_by_comma(query: type[QuerySerializer]) -> list[OpenApiParameter]:
    return [
        OpenApiParameter(name, field.schema, description=str(field.help_text or ""), style="form", explode=False)
        for name, field in query().fields.items()
        if isinstance(field, CommaField)
    ]


class EndpointSchema(AutoSchema):
    """Reads `endpoint` declarations; any other view is described as drf-spectacular would."""

    @property
    def _declared(self) -> Endpoint | None:
        return self.view.endpoint_of(self.method) if isinstance(self.view, ApiView) else None

    def get_override_parameters(self) -> list[Any]:
        declared = self._declared
        if declared is None or not isinstance(self.view, ApiView):
            return list(super().get_override_parameters())
        parameters: list[Any] = [
            OpenApiParameter(
                name,
                OpenApiTypes.UUID if isinstance(field, IdField) else OpenApiTypes.STR,
                OpenApiParameter.PATH,
                required=True,
                description=str(field.help_text or ""),
            )
            for name, field in self.view.path_fields.items()
            if f"{{{name}}}" in self.path
        ]
        parameters += [
            OpenApiParameter(header, OpenApiTypes.STR, OpenApiParameter.HEADER, description=meaning)
            for header, meaning in declared.headers.items()
        ]
        parameters += _HEADERS
        if declared.query is None:
            return parameters
        # Later ones count: a list by comma is not what a serializer's field can say.
        return [*parameters, declared.query, *_lists_by_comma(declared.query)]

    def _map_basic_serializer(self, serializer: Any, direction: str) -> Any:
        schema: Any = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        if isinstance(serializer, SparseSerializer):
            schema.pop("required", None)
        return schema

    def get_request_serializer(self) -> Any:
        declared = self._declared
        return declared.body if declared else super().get_request_serializer()

    def get_response_serializers(self) -> Any:
        declared = self._declared
        if declared is None:
            return super().get_response_serializers()
        refusals = {
            *(() if declared.open_to_anybody else (401, 403)),
            *declared.refusals,
            *(() if self.method == "GET" else (413,)),
            503,
        }
        answers: dict[Any, Any] = {422: OpenApiResponse(InvalidRequestSerializer, _MEANING[422])}
        files = {(200, each.media_type): OpenApiTypes.STR for each in FileFormat} if declared.gives_files else {}
        if files:
            refusals.add(429)
        if declared.tagged:
            answers[304] = OpenApiResponse(description="What the client has, by If-None-Match, still holds.")
        answers |= {code: OpenApiResponse(ErrorSerializer, _MEANING[code]) for code in refusals}
        good = (declared.status, declared.media_type) if declared.responds is None else declared.status
        # Of two answers with one status, the later adds its media type to the earlier.
        asked = OpenApiResponse(declared.responds or OpenApiTypes.STR, "What was asked for.")
        return {good: asked} | dict(sorted(answers.items())) | files

    def get_examples(self) -> list[OpenApiExample]:
        declared = self._declared
        if declared is None or declared.example is None:
            return list(super().get_examples())
        return [OpenApiExample(declared.summary, dict(declared.example), request_only=True)]

    def get_auth(self) -> list[dict[str, list[str]]]:
        schemes: list[dict[str, list[str]]] = list(super().get_auth())
        return [*schemes, {}] if self._declared and self._declared.open_to_anybody else schemes

    def get_summary(self) -> str | None:
        declared = self._declared
        return declared.summary if declared else super().get_summary()

    def get_description(self) -> str:  # type: ignore[override] # as drf-spectacular has it
        """The handler's docstring, else the view's own; that of ApiView tells of the code, not of the operation."""
        if self._declared is None:
            return str(super().get_description())
        handler = getattr(self.view, self.method.lower())
        return inspect.cleandoc(handler.__doc__ or vars(type(self.view)).get("__doc__") or "")

    def get_operation_id(self) -> str:
        """The verb and the class: unique, short and stable when a path grows."""
        if self._declared is None:
            return str(super().get_operation_id())
        noun = type(self.view).__name__.removesuffix("View")
        words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in noun)
        return f"{self.method.lower()}{words}"
