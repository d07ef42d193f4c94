"""How answers are written. Imported by DRF's settings, so it imports no views."""

from collections.abc import Mapping
from typing import Any

import msgspec
from rest_framework.renderers import JSONRenderer
from rest_framework.utils.encoders import JSONEncoder


class _EscapedRenderer(JSONRenderer):
    ensure_ascii = True


def _plain(value: Any) -> Any:
    """What DRF makes of values that JSON does not know: lazy texts, marked ones, results of serializers."""
    return str.__str__(value) if isinstance(value, str) else JSONEncoder().default(value)


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


class ApiRenderer(JSONRenderer):
    """JSON in UTF-8, or escaped where a stored text is not valid Unicode: such a record costs its looks, not a 500.

    Written by msgspec, which takes a fifth of the time of the standard library: an answer may have thousands of items.
    """

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> Any:
        if data is None:
            return b""
        is_indented = self.get_indent(accepted_media_type or "", renderer_context or {}) is not None
        try:
            return super().render(data, accepted_media_type, renderer_context) if is_indented else _encode(data)
        except UnicodeEncodeError:
            return _EscapedRenderer().render(data, accepted_media_type, renderer_context)
