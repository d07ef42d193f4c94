"""How changes that people and programs made are told: what was changed, from what to what, who did it from where.

Apart from agents.admin, because template tags are loaded while the admin is still being imported. Fields and models
are told in the words of the reader's language; what this version does not know any more is shown as it is stored.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agents.labels.rules import FIELD_PREFIX
from agents.models import Event, Instance, Node
from agents.models.event import EventKind
from agents.selectors.events import changes_of
from controlplane.access.login_events import NO_USER
from controlplane.common.changes import subject_of
from controlplane.console.formatting import NOTHING, Words, admin_url, exact

CHANGES_SHOWN = 20
# By `Actor.via`.
VIA_WORDS: Mapping[str, Words] = {"console": _("console"), "api": _("API")}


@dataclass(frozen=True, slots=True)
class ChangedField:
    """One field of a change, in words. `withheld` says that it changed and that history does not tell what it held."""

    name: str
    before: str
    after: str
    withheld: bool = False


def changed_fields(event: Event) -> list[ChangedField]:
    """What an event says of fields; empty where it tells of no change."""
    before, after = _mapping(event.meta.get("before")), _mapping(event.meta.get("after"))
    model = _model(event.subject)
    withheld = event.meta.get("withheld")
    told = [
        ChangedField(_field_words(field), _value_words(field, before.get(name)), _value_words(field, after.get(name)))
        for name in {**before, **after}
        for field in (_field(model, name),)
    ]
    secrets = [str(name) for name in withheld] if isinstance(withheld, list) else []
    return told + [ChangedField(_field_words(_field(model, name)), "", "", withheld=True) for name in secrets]


def origin_words(event: Event) -> str:
    """Whose token and from where, as in `API token ci · API · 10.0.0.7`; empty where the event does not say."""
    token, via, address = (str(event.meta.get(name) or "") for name in ("token", "via", "address"))
    parts = [
        gettext("API token %s") % token if token else "",
        str(VIA_WORDS.get(via, via)),
        address,
    ]
    return " · ".join(part for part in parts if part)


def subject_words(event: Event) -> str:
    """What kind of thing was changed, and which, as in `user ann`; empty for an event without a subject."""
    model = _model(event.subject)
    if model is None:
        return event.subject
    if event.subject == NO_USER:
        return gettext("nobody of that name")
    return f"{model._meta.verbose_name} {event.message}".strip()


def subject_url(event: Event) -> str:
    """The page of what was changed; empty where there is none, or no more."""
    model = _model(event.subject)
    pk = event.subject.partition(":")[2]
    if model is None or not pk or event.kind == EventKind.OBJECT_DELETED or not admin.site.is_registered(model):
        return ""
    return admin_url(f"{model._meta.app_label}_{model._meta.model_name}_change", pk)


def newest_changes(row: models.Model) -> list[Event]:
    """The last CHANGES_SHOWN changes of a row; one query."""
    return list(changes_of(subject_of(row))[:CHANGES_SHOWN])


def _model(subject: str) -> type[models.Model] | None:
    try:
        return apps.get_model(subject.partition(":")[0])
    except (LookupError, ValueError):
        return None


def _field(model: type[models.Model] | None, name: str) -> Any:
    """The field of that name, or the name where there is none any more; changes of a node are its instance's."""
    for each in (model, Node) if model is Instance else (model,):
        try:
            return each._meta.get_field(name) if each is not None else name
        except FieldDoesNotExist:
            continue
    return name


def _is_label(field: Any) -> bool:
    return isinstance(field, str) and field.startswith(FIELD_PREFIX)


def _field_words(field: Any) -> str:
    if _is_label(field):
        return gettext("Operator label %s") % str(field).removeprefix(FIELD_PREFIX)
    return str(capfirst(getattr(field, "verbose_name", field)))


def _value_words(field: Any, value: object) -> str:
    if value == "" and _is_label(field):
        # Unlike a field, an empty label is not the same as none.
        return '""'
    if value is None or value in ("", []):
        return NOTHING
    if isinstance(value, bool):
        return gettext("Yes") if value else gettext("No")
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    if isinstance(field, models.DateTimeField) and isinstance(value, str):
        try:
            return exact(datetime.fromisoformat(value))
        except ValueError:
            return value
    return str(value) if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
