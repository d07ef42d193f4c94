"""What tokens of every kind have in common: how they are stored, how they stand, and what they are narrowed to."""

import hashlib
import json
from collections.abc import Collection
from datetime import datetime
from typing import Any, Final, Literal

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, F, Func, Q

TokenState = Literal["usable", "expired", "revoked"]
STATES: Final[tuple[TokenState, ...]] = ("usable", "expired", "revoked")


def hash_secret(secret: str) -> str:
    """SHA-256 in hex: secrets are random and long, so a slow hash would protect nothing."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def state_of(token: Any, now: datetime) -> TokenState:
    """How a token stands, which has `revoked_at` and `expires_at`."""
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= now else "usable"


def in_state(state: str, now: datetime) -> Q:
    """Matches the tokens for which `state_of` says so."""
    if state == "revoked":
        return Q(revoked_at__isnull=False)
    is_expired = Q(expires_at__isnull=False, expires_at__lte=now)
    return Q(revoked_at=None) & (is_expired if state == "expired" else ~is_expired)


class NarrowedTo(Func):
    """Whether the column `environments`, a JSON list, holds some of these environments and no other.

    An empty list means all environments, which is more than any.
    """

    output_field = BooleanField()

    def __init__(self, environments: Collection[str]) -> None:
        super().__init__(F("environments"))
        self.allowed = json.dumps(sorted(environments))

    def as_postgresql(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        template = "(%(expressions)s <@ %%s::jsonb AND %(expressions)s <> '[]'::jsonb)"
        sql, params = super().as_sql(compiler, connection, template=template)
        return sql, [*params, self.allowed]

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper, **_: Any) -> tuple[str, tuple[Any, ...]]:
        template = (
            "(json_array_length(%(expressions)s) > 0 AND NOT EXISTS (SELECT 1 FROM json_each(%(expressions)s) AS held "
            "WHERE held.value NOT IN (SELECT value FROM json_each(%%s))))"
        )
        sql, params = super().as_sql(compiler, connection, template=template)
        return sql, (*params, self.allowed)


def narrowed_to(environments: Collection[str] | None) -> Q:
    """Matches tokens that exist for a requester narrowed to these environments; all where it is not narrowed."""
    return Q() if environments is None else Q(NarrowedTo(environments))
