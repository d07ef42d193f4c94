"""Operations that are plain Django views: described where they are written, added to the OpenAPI document here."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

from django.urls import URLPattern, URLResolver, get_resolver

View = TypeVar("View", bound=Callable[..., Any])
_CONVERTED: Final = re.compile(r"<(?:\w+:)?(\w+)>")


def describe(method: str, operation: Mapping[str, Any]) -> Callable[[View], View]:
    """Attach an OpenAPI operation object to a view; to be the outermost of its decorators."""

    def attach(view: View) -> View:
        view.openapi = {**getattr(view, "openapi", {}), method: dict(operation)}  # type: ignore[attr-defined]
        return view

    return attach


def json_answer(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """An OpenAPI response object with a JSON body."""
    return {"description": description, "content": {"application/json": {"schema": dict(schema)}}}


def refusal(description: str) -> dict[str, Any]:
    """One with `{"detail": "<text>"}`, the error shape of the whole API."""
    return json_answer(description, {"$ref": "#/components/schemas/Error"})


def add_plain_views(result: dict[str, Any], **_context: Any) -> dict[str, Any]:
    """Hook of drf-spectacular: the document with the described views of the URL configuration, in order of paths."""
    plain = dict(_described(get_resolver().url_patterns, "/"))
    return {**result, "paths": dict(sorted({**result["paths"], **plain}.items()))}


def _described(patterns: Iterable[URLPattern | URLResolver], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for pattern in patterns:
        route = prefix + _CONVERTED.sub(r"{\1}", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from _described(pattern.url_patterns, route)
        elif operations := getattr(pattern.callback, "openapi", None):
            yield route, operations
