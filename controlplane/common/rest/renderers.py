"""How answers are written. Imported by DRF's settings, so it imports no views."""

from collections.abc import Mapping
from typing import Any

from rest_framework.renderers import JSONRenderer


class _EscapedRenderer(JSONRenderer):
    ensure_ascii = True


class ApiRenderer(JSONRenderer):
    """JSON in UTF-8, or escaped where a stored text is not valid Unicode: such a record costs its looks, not a 500."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            return super().render(data, accepted_media_type, renderer_context)
        except UnicodeEncodeError:
            return _EscapedRenderer().render(data, accepted_media_type, renderer_context)
