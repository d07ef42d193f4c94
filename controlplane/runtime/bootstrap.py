"""The first start: tables, the first administrator, the first ingest token. Later starts find everything."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import transaction
from django.utils.translation import gettext as _

from agents.models import AgentToken
from agents.services.tokens import create_agent_token
from controlplane.common.actors import SYSTEM
from controlplane.common.tokens import hash_secret
from controlplane.runtime.preflight import StartRefused

FIRST_TOKEN_NAME = "first-start"  # noqa: S105 -- a name, not a secret


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who may sign in. `password` is set only when it was generated just now, to be shown once."""

    username: str
    password: str | None
    made_now: bool


@dataclass(frozen=True, slots=True)
class IngestToken:
    """The token to print. `secret` is None where none can be printed; `lost` then says why."""

    secret: str | None
    lost: Literal["", "file", "unusable"] = ""


def migrate() -> None:
    call_command("migrate", interactive=False, verbosity=0)


def ensure_administrator() -> Administrator:
    """Make the first administrator where there is none; an existing one and its password are never touched."""
    users = get_user_model().objects
    existing = users.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if existing is not None:
        return Administrator(existing.get_username(), None, made_now=False)
    username = settings.ADMIN_USERNAME
    if users.filter(username=username).exists():
        raise StartRefused(
            _(
                "There is no administrator, and the name %(name)s belongs to somebody who is none: "
                "set ADMIN_USERNAME to a new name."
            )
            % {"name": username}
        )
    generated = None if settings.ADMIN_PASSWORD else secrets.token_urlsafe(12)
    users.create_superuser(username, "", generated or settings.ADMIN_PASSWORD)
    return Administrator(username, generated, made_now=True)


def ensure_ingest_token() -> IngestToken:
    """The token that agents connect with: from INGEST_TOKENS, or made once and kept in DATA_DIR.

    The row holds only a hash, so the file is the one place from which a later start can print the secret again.
    """
    if settings.INGEST_TOKENS:
        return IngestToken(settings.INGEST_TOKENS[0])
    path = token_file()
    kept = _read(path)
    if kept:
        row = AgentToken.objects.filter(secret_hash=hash_secret(kept)).first()
        if row is not None:
            return IngestToken(kept) if row.is_usable else IngestToken(None, lost="unusable")
    if AgentToken.objects.filter(name=FIRST_TOKEN_NAME).exists():
        return IngestToken(None, lost="file")
    with transaction.atomic():
        _token, secret = create_agent_token(
            name=FIRST_TOKEN_NAME, dialects=[], environments=[], expires_at=None, actor=SYSTEM
        )
        _write(path, secret)
    return IngestToken(secret)


def token_file() -> Path:
    return Path(settings.DATA_DIR) / "ingest_token"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise StartRefused(
            _("The file %(path)s cannot be read: %(reason)s.") % {"path": path, "reason": error}
        ) from error


def _write(path: Path, secret: str) -> None:
    """Write the whole file or none of it, readable by its owner alone from the first byte on."""
    part = path.with_suffix(".part")
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600, exist_ok=False)
        part.write_text(secret + "\n", encoding="ascii")
        part.replace(path)
    except OSError as error:
        raise StartRefused(
            _("The file %(path)s cannot be written: %(reason)s.") % {"path": path, "reason": error.strerror}
        ) from error
