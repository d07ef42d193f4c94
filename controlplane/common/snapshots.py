"""What a row holds at one moment, and what changed between two such moments, fit to be told.

Secrets are compared and never told, also those in JSON objects, which are known by their keys. Texts
are cut at VALUE_MAX_CHARS and lists at LIST_MAX: history says what was
changed, and is no second copy of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

import msgspec
from django.db import models

from controlplane.common.clean import clean_json, clean_text, is_same_json

VALUE_MAX_CHARS = 500
LIST_MAX = 200
# What a field with such a name holds is never told, whoever made the model.
_SECRET = re.compile(r"passw|secret|token|hash|credential|encrypted|private|(^|_)key($|_)")
# The same of keys in JSON, which people outside name: `apiKey`, `DB-PWD`.
_SECRET_KEY = re.compile(_SECRET.pattern + r"|pwd|apikey|authorization|cookie")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# The password of a URL: `redis://:hunter2@cache:6379`.
_IN_URL = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)")
WITHHELD = "…"
_EMPTY: tuple[object, ...] = (None, "", [], {})


@dataclass(frozen=True, slots=True)
class Value:
    """`key` is compared, `told` is what history shows of it: a JSON value."""

    key: object
    told: object
    is_secret: bool = False
    # What stands in the JSON of the field and is not told, by its path.
    secrets: Mapping[str, object] = field(default_factory=dict)


Snapshot = Mapping[str, Value]
NOTHING: Snapshot = {}


@dataclass(frozen=True, slots=True)
class Difference:
    """The fields that differ, as JSON values; `withheld` names those that do but are secret."""

    before: dict[str, object] = field(default_factory=dict)
    after: dict[str, object] = field(default_factory=dict)
    withheld: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.before or self.after or self.withheld)


def snapshot(row: models.Model) -> dict[str, Value]:
    """The editable fields of a stored row, related rows by what they are called.

    Cost: one query for each many-to-many field, two for a long one, and one for each foreign key that is not loaded.
    """
    values = {each.name: _value(row, each) for each in row._meta.concrete_fields if each.editable}
    for each in row._meta.many_to_many:
        if each.editable:
            values[each.name] = _related(row, each.name)
    return values


def difference(before: Snapshot, after: Snapshot) -> Difference:
    """What differs. Against NOTHING, the fields that hold something."""
    found = Difference()
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if _is_same(old, new):
            continue
        if any(value is not None and value.is_secret for value in (old, new)):
            found.withheld.append(name)
            continue
        found.withheld.extend(_changed_secrets(name, old, new))
        if old is not None:
            found.before[name] = old.told
        if new is not None:
            found.after[name] = new.told
    return found


def _changed_secrets(name: str, old: Value | None, new: Value | None) -> list[str]:
    """The places of secrets that differ, as in `config.db.password`."""
    before, after = ({} if value is None else value.secrets for value in (old, new))
    return [f"{name}.{path}" for path in {**before, **after} if before.get(path, _MISSING) != after.get(path, _MISSING)]


_MISSING = object()


def _is_same(old: Value | None, new: Value | None) -> bool:
    if old is not None and new is not None:
        return old.key == new.key and (not isinstance(old.key, dict | list) or is_same_json(old.key, new.key))
    only = old or new
    return only is None or only.told in _EMPTY


def _value(row: models.Model, each: "models.Field[Any, Any]") -> Value:
    key = getattr(row, each.attname)
    is_secret = bool(_SECRET.search(each.name)) or isinstance(each, models.BinaryField)
    if is_secret:
        return Value(key, bool(key), is_secret=True)
    if each.is_relation:
        other = getattr(row, each.name)
        return Value(key, None if other is None else _text(str(other)))
    if isinstance(key, datetime):
        # Forms of the admin carry seconds: a fraction that got lost on the way is no change.
        key = key.replace(microsecond=0)
    if isinstance(key, dict | list):
        secrets: dict[str, object] = {}
        return Value(key, _told(_masked(key, "", secrets)), secrets=secrets)
    return Value(key, _told(key))


def _masked(value: object, path: str, secrets: dict[str, object]) -> object:
    """The JSON without what is secret in it, which is put into `secrets` by its path."""
    if isinstance(value, dict):
        return {key: _masked_entry(str(key), each, path, secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, f"{path}.{number}".lstrip("."), secrets) for number, each in enumerate(value)]
    if isinstance(value, str) and (masked := _IN_URL.sub(rf"\1{WITHHELD}", value)) != value:
        secrets[clean_text(path, VALUE_MAX_CHARS)] = value
        return masked
    return value


def _masked_entry(key: str, value: object, path: str, secrets: dict[str, object]) -> object:
    place = f"{path}.{key}" if path else key
    if value in _EMPTY or not _SECRET_KEY.search(_CAMEL.sub("_", key).lower().replace("-", "_")):
        return _masked(value, place, secrets)
    secrets[clean_text(place, VALUE_MAX_CHARS)] = value
    return WITHHELD


def _related(row: models.Model, name: str) -> Value:
    """All that a many-to-many field leads to, with what their names are made of."""
    others = sorted(getattr(row, name).select_related()[: LIST_MAX + 1], key=str)
    told = [_text(str(other)) for other in others[:LIST_MAX]]
    keys = frozenset(getattr(row, name).values_list("pk", flat=True)) if len(others) > LIST_MAX else None
    return Value(keys or frozenset(other.pk for other in others), told)


def _told(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return clean_json(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, dict | list):
        encoded = msgspec.json.encode(value, enc_hook=str)
        return clean_json(value) if len(encoded) <= VALUE_MAX_CHARS else _text(encoded.decode())
    return _text(str(value))


def _text(value: str) -> str:
    """The text, cut with a mark that says so."""
    cleaned = clean_text(value)
    return cleaned if len(cleaned) <= VALUE_MAX_CHARS else f"{cleaned[:VALUE_MAX_CHARS]}…"
