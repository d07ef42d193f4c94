"""What a channel says beyond its address, by provider; checked when it is saved.

custom (contract 7.1): `method` GET or POST; `query_params` and `body_params` as `[{key, value}]`, whose values are
templates; `headers` as the same, whose values are secret; `body_template`, the template of a whole JSON document,
instead of `body_params`. email: `subject_prefix`. The others have none.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.utils.translation import gettext as _

from controlplane.common.errors import Invalid

VARIABLES: Final = (
    "event_type",
    "service_name",
    "service_environment",
    "task_name",
    "occurred_at",
    "scheduled_at",
    "duration_ms",
    "attempts",
    "instance_id",
    "node_name",
    "console_url",
    "failure_message",
    "success_summary",
)
# Of messages about several things; the contract has none for these.
MORE_VARIABLES: Final = ("title", "text", "kind", "event_count", "delivery_id")
KEY_MAX_CHARS: Final = 255
VALUE_MAX_CHARS: Final = 2000
PARAMS_MAX: Final = 50
BODY_MAX_CHARS: Final = 20_000
_PLACE: Final = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# These belong to the call itself.
_OWN_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})


def filled(template: str, variables: Mapping[str, str], *, escape: bool = False) -> str:
    """The template with its variables; what has no value is empty. `escape` writes them as parts of JSON texts."""

    def value(found: re.Match[str]) -> str:
        text = variables.get(found[1], "")
        return json.dumps(text, ensure_ascii=False)[1:-1] if escape else text

    return _PLACE.sub(value, template)


def check_custom(options: Mapping[str, Any]) -> None:
    """Raise Invalid, naming the field as the contract's body has it."""
    method = options.get("method", "POST")
    if method not in {"GET", "POST"}:
        raise Invalid(_("The method is GET or POST."), field="options.method")
    for name in ("query_params", "body_params", "headers"):
        _check_params(options.get(name, ()), f"options.{name}")
    body, template = options.get("body_params"), options.get("body_template", "")
    if method == "GET" and (body or template):
        raise Invalid(_("GET has no body."), field="options.body_params")
    if body and template:
        raise Invalid(_("Give either parameters of the body or a whole JSON body."), field="options.body_template")
    for number, header in enumerate(options.get("headers", ())):
        key, value = header["key"], header["value"]
        place = f"options.headers.{number}"
        if not _HEADER.fullmatch(key) or key.lower() in _OWN_HEADERS:
            raise Invalid(_("“%s” cannot be set as a header.") % key, field=place)
        if any(ord(character) < 32 or ord(character) > 126 for character in value):
            raise Invalid(_("The value of a header holds printable ASCII alone."), field=place)
    if template:
        _check_json(template)


def _check_params(params: object, field: str) -> None:
    if not isinstance(params, Sequence) or isinstance(params, str) or len(params) > PARAMS_MAX:
        raise Invalid(_("This is a list of at most %d entries.") % PARAMS_MAX, field=field)
    seen: set[str] = set()
    for number, each in enumerate(params):
        place = f"{field}.{number}"
        key, value = (each.get("key"), each.get("value")) if isinstance(each, Mapping) else (None, None)
        if not isinstance(key, str) or not 1 <= len(key) <= KEY_MAX_CHARS:
            raise Invalid(_("A key has 1 to %d characters.") % KEY_MAX_CHARS, field=f"{place}.key")
        if not isinstance(value, str) or len(value) > VALUE_MAX_CHARS:
            raise Invalid(_("A value has at most %d characters.") % VALUE_MAX_CHARS, field=f"{place}.value")
        if key in seen:
            raise Invalid(_("“%s” is there twice.") % key, field=f"{place}.key")
        seen.add(key)
        _check_names(value, f"{place}.value")


def _check_names(template: str, field: str) -> None:
    known = (*VARIABLES, *MORE_VARIABLES)
    for name in _PLACE.findall(template):
        if name not in known:
            told = {"name": name[:80], "known": ", ".join(known)}
            raise Invalid(_("There is no variable “%(name)s”. There are: %(known)s.") % told, field=field)


def _check_json(template: object) -> None:
    field = "options.body_template"
    if not isinstance(template, str) or len(template) > BODY_MAX_CHARS:
        raise Invalid(_("A JSON body has at most %d characters.") % BODY_MAX_CHARS, field=field)
    _check_names(template, field)
    try:
        # Whatever the values are, escaped they leave the document as it is; outside of texts they would not.
        json.loads(filled(template, dict.fromkeys((*VARIABLES, *MORE_VARIABLES), 'a"b\\c\n'), escape=True))
    except ValueError as error:
        raise Invalid(
            _("With its variables in place this is no JSON: %s. Put each of them within quotes.") % error, field=field
        ) from error
