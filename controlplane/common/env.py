"""Typed reading of environment variables, for `controlplane.settings` only.

Each variable may also be written with the ONESTEP_CP_ prefix (the names of the reference control plane), and each
secret may come from a file named by `<NAME>_FILE`. A bad value stops the start with a sentence that names it.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

COMPATIBILITY_PREFIX = "ONESTEP_CP_"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})
# What is never shown, whoever reads it; numbers by such names are limits.
_SECRET_NAME = re.compile(r"SECRET|PASSWORD|TOKEN|CREDENTIAL|(?<![A-Z])KEY(?![A-Z])")
_USER_OF_URL = re.compile(r"//[^/@\s]*@")
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable that was read: what is in effect, as text, and whether the environment sets it.

    `value` is HIDDEN where it is secret and set to something; users and passwords in URLs always are.
    """

    name: str
    value: str
    is_set: bool
    is_secret: bool


_read: dict[str, Variable] = {}


def variables() -> list[Variable]:
    """Every variable that this process has read, by name."""
    return [_read[name] for name in sorted(_read)]


def _note(name: str, value: object, *, is_secret: bool = False) -> None:
    shown = HIDDEN if is_secret and value else _USER_OF_URL.sub(f"//{HIDDEN}@", str(value))
    is_set = raw(name) is not None or (is_secret and raw(f"{name}_FILE") is not None)
    _read[name] = Variable(name, shown, is_set, is_secret)


def raw(name: str) -> str | None:
    """The variable as written, or None where neither spelling is set."""
    value = os.environ.get(name)
    return os.environ.get(COMPATIBILITY_PREFIX + name) if value is None else value


def text(name: str, default: str = "") -> str:
    found = _text(name, default)
    _note(name, found, is_secret=_SECRET_NAME.search(name) is not None)
    return found


def _text(name: str, default: str) -> str:
    value = raw(name)
    return default if value is None else value.strip()


def secret(name: str, default: str = "") -> str:
    """A secret from `<NAME>` or from the file that `<NAME>_FILE` names; the file's trailing newline is dropped."""
    found = _secret(name, default)
    _note(name, found, is_secret=True)
    return found


def _secret(name: str, default: str) -> str:
    file_name = raw(f"{name}_FILE")
    if not file_name:
        return _text(name, default)
    try:
        return Path(file_name).read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise ImproperlyConfigured(f"{name}_FILE names {file_name}, which cannot be read: {exc.strerror}.") from exc


def integer(name: str, default: int, *, minimum: int | None = None, maximum: int | None = None) -> int:
    found = _integer(name, default, minimum, maximum)
    _note(name, found)
    return found


def _integer(name: str, default: int, minimum: int | None, maximum: int | None) -> int:
    value = raw(name)
    if value is None or not value.strip():
        return default
    try:
        number = int(value.strip())
    except ValueError as exc:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.") from exc
    if minimum is not None and number < minimum:
        raise ImproperlyConfigured(f"{name} must be at least {minimum}, not {number}.")
    if maximum is not None and number > maximum:
        raise ImproperlyConfigured(f"{name} must be at most {maximum}, not {number}.")
    return number


def boolean(name: str, *, default: bool) -> bool:
    found = _boolean(name, default)
    _note(name, str(found).lower())
    return found


def _boolean(name: str, default: bool) -> bool:
    value = raw(name)
    if value is None:
        return default
    word = value.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}.")


def items(name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    """A list written as one value, comma-separated values or a JSON array of strings; blanks are dropped."""
    found = _items(name, default)
    _note(name, ",".join(found), is_secret=_SECRET_NAME.search(name) is not None)
    return found


def _items(name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = raw(name)
    if value is None:
        return default
    value = value.strip()
    if not value.startswith("["):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    try:
        parts = json.loads(value)
    except ValueError as exc:
        raise ImproperlyConfigured(f"{name} starts with '[' but is not a JSON array: {exc}.") from exc
    if not all(isinstance(part, str) for part in parts):
        raise ImproperlyConfigured(f"{name} must be a JSON array of strings.")
    return tuple(part.strip() for part in parts if part.strip())


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = text(name, default)
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
    return value
